//! [`CloudAdapter`] for AWS.

use std::sync::Arc;

use async_trait::async_trait;
use engine::graph::Graph;
use engine::provider::{Provider, ProviderError};
use engine::state::State;
use spec::id::DeploymentName;
use spec::resolved::ResolvedSpec;

use super::auth::{Aws, Session};
use super::{AwsProvider, graph, host, offers, sweep};
use crate::cloud::{
    Begun, CloudAdapter, CloudFacts, CloudGraphError, Handed, HostReach, HostView, LaidOut, Question, Search, Survey,
};

/// Where regions are asked for if the user's settings name none.
const HOME_REGION: &str = "us-east-1";

/// AWS with the user's own settings and credentials.
#[derive(Debug)]
pub struct AwsCloud {
    session: Session,
}

impl AwsCloud {
    pub async fn load() -> Self {
        Self { session: Session::load().await }
    }
}

#[async_trait]
impl HostReach for AwsCloud {
    async fn host(&self, region: &str, state: &State) -> Result<HostView, ProviderError> {
        host::view(&self.session.look(region), state).await
    }

    async fn object(&self, region: &str, state: &State, key: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        host::object_of(&self.session.look(region), state, key).await
    }
}

#[async_trait]
impl CloudAdapter for AwsCloud {
    fn default_region(&self) -> Option<String> {
        self.session.default_region()
    }

    async fn survey(&self, question: &Question) -> Result<Survey, ProviderError> {
        offers::survey(&self.session.look(&question.region), question).await
    }

    fn laid_out(&self, begun: &Begun) -> LaidOut {
        graph::laid_out(begun)
    }

    fn graph(&self, spec: &ResolvedSpec, facts: &CloudFacts) -> Result<Graph, CloudGraphError> {
        graph::build(spec, facts)
    }

    fn provider(&self, deployment: &DeploymentName, region: &str, handed: Handed) -> Arc<dyn Provider> {
        Arc::new(AwsProvider::new(Aws::new(&self.session, deployment, region, handed)))
    }

    async fn find_all(&self) -> Result<Search, ProviderError> {
        let home = self.session.default_region();
        sweep::everywhere(&self.session, home.as_deref().unwrap_or(HOME_REGION)).await
    }
}
