//! `bucket.main`: the container of the deployment's objects, private. What tags are to other things is its metadata.

use std::time::Duration;

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::lifecycle::KEPT;
use super::{object, settings};
use crate::azure::auth::{Azure, Making, named};
use crate::azure::blobs::{Place, Versions};
use crate::azure::id::{account_of, name_of};
use crate::azure::network::text;
use crate::azure::resource::Calls;
use crate::azure::tags::{self, Tags};
use crate::azure::thing;
use crate::azure::wait::Pauses;

/// A role that was assigned a moment ago works within minutes.
const ACCESS_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Nothing is ever written there.
const PROBE: &str = "dsctl-probe";
const METADATA: &str = "/properties/metadata";

#[derive(Debug)]
pub struct Container;

#[async_trait]
impl Calls for Container {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = living(azure, id).await? else { return Ok(None) };
        Ok(Some(observed(&seen, named(known, &account(id)?))))
    }

    async fn find(
        &self,
        azure: &Azure,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let id = azure.id_for(address, token, known)?;
        let seen = living(azure, &id).await?.map(|seen| marks(&seen));
        Ok(seen.filter(|marks| marks.get(tags::TOKEN) == Some(&token.0)).map(|_| RemoteId(id)))
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let address = &making.desired.address;
        let id = azure.id_for(address, making.token, making.known)?;
        let mark = azure.mark(making).await?;
        let is_made = match azure.arm.get(&id).await? {
            Some(seen) => thing::whose(address, &id, &mark, &marks(&seen))?,
            None => false,
        };
        if !is_made {
            azure.arm.put(address, &id, &body(&mark.tags())).await?;
        }
        Ok(RemoteId(id))
    }

    /// What lies in it stands on more than it: on the right to write there, which comes late.
    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let seen = azure.arm.settled(&desired.address, &id.0).await?;
        let tags = thing::wanted_tags(azure, &marks(&seen), &desired.address, known).await?;
        let wanted = body(&tags);
        if !thing::fulfils(&seen, &wanted) {
            azure.arm.patch(&desired.address, &id.0, &wanted).await?;
        }
        wait_for_access(azure, &id.0, &desired.address).await?;
        Ok(id.clone())
    }

    async fn delete(&self, azure: &Azure, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = living(azure, id).await? else { return Ok(()) };
        match settings::audit_days(azure, &account(id)?).await? {
            Some(days) if has_records(azure, id).await? => keep(azure, id, &seen, days).await,
            _ => azure.arm.delete(id).await,
        }
    }
}

fn account(id: &str) -> Result<String, ProviderError> {
    account_of(id).ok_or_else(|| ProviderError::permanent(id, "it lies in no storage account"))
}

/// An object in it.
fn place(id: &str, key: &str) -> Result<Place, ProviderError> {
    let account = name_of(&account(id)?).to_owned();
    Ok(Place { account, container: name_of(id).to_owned(), key: key.to_owned() })
}

async fn living(azure: &Azure, id: &str) -> Result<Option<Value>, ProviderError> {
    Ok(azure.arm.get(id).await?.filter(|seen| !tags::is_kept(&marks(seen)) && seen["properties"]["deleted"] != true))
}

fn marks(seen: &Value) -> Tags {
    seen.pointer(METADATA).and_then(Value::as_object).map(tags::from_metadata).unwrap_or_default()
}

fn body(tags: &Tags) -> Value {
    json!({ "properties": { "publicAccess": "None", "metadata": tags::to_metadata(tags) } })
}

/// In the shape of `BucketInputs`.
fn observed(seen: &Value, storage: String) -> Value {
    let mut shown = json!({ "storage": storage });
    let access = text(seen, "/properties/publicAccess");
    if !access.is_empty() && !access.eq_ignore_ascii_case("None") {
        shown["public_access"] = json!(access);
    }
    if !tags::is_marked(&marks(seen)) {
        shown["metadata"] = json!("incomplete");
    }
    shown
}

/// Until a removal is no longer refused. The right to read says nothing: by the right role of another scope, or by a smaller
/// one, the caller may have it long before that to write.
async fn wait_for_access(azure: &Azure, id: &str, address: &Address) -> Result<(), ProviderError> {
    let place = place(id, PROBE)?;
    let mut pauses = Pauses::until(ACCESS_LIMIT);
    loop {
        match azure.blobs.delete(&place, None).await {
            Err(error) if error.kind == ErrorKind::NotYet => {
                let waited = pauses.next(format!("{address}: its objects can't be written"), None).await;
                waited.map_err(|over| ProviderError { next: error.next.clone(), ..over })?;
            }
            answer => return answer,
        }
    }
}

async fn has_records(azure: &Azure, id: &str) -> Result<bool, ProviderError> {
    Ok(!azure.blobs.list(&place(id, KEPT)?, Versions::All).await?.is_empty())
}

/// Leaves the container with its records alone.
async fn keep(azure: &Azure, id: &str, seen: &Value, days: u32) -> Result<(), ProviderError> {
    let all = azure.blobs.list(&place(id, "")?, Versions::Current).await?;
    for listed in all.iter().filter(|listed| !listed.name.starts_with(KEPT)) {
        object::remove_all(azure, &place(id, &listed.name)?).await?;
    }
    let kept = tags::kept(&marks(seen), &azure.deployment, days);
    azure.arm.patch(format!("keeping {}", name_of(id)), id, &body(&kept)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobServices/default/containers/dsctl";

    fn tags() -> Tags {
        ["dsctl-deployment", "dsctl-address", "dsctl-token", "dsctl-lineage"]
            .map(|key| (key.to_owned(), "x".to_owned()))
            .into()
    }

    #[test]
    fn a_container_as_it_is_made_shows_its_account_only() {
        let mut made = body(&tags());
        assert_eq!(observed(&made, "storage.main".to_owned()), json!({"storage": "storage.main"}));
        made["properties"]["publicAccess"] = Value::Null;
        assert_eq!(observed(&made, "storage.main".to_owned()), json!({"storage": "storage.main"}));
    }

    #[test]
    fn an_open_one_and_one_that_nobody_would_find_show() {
        let seen = json!({"properties": {"publicAccess": "Blob", "metadata": {}}});
        let shown = observed(&seen, "storage.main".to_owned());
        assert_eq!((&shown["public_access"], &shown["metadata"]), (&json!("Blob"), &json!("incomplete")));
    }

    #[test]
    fn its_objects_have_their_places() {
        assert_eq!(place(ID, "secrets/api-key").unwrap().to_string(), "az://a/dsctl/secrets/api-key");
        assert!(place("/subscriptions/s", "k").is_err());
    }
}
