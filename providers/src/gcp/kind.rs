//! The kinds of resource of a GCP deployment, and the shape of each one's inputs: what `graph` writes, `read` gives back
//! and `create` and `update` understand.
//!
//! ```text
//! network <- subnet <- router           bucket <- artifact.* secret.* host-spec
//!    ^                                     ^
//! firewall.gateway -> service-account <- access
//!                             ^
//!                          machine (on all of them)
//! ```
//! A field that names another resource holds its address (`"network.main"`), never its id; whose a resource is, is no input,
//! it is on every resource (`labels.rs`).

use serde::{Deserialize, Serialize};
use spec::machine::Market;

pub use crate::cloud_graph::{
    ARTIFACT, ArtifactInputs, BUCKET, HOST_SPEC, HostSpecInputs, MACHINE, NETWORK, SECRET, SecretInputs,
};

/// `subnet.main`, of the whole region: what is in it reaches Google's own services without an address of the world.
pub const SUBNET: &str = "subnet";
/// `router.main` with its one NAT. Only where a private machine has a way out.
pub const ROUTER: &str = "router";
/// `firewall.gateway`: the one port of the machine.
pub const FIREWALL: &str = "firewall";
/// `service-account.machine`: who the machine is. Inputs: `{}`.
pub const SERVICE_ACCOUNT: &str = "service-account";
/// `access.machine`: what of the bucket the service account may do.
pub const ACCESS: &str = "access";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInputs {
    /// The id of the project that the deployment lies in.
    pub account: String,
    pub region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetInputs {
    pub network: String,
    /// E.g. `10.77.0.0/16`.
    pub range: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterInputs {
    pub network: String,
    /// What the way out is for; all of the network's go through it.
    pub subnet: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallInputs {
    pub network: String,
    /// Whose machines it is for.
    pub service_account: String,
    /// TCP port that is open.
    pub port: u16,
    /// Ranges that may reach it; sorted.
    pub allow: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketInputs {
    /// As the network's.
    pub account: String,
    pub region: String,
    /// Days that objects under `audit/` and the access log are kept; none = no rule.
    pub audit_days: Option<u32>,
    /// Whether reads and writes are logged under `access-log/`.
    pub access_log: bool,
    /// What new objects are encrypted by: a key of the user's own. Without one Google's, and the field is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessInputs {
    pub bucket: String,
    pub service_account: String,
}

/// `machine_type`, `zone`, `market` and `deletion_protection` come from the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineInputs {
    pub machine_type: String,
    pub zone: String,
    pub market: Market,
    pub subnet: String,
    /// E.g. `projects/deeplearning-platform-release/global/images/…`.
    pub image: String,
    pub service_account: String,
    pub bucket: String,
    pub disk_gib: u32,
    pub disk_iops: u32,
    pub disk_mib_a_second: u32,
    /// As the bucket's; a disk has it from its first moment to its last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<String>,
    pub public: bool,
    pub deletion_protection: bool,
    /// With the placeholders of `cloud::BOOT_PLACEHOLDERS`; counts only when the machine is made.
    pub boot_script: String,
    /// Of the `dsctl` that the first boot fetches; counts only then.
    pub dsctl_sha256: String,
}
