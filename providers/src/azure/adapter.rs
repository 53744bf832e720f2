//! [`CloudAdapter`] for Azure.

use std::sync::Arc;

use async_trait::async_trait;
use engine::graph::Graph;
use engine::provider::{Provider, ProviderError};
use engine::state::State;
use spec::id::DeploymentName;
use spec::resolved::ResolvedSpec;

use super::auth::{Azure, Session};
use super::{AzureProvider, graph, host, offers, sweep};
use crate::cloud::{
    Begun, CloudAdapter, CloudFacts, CloudGraphError, Handed, HostReach, HostView, LaidOut, Question, Search, Survey,
};

/// Azure with the user's own settings and credentials.
#[derive(Debug)]
pub struct AzureCloud {
    session: Session,
}

impl AzureCloud {
    /// Reads settings alone; credentials are looked for at the first call.
    pub fn load() -> Result<Self, ProviderError> {
        Ok(Self { session: Session::load()? })
    }
}

#[async_trait]
impl HostReach for AzureCloud {
    async fn host(&self, _region: &str, state: &State) -> Result<HostView, ProviderError> {
        host::view(&self.session, state).await
    }

    async fn object(&self, _region: &str, state: &State, key: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        host::object_of(&self.session, state, key).await
    }
}

#[async_trait]
impl CloudAdapter for AzureCloud {
    fn default_region(&self) -> Option<String> {
        self.session.default_region()
    }

    async fn survey(&self, question: &Question) -> Result<Survey, ProviderError> {
        offers::survey(&self.session, question).await
    }

    fn laid_out(&self, begun: &Begun) -> LaidOut {
        graph::laid_out(begun)
    }

    fn graph(&self, spec: &ResolvedSpec, facts: &CloudFacts) -> Result<Graph, CloudGraphError> {
        graph::build(spec, facts)
    }

    fn provider(&self, deployment: &DeploymentName, region: &str, handed: Handed) -> Arc<dyn Provider> {
        Arc::new(AzureProvider::new(Azure::new(&self.session, deployment, region, handed)))
    }

    async fn find_all(&self) -> Result<Search, ProviderError> {
        sweep::everywhere(&self.session.arm, self.session.subscription()?).await
    }
}
