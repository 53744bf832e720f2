//! The engine's `Provider` for one deployment in one region: each call goes to its address' kind.

use std::sync::Arc;

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, Observed, Owned, Provider, ProviderError, Token, Verdict};
use engine::state::{RemoteId, Resource};
use serde_json::Value;
use spec::id::DeploymentName;

use super::auth::{Making, Session, Site};
use super::{kind, machine, resource, sweep};
use crate::cloud::Handed;
use crate::making::{after_it_was_made, verdict};

#[derive(Debug)]
pub struct GcpProvider {
    session: Arc<Session>,
    deployment: DeploymentName,
    site: Site,
}

impl GcpProvider {
    pub fn new(session: Arc<Session>, deployment: &DeploymentName, region: &str, handed: Handed) -> Self {
        let site = Site::new(session.clone(), deployment, region, handed);
        Self { session, deployment: deployment.clone(), site }
    }
}

#[async_trait]
impl Provider for GcpProvider {
    async fn read(
        &self,
        address: &Address,
        resource: &Resource,
        known: &Known,
    ) -> Result<Option<Observed>, ProviderError> {
        let gcp = self.site.at_home().await?;
        let seen = resource::of(address)?.read(gcp, resource, known).await?;
        Ok(seen.map(|inputs| Observed { inputs }))
    }

    async fn find(&self, address: &Address, token: &Token, known: &Known) -> Result<Option<RemoteId>, ProviderError> {
        let gcp = self.site.at_home().await?;
        resource::of(address)?.find(gcp, address, token, known).await
    }

    async fn create(&self, desired: &Desired, token: &Token, known: &Known) -> Result<RemoteId, ProviderError> {
        let gcp = self.site.at_home().await?;
        let calls = resource::of(&desired.address)?;
        let id = calls.create(gcp, &Making { desired, token, known }).await?;
        calls.update(gcp, &id, desired, known).await.map_err(after_it_was_made)
    }

    async fn update(&self, id: &RemoteId, desired: &Desired, known: &Known) -> Result<RemoteId, ProviderError> {
        let gcp = self.site.at_home().await?;
        resource::of(&desired.address)?.update(gcp, id, desired, known).await
    }

    async fn delete(&self, address: &Address, resource: &Resource, known: &Known) -> Result<(), ProviderError> {
        let gcp = self.site.at_home().await?;
        resource::of(address)?.delete(gcp, resource, known).await
    }

    fn judge(&self, address: &Address, before: &Value, after: &Value) -> Verdict {
        judge(address, before, after)
    }

    async fn sweep(&self) -> Result<Vec<Owned>, ProviderError> {
        self.site.at_home().await?;
        let found = sweep::of_deployment(self.session.services().await?, &self.deployment).await?;
        Ok(found.into_iter().map(|found| found.owned).collect())
    }
}

/// Fields that can't change while the deployment lives, since everything stands on them.
fn fixed(kind: &str) -> &'static [&'static str] {
    match kind {
        kind::NETWORK | kind::BUCKET => &["account", "region"],
        kind::SUBNET => &["network", "range"],
        kind::ROUTER | kind::FIREWALL => &["network"],
        kind::ACCESS => &["bucket", "service_account"],
        kind::ARTIFACT | kind::SECRET | kind::HOST_SPEC => &["bucket"],
        _ => &[],
    }
}

/// Fields whose change needs a new one beside the old one.
fn replacing(kind: &str) -> &'static [&'static str] {
    match kind {
        kind::ARTIFACT => &["sha256"],
        _ => &[],
    }
}

fn judge(address: &Address, before: &Value, after: &Value) -> Verdict {
    if address.kind() == kind::MACHINE {
        return machine::judge(before, after);
    }
    verdict(before, after, fixed(address.kind()), replacing(address.kind()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_has_its_way_to_change() {
        let of = |address: &str, before: Value, after: Value| judge(&Address::parse(address).unwrap(), &before, &after);
        let range = (json!({"range": "10.77.0.0/16"}), json!({"range": "10.78.0.0/16"}));
        assert!(matches!(of("subnet.main", range.0, range.1), Verdict::Impossible(_)));
        assert_eq!(of("artifact.dsserve", json!({"sha256": "a"}), json!({"sha256": "b"})), Verdict::Replace);
        assert_eq!(of("firewall.gateway", json!({"allow": []}), json!({"allow": ["10.0.0.0/8"]})), Verdict::InPlace);
        assert_eq!(of("machine.main", json!({"image": "a"}), json!({"image": "b"})), Verdict::Replace);
        assert_eq!(of("router.main", json!({"nat": "other"}), json!({})), Verdict::InPlace);
        assert_eq!(of("bucket.main", json!({"versioning": "off"}), json!({})), Verdict::InPlace);
        let key = || json!({"encryption_key": "k"});
        assert_eq!(of("bucket.main", json!({}), key()), Verdict::InPlace);
        assert_eq!(of("bucket.main", key(), json!({})), Verdict::InPlace);
        assert_eq!(of("machine.main", json!({}), key()), Verdict::Replace);
        assert_eq!(of("machine.main", key(), json!({})), Verdict::Replace);
    }
}
