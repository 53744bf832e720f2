//! `machine.main`: an instance with its one disk, in the zone of the candidate that was tried.
//!
//! ```text
//! wanted (the body) -> insert -> running -> mended (metadata, labels, protection, address, disk)
//!                                observed <- judge
//! ```
//! Private, shielded, no key leads into it, marked on instance and disk from the first moment. Its name ends in something of
//! the token, so that the one that takes over stands beside the one that goes.

use std::time::Duration;

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use google_cloud_compute_v1::model::instance::Status;
use google_cloud_compute_v1::model::scheduling::InstanceTerminationAction;
use google_cloud_compute_v1::model::{Instance, InstancesSetLabelsRequest, Metadata};
use serde_json::Value;
use spec::machine::Market;

use super::auth::{Gcp, Making, inputs};
use super::clients::{Compute, everywhere};
use super::encryption_key::{Encrypts, with_grant};
use super::error::{failed, gone, seen};
use super::kind::MachineInputs;
use super::labels::{self, Mark, Whose};
use super::names::{self, Path, last};
use super::operation::{act, insert};
use super::resource::{Calls, made};
use crate::wait::Pauses;

pub mod disk;
mod judge;
mod observed;
mod wanted;

pub use judge::judge;
use observed::{all_labels, external, mended_metadata, strange_metadata};
use wanted::{INTERFACE, access};

pub const COLLECTION: &str = "instances";
const START_LIMIT: Duration = Duration::from_secs(10 * 60);
/// What was made a moment ago shows by then.
const SHOW_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Machine;

#[async_trait]
impl Calls for Machine {
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let path = Path::parse(&resource.remote_id.0)?;
        let Some(instance) = living(gcp, &path).await? else { return Ok(None) };
        let disk = disk::described(gcp, &disk::path(&path)).await?;
        Ok(Some(observed::observed(&instance, disk.as_ref(), &resource.inputs, known, &gcp.project)))
    }

    /// In whichever zone: the token does not tell.
    async fn find(
        &self,
        gcp: &Gcp,
        _address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let name = names::machine(&gcp.deployment, &known.lineage, token);
        let call = gcp.compute.instances.aggregated_list().set_project(&gcp.project);
        let call = call.set_filter(format!("name = {name}"));
        let found = everywhere!(call, instances).await;
        let all = found.map_err(failed(format!("looking for {name}")))?;
        let own = all.into_iter().filter(|instance| instance.name.as_ref() == Some(&name) && !is_going(instance));
        let mut ids = own.filter_map(|instance| {
            let zone = instance.zone.as_deref().map(last)?;
            let id = Path::zonal(&gcp.project, zone, COLLECTION, &name).id();
            Whose::labelled(&all_labels(&instance)).found_by(token, id)
        });
        Ok(ids.next())
    }

    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: MachineInputs = making.inputs()?;
        let name = names::machine(&gcp.deployment, &making.known.lineage, making.token);
        let path = Path::zonal(&gcp.project, &inputs.zone, COLLECTION, &name);
        let instance = wanted::instance(gcp, making, &path, &inputs)?;
        let call = gcp.compute.instances.insert().set_project(&path.project).set_zone(path.place()).set_body(instance);
        let key = inputs.encryption_key.as_deref();
        let answer = insert!(gcp, making, call).await;
        let answer = answer.map_err(|denied| with_grant(denied, Encrypts::Disk, key, &gcp.project));
        made(gcp, making, path.id(), answer, whose(gcp, &path)).await
    }

    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: MachineInputs = inputs(desired)?;
        let path = Path::parse(&id.0)?;
        let instance = running(gcp, &path, &inputs, desired).await?;
        set_address(gcp, &path, &instance, &inputs).await?;
        mend_metadata(gcp, &path, &instance).await?;
        mend_labels(gcp, &path, &instance, desired, known).await?;
        // Google ends spot machines by itself: they can't be protected.
        let is_wanted = inputs.deletion_protection && inputs.market == Market::OnDemand;
        set_protection(gcp, &path, &instance, if is_wanted { Protection::On } else { Protection::Off }).await?;
        disk::set(gcp, &path, &inputs, desired).await?;
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let path = Path::parse(&resource.remote_id.0)?;
        if path.collection == disk::COLLECTION {
            return disk::remove(gcp, &path).await;
        }
        let Some(instance) = described(gcp, &path).await? else { return Ok(()) };
        set_protection(gcp, &path, &instance, Protection::Off).await?;
        let call = gcp.compute.instances.delete().set_project(&path.project).set_zone(path.place());
        gone(act!(format!("ending {path}"), call.set_instance(&path.name)).await)
    }
}

/// The instance in whatever state; none if it is not there.
pub async fn described(gcp: &Gcp, path: &Path) -> Result<Option<Instance>, ProviderError> {
    look(&gcp.compute, path).await
}

/// The same where no deployment is at hand.
pub async fn look(compute: &Compute, path: &Path) -> Result<Option<Instance>, ProviderError> {
    let call = compute.instances.get().set_project(&path.project).set_zone(path.place()).set_instance(&path.name);
    seen(format!("looking at {path}"), call.send().await)
}

async fn whose(gcp: &Gcp, path: &Path) -> Result<Whose, ProviderError> {
    let instance = described(gcp, path).await?;
    Ok(instance.map_or(Whose::Absent, |instance| Whose::labelled(&all_labels(&instance))))
}

/// The instance, unless it is gone or going for good.
async fn living(gcp: &Gcp, path: &Path) -> Result<Option<Instance>, ProviderError> {
    Ok(described(gcp, path).await?.filter(|instance| !is_going(instance)))
}

/// A spot machine that stops goes with it.
fn is_going(instance: &Instance) -> bool {
    let ends = instance.scheduling.as_ref().and_then(|scheduling| scheduling.instance_termination_action.as_ref());
    let goes = ends == Some(&InstanceTerminationAction::Delete);
    match instance.status {
        Some(Status::Deprovisioning) => true,
        Some(Status::Stopping | Status::Terminated | Status::Stopped) => goes,
        _ => false,
    }
}

/// Waits until it runs; starts one that somebody stopped.
async fn running(gcp: &Gcp, path: &Path, inputs: &MachineInputs, desired: &Desired) -> Result<Instance, ProviderError> {
    let (mut pauses, mut shows) = (Pauses::until(START_LIMIT), Pauses::until(SHOW_LIMIT));
    let mut was_seen = false;
    loop {
        match living(gcp, path).await? {
            Some(instance) if instance.status == Some(Status::Running) => return Ok(instance),
            Some(instance) => {
                was_seen = true;
                begin(gcp, path, &instance).await?;
                pauses.next(format!("{} does not run", desired.address)).await?;
            }
            None if was_seen => return Err(ended(inputs.market, desired)),
            // What was made a moment ago does not show everywhere at once.
            None => shows.next(format!("{path} does not show")).await.map_err(|_| ended(inputs.market, desired))?,
        }
    }
}

async fn begin(gcp: &Gcp, path: &Path, instance: &Instance) -> Result<(), ProviderError> {
    let what = format!("starting {path}");
    match instance.status {
        Some(Status::Terminated | Status::Stopped) => {
            let call = gcp.compute.instances.start().set_project(&path.project).set_zone(path.place());
            Ok(act!(what, call.set_instance(&path.name)).await?)
        }
        Some(Status::Suspended) => {
            let call = gcp.compute.instances.resume().set_project(&path.project).set_zone(path.place());
            Ok(act!(what, call.set_instance(&path.name)).await?)
        }
        _ => Ok(()),
    }
}

/// It went before it ran: Google took a spot machine back, or somebody removed the other.
fn ended(market: Market, desired: &Desired) -> ProviderError {
    let kind = if market == Market::Spot { ErrorKind::Capacity } else { ErrorKind::TokenSpent };
    ProviderError::new(kind, &desired.address, "the instance ended before it ran")
}

/// A private machine loses whatever address somebody gave it; a public one has its own.
async fn set_address(gcp: &Gcp, path: &Path, instance: &Instance, inputs: &MachineInputs) -> Result<(), ProviderError> {
    let what = format!("external address of {path}");
    match (external(instance), inputs.public) {
        (Some(found), false) => {
            let call = gcp.compute.instances.delete_access_config().set_project(&path.project).set_zone(path.place());
            let call = call.set_instance(&path.name).set_network_interface(INTERFACE);
            gone(act!(what, call.set_access_config(found.name.clone().unwrap_or_default())).await)
        }
        (None, true) => {
            let call = gcp.compute.instances.add_access_config().set_project(&path.project).set_zone(path.place());
            let call = call.set_instance(&path.name).set_network_interface(INTERFACE).set_body(access());
            Ok(act!(what, call).await?)
        }
        (Some(_), true) | (None, false) => Ok(()),
    }
}

async fn mend_metadata(gcp: &Gcp, path: &Path, instance: &Instance) -> Result<(), ProviderError> {
    if strange_metadata(instance).is_empty() {
        return Ok(());
    }
    let fingerprint = instance.metadata.as_ref().and_then(|metadata| metadata.fingerprint.clone());
    let metadata = Metadata::new().set_or_clear_fingerprint(fingerprint).set_items(mended_metadata(instance));
    let call = gcp.compute.instances.set_metadata().set_project(&path.project).set_zone(path.place());
    Ok(act!(format!("metadata of {path}"), call.set_instance(&path.name).set_body(metadata)).await?)
}

/// Ours over what somebody else put beside them. Which token made it is not known any more where its label is gone.
async fn mend_labels(
    gcp: &Gcp,
    path: &Path,
    instance: &Instance,
    desired: &Desired,
    known: &Known,
) -> Result<(), ProviderError> {
    let seen = all_labels(instance);
    if labels::is_complete(&seen) {
        return Ok(());
    }
    let token = Token(seen.get(labels::TOKEN).cloned().unwrap_or_default());
    let (deployment, address, owner) = (&gcp.deployment, &desired.address, &gcp.caller);
    let ours = Mark { deployment, address, token: &token, lineage: &known.lineage, owner }.labels();
    let body = InstancesSetLabelsRequest::new()
        .set_or_clear_label_fingerprint(instance.label_fingerprint.clone())
        .set_labels(seen.into_iter().chain(ours.into_iter().filter(|(_, value)| !value.is_empty())));
    let call = gcp.compute.instances.set_labels().set_project(&path.project).set_zone(path.place());
    Ok(act!(format!("labels of {path}"), call.set_instance(&path.name).set_body(body)).await?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    On,
    Off,
}

/// No call where it is so already.
async fn set_protection(gcp: &Gcp, path: &Path, instance: &Instance, wanted: Protection) -> Result<(), ProviderError> {
    let is_on = instance.deletion_protection.unwrap_or_default();
    if is_on == (wanted == Protection::On) {
        return Ok(());
    }
    let call = gcp.compute.instances.set_deletion_protection().set_project(&path.project).set_zone(path.place());
    let call = call.set_resource(&path.name).set_deletion_protection(wanted == Protection::On);
    gone(act!(format!("deletion protection of {path}"), call).await)
}
