//! The body of the one call that makes a machine: everything that protects it is in it, so that it is never without.

use engine::provider::ProviderError;
use google_cloud_compute_v1::model::access_config::Type as AccessType;
use google_cloud_compute_v1::model::metadata::Items;
use google_cloud_compute_v1::model::network_interface::NicType;
use google_cloud_compute_v1::model::scheduling::{InstanceTerminationAction, OnHostMaintenance, ProvisioningModel};
use google_cloud_compute_v1::model::{
    AccessConfig, Instance, Metadata, NetworkInterface, Scheduling, ServiceAccount, ShieldedInstanceConfig,
};
use spec::machine::Market;

use super::disk;
use crate::gcp::access::service_account;
use crate::gcp::auth::{Gcp, Making};
use crate::gcp::boot::{self, BootFacts};
use crate::gcp::kind::MachineInputs;
use crate::gcp::names::Path;

/// Of the one address that the world can reach, where there is one.
pub const ACCESS: &str = "external-nat";
pub const INTERFACE: &str = "nic0";
pub const USER_DATA: &str = "user-data";
/// People come in by their own accounts, never by keys that lie in the project or on the machine; nobody types into the
/// console.
pub const GUARDS: [(&str, &str); 3] =
    [("enable-oslogin", "TRUE"), ("block-project-ssh-keys", "TRUE"), ("serial-port-enable", "FALSE")];
/// What the account may is in its bindings; a scope only ever takes away.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Machine types that take Google's own network card only; images of others may have no driver for it.
const GVNIC_TYPES: [&str; 5] = ["g4-", "a4-", "a3-", "c4-", "n4-"];

pub fn instance(
    gcp: &Gcp,
    making: &Making<'_>,
    path: &Path,
    inputs: &MachineInputs,
) -> Result<Instance, ProviderError> {
    let labels = gcp.mark(making).labels();
    let account = service_account::email(making.id(&inputs.service_account)?)?;
    Ok(Instance::new()
        .set_name(&path.name)
        .set_machine_type(format!("zones/{}/machineTypes/{}", inputs.zone, inputs.machine_type))
        .set_disks([disk::wanted(path, inputs, labels.clone())])
        .set_labels(labels)
        .set_network_interfaces([interface(inputs, making.id(&inputs.subnet)?)])
        .set_service_accounts([ServiceAccount::new().set_email(account).set_scopes([SCOPE])])
        .set_metadata(metadata(user_data(gcp, making, inputs)?))
        .set_scheduling(scheduling(inputs.market))
        .set_shielded_instance_config(shielded())
        .set_can_ip_forward(false)
        .set_deletion_protection(inputs.deletion_protection && inputs.market == Market::OnDemand))
}

fn interface(inputs: &MachineInputs, subnet: &str) -> NetworkInterface {
    let mut made = NetworkInterface::new().set_subnetwork(subnet);
    if GVNIC_TYPES.iter().any(|family| inputs.machine_type.starts_with(family)) {
        made = made.set_nic_type(NicType::Gvnic);
    }
    if inputs.public { made.set_access_configs([access()]) } else { made }
}

pub fn access() -> AccessConfig {
    AccessConfig::new().set_name(ACCESS).set_type(AccessType::OneToOneNat)
}

pub fn item(key: &str, value: &str) -> Items {
    Items::new().set_key(key).set_value(value)
}

fn metadata(user_data: String) -> Metadata {
    let guards = GUARDS.iter().map(|(key, value)| item(key, value));
    Metadata::new().set_items(std::iter::once(item(USER_DATA, &user_data)).chain(guards))
}

/// A machine with a GPU can't be moved while it runs. One that Google takes back goes with its disk, which would be paid for.
fn scheduling(market: Market) -> Scheduling {
    let made = Scheduling::new().set_on_host_maintenance(OnHostMaintenance::Terminate);
    match market {
        Market::OnDemand => made.set_provisioning_model(ProvisioningModel::Standard).set_automatic_restart(true),
        Market::Spot => made
            .set_provisioning_model(ProvisioningModel::Spot)
            .set_instance_termination_action(InstanceTerminationAction::Delete)
            .set_automatic_restart(false),
    }
}

/// Secure boot would not load the images' NVIDIA driver, whose modules are not signed.
fn shielded() -> ShieldedInstanceConfig {
    ShieldedInstanceConfig::new()
        .set_enable_secure_boot(false)
        .set_enable_vtpm(true)
        .set_enable_integrity_monitoring(true)
}

fn user_data(gcp: &Gcp, making: &Making<'_>, inputs: &MachineInputs) -> Result<String, ProviderError> {
    let facts = BootFacts {
        bucket: making.id(&inputs.bucket)?,
        region: &gcp.region,
        dsctl_sha256: &inputs.dsctl_sha256,
        endpoint: gcp.endpoint.as_deref().unwrap_or_default(),
    };
    boot::render(&inputs.boot_script, &facts).map_err(|error| ProviderError::permanent(&making.desired.address, error))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn inputs() -> MachineInputs {
        MachineInputs {
            machine_type: "g2-standard-24".to_owned(),
            zone: "europe-west4-a".to_owned(),
            market: Market::OnDemand,
            subnet: "subnet.main".to_owned(),
            image: "projects/deeplearning-platform-release/global/images/i".to_owned(),
            service_account: "service-account.machine".to_owned(),
            bucket: "bucket.main".to_owned(),
            disk_gib: 200,
            disk_iops: 3000,
            disk_mib_a_second: 125,
            encryption_key: None,
            public: false,
            deletion_protection: true,
            boot_script: String::new(),
            dsctl_sha256: "0".repeat(64),
        }
    }

    #[test]
    fn a_private_machine_has_no_address_of_the_world() {
        assert!(interface(&inputs(), "s").access_configs.is_empty());
        let public = interface(&MachineInputs { public: true, ..inputs() }, "s");
        assert_eq!(public.access_configs, [access()]);
    }

    #[test]
    fn only_what_needs_googles_card_asks_for_it() {
        assert_eq!(interface(&inputs(), "s").nic_type, None);
        let a3 = MachineInputs { machine_type: "a3-highgpu-1g".to_owned(), ..inputs() };
        assert_eq!(interface(&a3, "s").nic_type, Some(NicType::Gvnic));
    }

    #[test]
    fn a_spot_machine_leaves_nothing_that_is_paid_for_and_is_not_started_again() {
        let spot = scheduling(Market::Spot);
        assert_eq!(spot.instance_termination_action, Some(InstanceTerminationAction::Delete));
        assert_eq!((spot.automatic_restart, spot.provisioning_model), (Some(false), Some(ProvisioningModel::Spot)));
        assert_eq!(scheduling(Market::OnDemand).instance_termination_action, None);
    }

    #[test]
    fn nobody_comes_in_by_a_key() {
        let metadata = metadata("#cloud-config".to_owned());
        let value =
            |key: &str| metadata.items.iter().find(|item| item.key.as_deref() == Some(key)).unwrap().value.clone();
        assert_eq!(value(USER_DATA).as_deref(), Some("#cloud-config"));
        assert_eq!(
            (value("enable-oslogin").as_deref(), value("serial-port-enable").as_deref()),
            (Some("TRUE"), Some("FALSE"))
        );
    }
}
