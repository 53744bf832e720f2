//! [`CloudAdapter`] for GCP.

use std::sync::Arc;

use async_trait::async_trait;
use engine::graph::Graph;
use engine::provider::{Provider, ProviderError};
use engine::state::State;
use spec::id::DeploymentName;
use spec::resolved::ResolvedSpec;

use super::auth::Session;
use super::{GcpProvider, graph, host, offers, sweep};
use crate::cloud::{
    Begun, CloudAdapter, CloudFacts, CloudGraphError, Handed, HostReach, HostView, LaidOut, Question, Search, Survey,
};

/// GCP with the user's own settings and credentials.
#[derive(Debug)]
pub struct GcpCloud {
    session: Arc<Session>,
}

impl GcpCloud {
    pub fn load() -> Self {
        Self { session: Session::load() }
    }
}

#[async_trait]
impl HostReach for GcpCloud {
    async fn host(&self, _region: &str, state: &State) -> Result<HostView, ProviderError> {
        host::view(self.session.services().await?, state).await
    }

    async fn object(&self, _region: &str, state: &State, key: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        host::object_of(self.session.services().await?, state, key).await
    }
}

#[async_trait]
impl CloudAdapter for GcpCloud {
    fn default_region(&self) -> Option<String> {
        self.session.settings.region.clone()
    }

    async fn survey(&self, question: &Question) -> Result<Survey, ProviderError> {
        offers::survey(self.session.services().await?, self.session.identity()?, question).await
    }

    fn laid_out(&self, begun: &Begun) -> LaidOut {
        graph::laid_out(begun)
    }

    fn graph(&self, spec: &ResolvedSpec, facts: &CloudFacts) -> Result<Graph, CloudGraphError> {
        graph::build(spec, facts)
    }

    fn provider(&self, deployment: &DeploymentName, region: &str, handed: Handed) -> Arc<dyn Provider> {
        Arc::new(GcpProvider::new(self.session.clone(), deployment, region, handed))
    }

    async fn find_all(&self) -> Result<Search, ProviderError> {
        Ok(sweep::of_project(self.session.services().await?).await)
    }
}
