//! `access.machine`: the machine reads the deployment's container and writes under `host/`; nothing else, anywhere. Two
//! assignments: the first is what is made and found, the second hangs on it.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{CONTRIBUTOR, Grant, READER, identity, is_role, scope};
use crate::azure::auth::{Azure, Making, id as id_of, inputs, named};
use crate::azure::credential::PrincipalKind;
use crate::azure::id::{ROLES_VERSION, canonical, group_of, name_of, role_assignment};
use crate::azure::kind::{self, AccessInputs};
use crate::azure::network::text;
use crate::azure::resource::Calls;

/// Blob storage's own words for what a role lets do. The role of a writer may do more than the machine needs: it may write
/// under `host/` alone, and remove or move nothing.
const WRITES: &str = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike 'host/*')) AND (!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/move/action'}))";

const STORAGE_ACCOUNTS: &str = "/providers/Microsoft.Storage/storageAccounts/";

#[derive(Debug)]
pub struct Machine;

#[async_trait]
impl Calls for Machine {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(reader) = azure.arm.get(id).await? else { return Ok(None) };
        let writer = azure.arm.get(&writer_id(id)).await?;
        let principal = match known.id(&identity_address()) {
            Some(identity) => identity::principal(azure, &identity.0).await?,
            None => None,
        };
        let further = match &principal {
            Some(principal) => further(azure, id, principal).await?,
            None => Vec::new(),
        };
        let seen = Seen { reader, writer, principal, further };
        Ok(Some(seen.observed(named(known, scope(id)))))
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
        let inputs: AccessInputs = making.inputs()?;
        let id = azure.id_for(&making.desired.address, making.token, making.known)?;
        let principal = needed(azure, making.id(&inputs.identity)?).await?;
        reader(&principal).make(azure, making, &id).await?;
        Ok(RemoteId(id))
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: AccessInputs = inputs(desired)?;
        let principal = needed(azure, id_of(desired, known, &inputs.identity)?).await?;
        for other in further(azure, &id.0, &principal).await? {
            azure.arm.delete(&canonical(text(&other, "/id"))).await?;
        }
        reader(&principal).mend(azure, &desired.address, known, &id.0).await?;
        writer(&principal).mend(azure, &desired.address, known, &writer_id(&id.0)).await?;
        Ok(id.clone())
    }

    /// The second first: without the first nobody would look for it.
    async fn delete(&self, azure: &Azure, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        azure.arm.delete(&writer_id(id)).await?;
        azure.arm.delete(id).await
    }
}

fn identity_address() -> Address {
    Address::new(kind::IDENTITY, "machine")
}

fn reader(principal: &str) -> Grant<'_> {
    Grant { role: READER, principal, kind: PrincipalKind::ServicePrincipal, condition: None }
}

fn writer(principal: &str) -> Grant<'_> {
    Grant { role: CONTRIBUTOR, condition: Some(WRITES), ..reader(principal) }
}

fn writer_id(reader: &str) -> String {
    role_assignment(scope(reader), "access.machine writer")
}

/// Whether an assignment hangs on another of these, as whose part it is known.
pub fn is_second(id: &str, all: &[String]) -> bool {
    all.iter().any(|first| first != id && writer_id(first) == id)
}

async fn needed(azure: &Azure, identity: &str) -> Result<String, ProviderError> {
    let principal = identity::principal(azure, identity).await?;
    principal.ok_or_else(|| ProviderError::permanent(identity, "there is no such identity").with_next("dsctl up"))
}

/// Weights may lie in a storage account of the user's, who lets the machine read there.
fn reads_elsewhere(seen: &Value, id: &str) -> bool {
    let place = canonical(scope(text(seen, "/id")));
    is_role(seen, READER) && place.contains(STORAGE_ACCOUNTS) && group_of(&place) != group_of(id)
}

/// What else the machine was given, anywhere in the subscription.
async fn further(azure: &Azure, id: &str, principal: &str) -> Result<Vec<Value>, ProviderError> {
    let path = format!("/subscriptions/{}/providers/Microsoft.Authorization/roleAssignments", azure.subscription()?);
    let filter = format!("principalId eq '{principal}'");
    let mut all = azure.arm.list(&path, ROLES_VERSION, &[("$filter", &filter)]).await?;
    let own = [canonical(id), writer_id(id)];
    all.retain(|it| !own.contains(&canonical(text(it, "/id"))) && !reads_elsewhere(it, id));
    Ok(all)
}

/// What Azure shows of it.
struct Seen {
    reader: Value,
    writer: Option<Value>,
    /// Of the machine's identity as it is now.
    principal: Option<String>,
    further: Vec<Value>,
}

impl Seen {
    /// In the shape of [`AccessInputs`]. An identity that was made anew is another principal, to whom nothing was given.
    fn observed(&self, bucket: String) -> Value {
        let given_to = text(&self.reader, "/properties/principalId");
        let is_its = self.principal.as_ref().is_some_and(|principal| principal.eq_ignore_ascii_case(given_to));
        let identity = if is_its { identity_address().to_string() } else { given_to.to_owned() };
        let mut shown = json!({ "bucket": bucket, "identity": identity });
        if !reader(given_to).is_as_wanted(&self.reader) {
            shown["reader"] = json!("other");
        }
        match &self.writer {
            Some(seen) if writer(given_to).is_as_wanted(seen) => {}
            Some(_) => shown["writer"] = json!("other"),
            None => shown["writer"] = json!("missing"),
        }
        if !self.further.is_empty() {
            shown["further_roles"] = self.further.iter().map(role_and_scope).collect();
        }
        shown
    }
}

fn role_and_scope(seen: &Value) -> String {
    let role = name_of(text(seen, "/properties/roleDefinitionId"));
    format!("{role} on {}", canonical(scope(text(seen, "/id"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::tags::Tags;

    fn seen() -> Seen {
        Seen {
            reader: reader("p").body("s", &Tags::new()),
            writer: Some(writer("p").body("s", &Tags::new())),
            principal: Some("P".to_owned()),
            further: Vec::new(),
        }
    }

    #[test]
    fn the_machine_writes_under_its_folder_and_removes_nothing() {
        assert!(WRITES.contains("StringLike 'host/*'"));
        for action in ["blobs/write", "blobs/add/action", "blobs/delete", "blobs/move/action"] {
            assert!(WRITES.contains(&format!(
                "!(ActionMatches{{'Microsoft.Storage/storageAccounts/blobServices/containers/{action}'}})"
            )));
        }
        assert_eq!(WRITES.matches('(').count(), WRITES.matches(')').count());
    }

    #[test]
    fn access_as_it_was_made_shows_its_inputs_only() {
        let shown = seen().observed("bucket.main".to_owned());
        assert_eq!(shown, json!({"bucket": "bucket.main", "identity": "identity.machine"}));
    }

    #[test]
    fn whatever_somebody_gave_or_took_shows() {
        let shown = |change: fn(&mut Seen)| {
            let mut seen = seen();
            change(&mut seen);
            seen.observed("bucket.main".to_owned())
        };
        assert_eq!(shown(|seen| seen.writer = None)["writer"], "missing");
        let loosened =
            shown(|seen| seen.writer = Some(Grant { condition: None, ..writer("p") }.body("s", &Tags::new())));
        assert_eq!(loosened["writer"], "other");
        assert_eq!(shown(|seen| seen.principal = Some("q".to_owned()))["identity"], "p", "the identity is another now");
        let more = shown(|seen| {
            seen.further = vec![json!({
                "id": "/subscriptions/s/providers/Microsoft.Authorization/roleAssignments/1",
                "properties": {"roleDefinitionId": "/x/OWNER"}
            })];
        });
        assert_eq!(more["further_roles"], json!(["OWNER on /subscriptions/s"]));
    }

    #[test]
    fn to_read_in_an_account_of_the_users_is_theirs_to_give() {
        let own = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/own/x";
        let given = |role: &str, place: &str| {
            let id = format!("/subscriptions/S/{place}/providers/Microsoft.Authorization/roleAssignments/1");
            reads_elsewhere(&json!({"id": id, "properties": {"roleDefinitionId": format!("/x/{role}")}}), own)
        };
        let theirs = "resourceGroups/models/providers/microsoft.storage/storageaccounts/models";
        assert!(given(READER, theirs) && given(READER, &format!("{theirs}/blobServices/default/containers/r1")));
        assert!(!given(CONTRIBUTOR, theirs), "it would write there");
        assert!(!given(READER, "resourceGroups/models"), "it would read all accounts of a group");
        assert!(!given(READER, &theirs.replace("models", "g")), "in its own group nothing is the user's");
    }

    #[test]
    fn the_second_assignment_is_called_by_the_first_ones_place() {
        let first = role_assignment("/subscriptions/s", "access.machine");
        assert_eq!(scope(&writer_id(&first)), "/subscriptions/s");
        assert_ne!(writer_id(&first), first);
        let both = [writer_id(&first), first.clone()];
        assert!(is_second(&both[0], &both) && !is_second(&first, &both));
        assert!(!is_second(&both[0], &both[..1]), "left alone, it is found by itself");
    }
}
