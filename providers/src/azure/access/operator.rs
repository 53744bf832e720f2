//! `access.operator`: whoever makes a deployment may read, write and remove its storage account's blobs, with all their
//! versions. To own a subscription is not enough for that: keys are off, and blobs have roles of their own.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{Grant, OWNER, condition, is_role, scope};
use crate::azure::auth::{Azure, Making, named};
use crate::azure::resource::Calls;

#[derive(Debug)]
pub struct Operator;

#[async_trait]
impl Calls for Operator {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        Ok(azure.arm.get(id).await?.map(|seen| observed(&seen, named(known, scope(id)))))
    }

    async fn find(
        &self,
        azure: &Azure,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        super::find(azure, address, token, known).await
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let id = azure.id_for(&making.desired.address, making.token, making.known)?;
        let caller = azure.caller().await?;
        grant(&caller.object, caller.kind).make(azure, making, &id).await?;
        Ok(RemoteId(id))
    }

    /// Whose it is stays: another caller of a team has a role of their own.
    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let seen = azure.arm.settled(&desired.address, &id.0).await?;
        if is_well(&seen) {
            return Ok(id.clone());
        }
        let caller = azure.caller().await?;
        grant(&caller.object, caller.kind).mend(azure, &desired.address, known, &id.0).await?;
        Ok(id.clone())
    }
}

fn grant(principal: &str, kind: crate::azure::credential::PrincipalKind) -> Grant<'_> {
    Grant { role: OWNER, principal, kind, condition: None }
}

fn is_well(seen: &Value) -> bool {
    is_role(seen, OWNER) && condition(seen).is_empty()
}

/// In the shape of `OperatorInputs`.
fn observed(seen: &Value, storage: String) -> Value {
    let mut shown = json!({ "storage": storage });
    if !is_well(seen) {
        shown["role"] = json!("other");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::super::CONTRIBUTOR;
    use super::*;
    use crate::azure::credential::PrincipalKind;
    use crate::azure::tags::Tags;

    #[test]
    fn a_role_that_was_bound_shows() {
        let mut made = grant("p", PrincipalKind::User).body("s", &Tags::new());
        assert_eq!(observed(&made, "storage.main".to_owned()), json!({"storage": "storage.main"}));
        made["properties"]["condition"] = json!("x");
        assert_eq!(observed(&made, "storage.main".to_owned())["role"], "other");
        let before = Grant { role: CONTRIBUTOR, ..grant("p", PrincipalKind::User) }.body("s", &Tags::new());
        assert_eq!(observed(&before, "storage.main".to_owned())["role"], "other", "it removes no version");
    }
}
