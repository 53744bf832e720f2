//! The machine's one disk: which kind its type takes, how large and how fast, and what of that can change while it runs.

use engine::graph::Desired;
use engine::provider::ProviderError;
use google_cloud_compute_v1::model::{
    AttachedDisk, AttachedDiskInitializeParams, CustomerEncryptionKey, Disk, DisksResizeRequest,
};
use google_cloud_wkt::FieldMask;
use serde_json::Value;

use crate::gcp::auth::Gcp;
use crate::gcp::error::{gone, seen};
use crate::gcp::kind::MachineInputs;
use crate::gcp::labels::Labels;
use crate::gcp::names::{Path, last, relative};
use crate::gcp::operation::act;

pub const COLLECTION: &str = "disks";
const BALANCED: &str = "pd-balanced";
const HYPERDISK: &str = "hyperdisk-balanced";
/// Machine types whose boot disk must be a Hyperdisk.
const HYPERDISK_TYPES: [&str; 6] = ["g4-", "a4-", "a4x-", "a3-ultragpu-", "c4-", "n4-"];
/// `projects/P/locations/L/keyRings/R/cryptoKeys/K`, before the version.
const KEY_PARTS: usize = 8;
/// What a Hyperdisk has at least and at most: operations, and MiB, a second.
const IOPS: (i64, i64) = (3_000, 160_000);
const MIB_A_SECOND: (i64, i64) = (140, 2_400);

/// What a disk is to have. How fast a persistent disk is follows from its size; a Hyperdisk is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    pub iops: i64,
    pub mib_a_second: i64,
}

pub fn is_hyperdisk(machine_type: &str) -> bool {
    HYPERDISK_TYPES.iter().any(|family| machine_type.starts_with(family))
}

impl Speed {
    /// None where nothing can be told.
    pub fn of(inputs: &MachineInputs) -> Option<Self> {
        is_hyperdisk(&inputs.machine_type).then(|| Self::within(inputs.disk_iops, inputs.disk_mib_a_second))
    }

    /// What is asked for, within what there is.
    fn within(iops: u32, mib_a_second: u32) -> Self {
        Self {
            iops: i64::from(iops).clamp(IOPS.0, IOPS.1),
            mib_a_second: i64::from(mib_a_second).clamp(MIB_A_SECOND.0, MIB_A_SECOND.1),
        }
    }
}

/// The disk that comes and goes with its machine, and is marked from its first moment.
pub fn wanted(machine: &Path, inputs: &MachineInputs, labels: Labels) -> AttachedDisk {
    let kind = if is_hyperdisk(&inputs.machine_type) { HYPERDISK } else { BALANCED };
    let mut made = AttachedDiskInitializeParams::new()
        .set_disk_name(&machine.name)
        .set_disk_size_gb(i64::from(inputs.disk_gib))
        .set_disk_type(format!("projects/{}/zones/{}/diskTypes/{kind}", machine.project, machine.place()))
        .set_source_image(&inputs.image)
        .set_labels(labels);
    if let Some(speed) = Speed::of(inputs) {
        made = made.set_provisioned_iops(speed.iops).set_provisioned_throughput(speed.mib_a_second);
    }
    let key = inputs.encryption_key.as_ref().map(|name| CustomerEncryptionKey::new().set_kms_key_name(name));
    let disk = AttachedDisk::new().set_boot(true).set_auto_delete(true).set_initialize_params(made);
    disk.set_or_clear_disk_encryption_key(key)
}

/// The disk of a machine bears its name.
pub fn path(machine: &Path) -> Path {
    Path { collection: COLLECTION.to_owned(), ..machine.clone() }
}

pub async fn described(gcp: &Gcp, path: &Path) -> Result<Option<Disk>, ProviderError> {
    let call = gcp.compute.disks.get().set_project(&path.project).set_zone(path.place()).set_disk(&path.name);
    seen(format!("looking at {path}"), call.send().await)
}

/// `disk_iops` and `disk_mib_a_second` as they show: what was asked for, while the disk is as it was made for that.
pub fn observed(disk: Option<&Disk>, recorded: &Value) -> (Value, Value) {
    let asked = |key: &str| recorded[key].as_u64().and_then(|number| u32::try_from(number).ok());
    let made = asked("disk_iops").zip(asked("disk_mib_a_second")).map(|(iops, mib)| Speed::within(iops, mib));
    let is_told = disk.and_then(|disk| disk.r#type.as_deref()).is_some_and(|kind| last(kind) == HYPERDISK);
    let told = |value: Option<i64>, made: Option<i64>, key: &str| match value {
        Some(value) if is_told && made != Some(value) => Value::from(value),
        _ => recorded[key].clone(),
    };
    (
        told(disk.and_then(|disk| disk.provisioned_iops), made.map(|made| made.iops), "disk_iops"),
        told(
            disk.and_then(|disk| disk.provisioned_throughput),
            made.map(|made| made.mib_a_second),
            "disk_mib_a_second",
        ),
    )
}

/// The key of the user's own that it is encrypted by. Google shows the version that it took when the disk was made as well.
pub fn encryption_key(disk: &Disk) -> Option<String> {
    let shown = disk.disk_encryption_key.as_ref()?.kms_key_name.as_deref()?;
    let key: Vec<&str> = relative(shown).split('/').take(KEY_PARTS).collect();
    Some(key.join("/"))
}

/// Makes it as large and as fast as it should be; never smaller.
pub async fn set(gcp: &Gcp, machine: &Path, inputs: &MachineInputs, desired: &Desired) -> Result<(), ProviderError> {
    let path = path(machine);
    let Some(disk) = described(gcp, &path).await? else { return Ok(()) };
    let (what, wanted) = (format!("disk of {}", desired.address), i64::from(inputs.disk_gib));
    if disk.size_gb.is_some_and(|has| has < wanted) {
        let call = gcp.compute.disks.resize().set_project(&path.project).set_zone(path.place()).set_disk(&path.name);
        act!(&what, call.set_body(DisksResizeRequest::new().set_size_gb(wanted))).await?;
    }
    let has = disk.provisioned_iops.zip(disk.provisioned_throughput);
    let has = has.map(|(iops, mib_a_second)| Speed { iops, mib_a_second });
    match Speed::of(inputs) {
        Some(speed) if has != Some(speed) => set_speed(gcp, &path, speed, &what).await,
        _ => Ok(()),
    }
}

async fn set_speed(gcp: &Gcp, path: &Path, speed: Speed, what: &str) -> Result<(), ProviderError> {
    let disk = Disk::new()
        .set_name(&path.name)
        .set_provisioned_iops(speed.iops)
        .set_provisioned_throughput(speed.mib_a_second);
    let changed = FieldMask::default().set_paths(["provisioned_iops", "provisioned_throughput"]);
    let call = gcp.compute.disks.update().set_project(&path.project).set_zone(path.place()).set_disk(&path.name);
    Ok(act!(what, call.set_update_mask(changed).set_body(disk)).await?)
}

/// One that a machine left.
pub async fn remove(gcp: &Gcp, path: &Path) -> Result<(), ProviderError> {
    let call = gcp.compute.disks.delete().set_project(&path.project).set_zone(path.place()).set_disk(&path.name);
    gone(act!(format!("removing {path}"), call).await)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_machines_take_the_newest_disks_only() {
        for machine_type in ["g4-standard-48", "a4-highgpu-8g", "a3-ultragpu-8g"] {
            assert!(is_hyperdisk(machine_type), "{machine_type}");
        }
        for machine_type in ["g2-standard-24", "a2-ultragpu-1g", "a3-highgpu-1g"] {
            assert!(!is_hyperdisk(machine_type), "{machine_type}");
        }
    }

    #[test]
    fn a_disk_is_made_with_the_users_key_and_shows_it_without_its_version() {
        let machine = Path::zonal("p", "europe-west4-a", "instances", "n");
        let key = "projects/k/locations/europe-west4/keyRings/r/cryptoKeys/k";
        let made = |key: Option<String>| {
            let inputs = MachineInputs { encryption_key: key, ..super::super::wanted::tests::inputs() };
            wanted(&machine, &inputs, Labels::new()).disk_encryption_key
        };
        assert_eq!(made(None), None);
        assert_eq!(made(Some(key.to_owned())).unwrap().kms_key_name.as_deref(), Some(key));
        let shown = |name: &str| {
            let shown = CustomerEncryptionKey::new().set_kms_key_name(name);
            encryption_key(&Disk::new().set_disk_encryption_key(shown))
        };
        for name in [key.to_owned(), format!("{key}/cryptoKeyVersions/3")] {
            assert_eq!(shown(&name).as_deref(), Some(key), "{name}");
        }
        assert_eq!(encryption_key(&Disk::new()), None);
    }

    #[test]
    fn what_was_asked_for_shows_as_asked_though_a_disk_has_a_least_speed() {
        let recorded = json!({"disk_iops": 3000, "disk_mib_a_second": 125});
        let disk = |iops, mib| {
            let kind = "https://x/compute/v1/projects/p/zones/z/diskTypes/hyperdisk-balanced";
            Disk::new().set_type(kind).set_provisioned_iops(iops).set_provisioned_throughput(mib)
        };
        assert_eq!(observed(Some(&disk(3000, 140)), &recorded), (json!(3000), json!(125)));
        assert_eq!(observed(Some(&disk(6000, 140)), &recorded), (json!(6000), json!(125)), "somebody changed it");
        let persistent = Disk::new().set_type("projects/p/zones/z/diskTypes/pd-balanced").set_provisioned_iops(6000);
        assert_eq!(observed(Some(&persistent), &recorded), (json!(3000), json!(125)), "it follows from the size");
        assert_eq!(observed(None, &recorded), (json!(3000), json!(125)));
    }
}
