//! The engine's `Provider` for one deployment in one region: each call goes to its address' kind.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, Observed, Owned, Provider, ProviderError, Token, Verdict};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use super::auth::{Azure, Making};
use super::{kind, machine, resource, sweep};
use crate::making::{after_it_was_made, verdict};

#[derive(Debug)]
pub struct AzureProvider {
    azure: Azure,
}

impl AzureProvider {
    pub const fn new(azure: Azure) -> Self {
        Self { azure }
    }
}

#[async_trait]
impl Provider for AzureProvider {
    async fn read(
        &self,
        address: &Address,
        resource: &Resource,
        known: &Known,
    ) -> Result<Option<Observed>, ProviderError> {
        self.azure.is_at_home()?;
        let seen = resource::of(address)?.read(&self.azure, resource, known).await?;
        Ok(seen.map(|inputs| Observed { inputs }))
    }

    async fn find(&self, address: &Address, token: &Token, known: &Known) -> Result<Option<RemoteId>, ProviderError> {
        self.azure.is_at_home()?;
        resource::of(address)?.find(&self.azure, address, token, known).await
    }

    async fn create(&self, desired: &Desired, token: &Token, known: &Known) -> Result<RemoteId, ProviderError> {
        self.azure.is_at_home()?;
        let calls = resource::of(&desired.address)?;
        let id = calls.create(&self.azure, &Making { desired, token, known }).await?;
        calls.update(&self.azure, &id, desired, known).await.map_err(after_it_was_made)
    }

    async fn update(&self, id: &RemoteId, desired: &Desired, known: &Known) -> Result<RemoteId, ProviderError> {
        self.azure.is_at_home()?;
        resource::of(&desired.address)?.update(&self.azure, id, desired, known).await
    }

    async fn delete(&self, address: &Address, resource: &Resource, known: &Known) -> Result<(), ProviderError> {
        self.azure.is_at_home()?;
        resource::of(address)?.delete(&self.azure, resource, known).await
    }

    fn judge(&self, address: &Address, before: &Value, after: &Value) -> Verdict {
        judge(address, before, after)
    }

    async fn sweep(&self) -> Result<Vec<Owned>, ProviderError> {
        self.azure.is_at_home()?;
        let found = sweep::of_deployment(&self.azure.arm, self.azure.subscription()?, &self.azure.deployment).await?;
        Ok(found.into_iter().map(|found| found.owned).collect())
    }
}

/// Fields that can't change while the deployment lives, since everything stands on them.
fn fixed(kind: &str) -> &'static [&'static str] {
    match kind {
        kind::GROUP => &["account", "region"],
        kind::NETWORK => &["group", "range"],
        kind::SECURITY_GROUP | kind::PUBLIC_ADDRESS | kind::NAT_GATEWAY | kind::IDENTITY | kind::STORAGE => &["group"],
        kind::BUCKET => &["storage"],
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
    match address.kind() {
        kind::MACHINE => return machine::judge(before, after),
        kind::NETWORK if loses_its_way_out(before, after) => {
            let how = "`dsctl down`, then `dsctl up` with the new one";
            return Verdict::Impossible(format!("nat_gateway can't go while the deployment lives; {how}"));
        }
        _ => {}
    }
    verdict(before, after, fixed(address.kind()), replacing(address.kind()))
}

/// The gateway would go first, and Azure keeps one as long as the subnet names it. One of somebody else's stays where it is.
fn loses_its_way_out(before: &Value, after: &Value) -> bool {
    let own = Address::new(kind::NAT_GATEWAY, "main").to_string();
    before["nat_gateway"] == own && after["nat_gateway"].is_null()
}

#[cfg(test)]
mod tests {
    use engine::provider::ErrorKind;
    use serde_json::json;

    use super::*;
    use crate::azure::auth::tests::session_at;
    use crate::cloud::Handed;

    #[test]
    fn each_kind_has_its_way_to_change() {
        let of = |address: &str, before: Value, after: Value| judge(&Address::parse(address).unwrap(), &before, &after);
        let range = (json!({"range": "10.77.0.0/16"}), json!({"range": "10.78.0.0/16"}));
        assert!(matches!(of("network.main", range.0, range.1), Verdict::Impossible(_)));
        assert!(matches!(of("group.main", json!({"region": "a"}), json!({"region": "b"})), Verdict::Impossible(_)));
        assert_eq!(of("artifact.dsserve", json!({"sha256": "a"}), json!({"sha256": "b"})), Verdict::Replace);
        let (ours, theirs) = (json!({"nat_gateway": "nat-gateway.main"}), json!({"nat_gateway": "/subscriptions/s"}));
        let none = json!({"nat_gateway": null});
        assert!(matches!(of("network.main", ours.clone(), none.clone()), Verdict::Impossible(_)));
        assert_eq!(of("network.main", theirs, none.clone()), Verdict::InPlace);
        assert_eq!(of("network.main", none, ours), Verdict::InPlace);
        assert_eq!(of("access.machine", json!({"identity": "p"}), json!({"identity": "q"})), Verdict::InPlace);
        assert_eq!(of("machine.main", json!({"image": "a"}), json!({"image": "b"})), Verdict::Replace);
    }

    #[tokio::test]
    async fn in_another_subscription_no_call_is_made() {
        let handed = Handed { account: Some("another".to_owned()), ..Handed::default() };
        let azure = Azure::new(&session_at("http://127.0.0.1:9"), &"default".parse().unwrap(), "westeurope", handed);
        let provider = AzureProvider::new(azure);
        let (address, known) = (Address::new("group", "main"), Known::empty("l"));
        let resource = Resource::unread(RemoteId("/subscriptions/s/resourceGroups/g".to_owned()));
        let token = Token("t".to_owned());
        let desired = crate::cloud_graph::resource("group", "main", &json!({}), "").unwrap();
        let kinds = [
            provider.read(&address, &resource, &known).await.unwrap_err().kind,
            provider.find(&address, &token, &known).await.unwrap_err().kind,
            provider.create(&desired, &token, &known).await.unwrap_err().kind,
            provider.update(&resource.remote_id, &desired, &known).await.unwrap_err().kind,
            provider.delete(&address, &resource, &known).await.unwrap_err().kind,
            provider.sweep().await.unwrap_err().kind,
        ];
        assert_eq!(kinds, [ErrorKind::Credentials; 6]);
    }
}
