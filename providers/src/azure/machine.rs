//! `machine.main`: a virtual machine with its interface, its disk and, if it is public, its address: made by one call, tagged
//! on all of them from the first moment, and gone together.
//!
//! ```text
//! create: body (pure) -> PUT, followed to its end; what is left of one that could not be had is removed
//! update: wait until it runs -> what differs -> lock
//! ```

use std::time::Duration;

use async_trait::async_trait;
use engine::graph::Desired;
use engine::plan::differing_keys;
use engine::provider::{ErrorKind, Known, ProviderError, Verdict};
use engine::state::{RemoteId, Resource};
use serde_json::{Map, Value, json};
use spec::machine::Market;
use tokio::time::Instant;

use super::arm::{not_yet, short, state};
use super::auth::{Azure, Making, id as id_of, inputs};
use super::error::{Told, operation_failed};
use super::id::{canonical, type_of};
use super::kind::MachineInputs;
use super::network::text;
use super::resource::Calls;
use super::tags;
use super::thing::{is_made, wanted_tags};
use super::wait::Pauses;
use seen::Power;

mod body;
pub mod seen;

const TYPE: &str = "Microsoft.Compute/virtualMachines";
/// Fields that a machine takes while it runs.
const IN_PLACE: [&str; 2] = ["termination_protection", "identity"];
/// What shows only when it is not as we make it, and can be put right: see `seen`.
const MENDED: [&str; 4] = ["tags", "boot_diagnostics", "further_identities", "state"];
/// Count only when the machine is made.
const FIRST_BOOT: [&str; 2] = ["boot_script", "dsctl_sha256"];
/// What changing it would take the running machine's way out or in from it while it serves.
const FIXED: [&str; 3] = ["group", "network", "public"];
const START_LIMIT: Duration = Duration::from_secs(20 * 60);
const SHOW_LIMIT: Duration = Duration::from_secs(60);

/// Whether a machine can get from one set of inputs to another. Pure. A disk grows only while its machine stands still, so that
/// another size is another machine.
pub fn judge(before: &Value, after: &Value) -> Verdict {
    let keys: Vec<String> =
        differing_keys(before, after).into_iter().filter(|key| !FIRST_BOOT.contains(&key.as_str())).collect();
    if keys.is_empty() {
        return Verdict::Same;
    }
    if let Some(key) = keys.iter().find(|key| FIXED.contains(&key.as_str())) {
        return Verdict::Impossible(format!(
            "{key} can't change while the deployment lives; `dsctl down`, then `dsctl up` with the new one"
        ));
    }
    let never_ran = before.get("state").and_then(Value::as_str) == Some(seen::FAILED);
    let is_light = |key: &String| IN_PLACE.contains(&key.as_str()) || MENDED.contains(&key.as_str());
    if never_ran || !keys.iter().all(is_light) { Verdict::Replace } else { Verdict::InPlace }
}

#[derive(Debug)]
pub struct Machine;

#[async_trait]
impl Calls for Machine {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = seen::look(azure, id).await? else { return Ok(None) };
        Ok(Some(seen.observed(id, &azure.region, &resource.inputs, known)))
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: MachineInputs = making.inputs()?;
        let address = &making.desired.address;
        let id = azure.id_for(address, making.token, making.known)?;
        let mark = azure.mark(making).await?;
        if is_made(azure, address, &id, &mark).await? {
            return Ok(RemoteId(id));
        }
        let size = azure.sizes().await?.get(&inputs.machine_type).cloned().unwrap_or_default();
        let parts = body::Parts { azure, making, inputs: &inputs, size: &size, id: &id, tags: &mark.tags() };
        match azure.arm.put_new(address, &id, &parts.body()?).await {
            Ok(()) => Ok(RemoteId(id)),
            Err(error) => Err(after_clearing(azure, &id, error).await),
        }
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: MachineInputs = inputs(desired)?;
        let seen = match running(azure, &id.0, desired).await? {
            Run::Runs(seen) => seen,
            // In no record: it is of this very act, and nobody waits for it.
            Run::Ended(error) if known.address_of(&id.0).is_none() => {
                return Err(after_clearing(azure, &id.0, error).await);
            }
            Run::Ended(error) => return Err(error),
        };
        mend(azure, &id.0, &seen, desired, known).await?;
        mark_disk(azure, &seen, desired).await?;
        // Azure takes no spot machine back that is locked.
        let wanted = inputs.termination_protection && inputs.market == Market::OnDemand;
        set_lock(azure, &id.0, wanted).await?;
        Ok(id.clone())
    }

    async fn delete(&self, azure: &Azure, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        // A disk, an interface or an address that a machine left has no lock.
        if type_of(id) == TYPE && azure.arm.get(id).await?.is_some() {
            set_lock(azure, id, false).await?;
        }
        azure.arm.delete(id).await
    }
}

/// A machine that could not be had stands there all the same, with a disk that is paid for: it is taken away before another is
/// tried for. One that nobody knows the end of is left as it is.
async fn after_clearing(azure: &Azure, id: &str, error: ProviderError) -> ProviderError {
    match clear(azure, id).await {
        Ok(()) => error,
        Err(left) => {
            let message = format!("{}; and what is left of it can't be removed: {left}", error.message);
            ProviderError { kind: ErrorKind::Ambiguous, message, ..error }
        }
    }
}

async fn clear(azure: &Azure, id: &str) -> Result<(), ProviderError> {
    match azure.arm.get(id).await? {
        Some(seen) if matches!(state(&seen).as_str(), "failed" | "canceled") => azure.arm.delete(id).await,
        _ => Ok(()),
    }
}

/// How the wait for a machine ended.
enum Run {
    Runs(Value),
    Ended(ProviderError),
}

/// Waits until it runs; starts one that somebody stopped.
async fn running(azure: &Azure, id: &str, desired: &Desired) -> Result<Run, ProviderError> {
    let shown_by = Instant::now() + SHOW_LIMIT;
    let mut pauses = Pauses::until(START_LIMIT);
    loop {
        match seen::described(azure, id).await? {
            None if Instant::now() >= shown_by => return Err(not_yet(&desired.address, "it does not show yet")),
            None => {}
            Some(seen) => match seen::power(&seen) {
                Power::Running => return Ok(Run::Runs(seen)),
                Power::Failed => return Ok(Run::Ended(failure(&seen, desired))),
                Power::Stopped => drop(azure.arm.post(format!("starting {}", desired.address), id, "start").await?),
                Power::Going => return Ok(Run::Ended(ended(desired, "it is going"))),
                Power::Changing => {}
            },
        }
        pauses.next(format!("{} does not run", desired.address), None).await?;
    }
}

/// Why it never ran: lack of capacity may show only here.
fn failure(seen: &Value, desired: &Desired) -> ProviderError {
    let (code, message) = seen::failure(seen);
    let told = Told::in_json(&json!({ "code": code, "message": message }));
    let error = operation_failed(&desired.address, &told);
    match error.kind {
        ErrorKind::Capacity | ErrorKind::Quota | ErrorKind::Credentials => error,
        // The token leads to this machine and no other.
        _ => ProviderError { kind: ErrorKind::TokenSpent, ..error },
    }
}

fn ended(desired: &Desired, message: &str) -> ProviderError {
    ProviderError::new(ErrorKind::TokenSpent, &desired.address, message)
}

/// One call for all that differs.
async fn mend(azure: &Azure, id: &str, seen: &Value, desired: &Desired, known: &Known) -> Result<(), ProviderError> {
    let inputs: MachineInputs = inputs(desired)?;
    let mut patch = Map::new();
    let tags = tags::of(seen);
    let wanted = wanted_tags(azure, &tags, &desired.address, known).await?;
    if tags != wanted {
        patch.insert("tags".to_owned(), json!(wanted));
    }
    if let Some(identity) = other_identity(seen, id_of(desired, known, &inputs.identity)?) {
        patch.insert("identity".to_owned(), identity);
    }
    if !seen::has_boot_diagnostics(seen) {
        patch.insert("properties".to_owned(), json!({ "diagnosticsProfile": body::diagnostics() }));
    }
    if patch.is_empty() {
        return Ok(());
    }
    azure.arm.patch(&desired.address, id, &Value::Object(patch)).await
}

/// That identity alone, if it is not so: the others are taken away by name.
fn other_identity(seen: &Value, wanted: &str) -> Option<Value> {
    let has = seen::identities(seen);
    let is_so = has == [canonical(wanted)] && text(seen, "/identity/type").eq_ignore_ascii_case("UserAssigned");
    let others = has.into_iter().filter(|id| *id != canonical(wanted)).map(|id| (id, Value::Null));
    let all: Map<String, Value> = others.chain([(wanted.to_owned(), json!({}))]).collect();
    (!is_so).then(|| json!({ "type": "UserAssigned", "userAssignedIdentities": all }))
}

/// Made by Azure together with the machine, and found without it only by its tags.
async fn mark_disk(azure: &Azure, seen: &Value, desired: &Desired) -> Result<(), ProviderError> {
    let id = text(seen, "/properties/storageProfile/osDisk/managedDisk/id");
    if id.is_empty() {
        return Ok(());
    }
    let Some(disk) = azure.arm.get(&canonical(id)).await? else { return Ok(()) };
    let mut tags = tags::of(&disk);
    if tags::is_marked(&tags) {
        return Ok(());
    }
    tags.extend(tags::of(seen));
    azure.arm.patch(format!("disk of {}", desired.address), &canonical(id), &json!({ "tags": tags })).await
}

/// A lock is a thing of its own, that hangs on what it locks.
fn lock_of(id: &str) -> String {
    format!("{id}/providers/Microsoft.Authorization/locks/dsctl")
}

async fn set_lock(azure: &Azure, id: &str, wanted: bool) -> Result<(), ProviderError> {
    let lock = lock_of(id);
    let seen = azure.arm.get(&lock).await?;
    match (seen.as_ref().is_some_and(seen::is_lock), wanted) {
        (true, true) => Ok(()),
        (_, false) if seen.is_none() => Ok(()),
        (_, false) => azure.arm.delete(&lock).await,
        (false, true) => {
            let notes = "dsctl: no removal by mistake; `dsctl down` takes this away first";
            let body = json!({ "properties": { "level": "CanNotDelete", "notes": notes } });
            azure.arm.put(format!("lock on {}", short(id)), &lock, &body).await.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(key: &str, value: Value) -> Verdict {
        let before = json!({"machine_type": "Standard_NC24ads_A100_v4", "network": "n", "group": "g", "zone": null,
            "market": "on-demand", "image": "a:b:c:1", "identity": "i", "public": false, "disk_gib": 200,
            "termination_protection": true, "boot_script": "x"});
        let mut after = before.clone();
        after[key] = value;
        judge(&before, &after)
    }

    #[test]
    fn each_field_has_its_way() {
        for key in FIXED {
            assert!(matches!(judged(key, json!("other")), Verdict::Impossible(_)), "{key}");
        }
        for key in ["machine_type", "zone", "market", "image", "disk_gib", "encryption_at_host"] {
            assert_eq!(judged(key, json!("other")), Verdict::Replace, "{key}");
        }
        assert_eq!(judged("identity", json!("other")), Verdict::InPlace);
        assert_eq!(judged("termination_protection", json!(false)), Verdict::InPlace);
        assert_eq!(judged("boot_script", json!("y")), Verdict::Same);
    }

    #[test]
    fn one_that_was_stopped_is_started_and_one_that_never_ran_is_replaced() {
        let with = |state: &str| judge(&json!({"state": state}), &json!({}));
        assert_eq!(with("deallocated"), Verdict::InPlace);
        assert_eq!(with(seen::FAILED), Verdict::Replace);
    }

    #[test]
    fn a_machine_has_the_one_identity_and_no_other() {
        let own =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/machine";
        let with = |kind: &str, ids: &[&str]| {
            let all: Map<String, Value> = ids.iter().map(|id| ((*id).to_owned(), json!({"clientId": "c"}))).collect();
            other_identity(&json!({"identity": {"type": kind, "userAssignedIdentities": all}}), own)
        };
        assert_eq!(with("UserAssigned", &[&own.to_uppercase()]), None);
        let more = with("SystemAssigned, UserAssigned", &[own, "/x"]).unwrap();
        assert_eq!(more, json!({"type": "UserAssigned", "userAssignedIdentities": {"/x": null, own: {}}}));
        assert!(with("None", &[]).is_some());
    }

    #[test]
    fn why_it_never_ran_decides_what_is_next() {
        let desired = crate::cloud_graph::resource("machine", "main", &json!({}), "").unwrap();
        let of = |code: &str| {
            failure(&json!({"properties": {"instanceView": {"statuses": [{"code": code}]}}}), &desired).kind
        };
        assert_eq!(of("ProvisioningState/failed/AllocationFailed"), ErrorKind::Capacity);
        assert_eq!(of("ProvisioningState/failed/OSProvisioningTimedOut"), ErrorKind::TokenSpent);
        assert_eq!(of("ProvisioningState/failed"), ErrorKind::TokenSpent);
    }
}
