//! The engine's `Provider` for one deployment in one region: each call goes to its address' kind.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, Observed, Owned, Provider, ProviderError, Token, Verdict};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use super::auth::{Aws, Making};
use super::{kind, machine, resource, sweep};
use crate::making::{after_it_was_made, verdict};

#[derive(Debug)]
pub struct AwsProvider {
    aws: Aws,
}

/// Kinds in the order in which what nobody knows of can be removed.
const REMOVAL: [&str; 15] = [
    kind::MACHINE,
    "volume",
    "network-interface",
    kind::NAT_GATEWAY,
    kind::ENDPOINT,
    kind::ELASTIC_IP,
    kind::INSTANCE_PROFILE,
    kind::ROLE,
    kind::ROUTE_TABLE,
    kind::INTERNET_GATEWAY,
    kind::SECURITY_GROUP,
    kind::SUBNET,
    kind::NETWORK,
    kind::HOST_SPEC,
    kind::BUCKET,
];

impl AwsProvider {
    pub const fn new(aws: Aws) -> Self {
        Self { aws }
    }
}

#[async_trait]
impl Provider for AwsProvider {
    async fn read(
        &self,
        address: &Address,
        resource: &Resource,
        known: &Known,
    ) -> Result<Option<Observed>, ProviderError> {
        self.aws.is_at_home().await?;
        let seen = resource::of(address)?.read(&self.aws, resource, known).await?;
        Ok(seen.map(|inputs| Observed { inputs }))
    }

    async fn find(&self, address: &Address, token: &Token, known: &Known) -> Result<Option<RemoteId>, ProviderError> {
        self.aws.is_at_home().await?;
        resource::of(address)?.find(&self.aws, address, token, known).await
    }

    async fn create(&self, desired: &Desired, token: &Token, known: &Known) -> Result<RemoteId, ProviderError> {
        self.aws.is_at_home().await?;
        let calls = resource::of(&desired.address)?;
        let id = calls.create(&self.aws, &Making { desired, token, known }).await?;
        calls.update(&self.aws, &id, desired, known).await.map_err(after_it_was_made)
    }

    async fn update(&self, id: &RemoteId, desired: &Desired, known: &Known) -> Result<RemoteId, ProviderError> {
        self.aws.is_at_home().await?;
        resource::of(&desired.address)?.update(&self.aws, id, desired, known).await
    }

    async fn delete(&self, address: &Address, resource: &Resource, known: &Known) -> Result<(), ProviderError> {
        self.aws.is_at_home().await?;
        resource::of(address)?.delete(&self.aws, resource, known).await
    }

    fn judge(&self, address: &Address, before: &Value, after: &Value) -> Verdict {
        judge(address, before, after)
    }

    async fn sweep(&self) -> Result<Vec<Owned>, ProviderError> {
        self.aws.is_at_home().await?;
        let mut found = sweep::of_deployment(&self.aws.look, &self.aws.region, &self.aws.deployment).await?;
        found.sort_by_key(|found| REMOVAL.iter().position(|kind| *kind == found.kind));
        Ok(found.into_iter().map(|found| found.owned).collect())
    }
}

/// Fields that can't change while the deployment lives, since everything stands on them.
fn fixed(kind: &str) -> &'static [&'static str] {
    match kind {
        kind::NETWORK => &["account", "region", "range"],
        kind::BUCKET => &["account", "region"],
        kind::SUBNET => &["network", "zone", "range"],
        kind::INTERNET_GATEWAY | kind::ROUTE_TABLE | kind::SECURITY_GROUP => &["network"],
        kind::ENDPOINT => &["network", "service"],
        kind::ARTIFACT | kind::SECRET | kind::HOST_SPEC => &["bucket"],
        _ => &[],
    }
}

/// Fields whose change needs a new one beside the old one.
fn replacing(kind: &str) -> &'static [&'static str] {
    match kind {
        kind::NAT_GATEWAY => &["subnet", "elastic_ip"],
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
        assert!(matches!(of("network.main", range.0, range.1), Verdict::Impossible(_)));
        assert_eq!(of("artifact.dsserve", json!({"sha256": "a"}), json!({"sha256": "b"})), Verdict::Replace);
        assert_eq!(
            of("security-group.machine", json!({"allow": []}), json!({"allow": ["10.0.0.0/8"]})),
            Verdict::InPlace
        );
        assert_eq!(of("machine.main", json!({"image": "a"}), json!({"image": "b"})), Verdict::Replace);
    }
}
