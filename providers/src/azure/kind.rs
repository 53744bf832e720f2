//! The kinds of resource of an Azure deployment, and the shape of each one's inputs: what `graph` writes, `read` gives back
//! and `create` and `update` understand.
//!
//! ```text
//! group <- security-group, public-address <- nat-gateway, identity
//!   ^            ^                               ^
//!   |            +--------- network -------------+          storage <- access.operator <- bucket <- artifact.* secret.* host-spec
//!   |                                                                                       ^
//!   +-- machine (on all of them)                                      access.machine (bucket, identity)
//! ```
//! A field that names another resource holds its address (`"network.main"`), never its id; tags are not inputs, they are on
//! every resource (`tags.rs`). The machine's interface, its disk and its public address are parts of it: they are made in the
//! call that makes it and go with it.

use serde::{Deserialize, Serialize};
use spec::machine::Market;

pub use crate::cloud_graph::{
    ARTIFACT, ArtifactInputs, BUCKET, HOST_SPEC, HostSpecInputs, MACHINE, NETWORK, SECRET, SecretInputs,
};

/// `group.main`: everything lies in it; says where the deployment lies, and is the last to go.
pub const GROUP: &str = "group";
/// `security-group.machine`.
pub const SECURITY_GROUP: &str = "security-group";
/// `public-address.nat`. Only with NAT.
pub const PUBLIC_ADDRESS: &str = "public-address";
/// `nat-gateway.main`. Only with NAT.
pub const NAT_GATEWAY: &str = "nat-gateway";
/// `identity.machine`: who the machine is to Azure.
pub const IDENTITY: &str = "identity";
/// `storage.main`: the storage account of the bucket.
pub const STORAGE: &str = "storage";
/// `access.operator`, `access.machine`: assignments of roles.
pub const ACCESS: &str = "access";
/// The name of the access that whoever runs dsctl has.
pub const OPERATOR: &str = "operator";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupInputs {
    /// The id of the subscription that the deployment lies in.
    pub account: String,
    pub region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroupInputs {
    pub group: String,
    /// TCP port that is open.
    pub port: u16,
    /// Ranges that may reach it; sorted.
    pub allow: Vec<String>,
}

/// Of what has nothing but its place: public addresses and identities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainInputs {
    pub group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatGatewayInputs {
    pub group: String,
    pub public_address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInputs {
    pub group: String,
    /// E.g. `10.77.0.0/16`; its one subnet has all of it.
    pub range: String,
    pub security_group: String,
    /// None: no way out but to the storage accounts of the region.
    pub nat_gateway: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageInputs {
    pub group: String,
    /// Days that objects under `audit/` are kept; none = no rule.
    pub audit_days: Option<u32>,
    /// Whether reads and writes are logged, in the account's own container `$logs`.
    pub access_log: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketInputs {
    pub storage: String,
}

/// Of `access.operator`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorInputs {
    pub storage: String,
}

/// Of `access.machine`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessInputs {
    pub bucket: String,
    pub identity: String,
}

/// `machine_type`, `zone`, `market` and `termination_protection` come from the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineInputs {
    pub group: String,
    pub network: String,
    pub identity: String,
    pub bucket: String,
    pub machine_type: String,
    /// E.g. `westeurope-1`; none = wherever in the region Azure has room.
    pub zone: Option<String>,
    pub market: Market,
    /// `PUBLISHER:OFFER:SKU:VERSION`, or the id of an image.
    pub image: String,
    pub disk_gib: u32,
    pub public: bool,
    pub termination_protection: bool,
    /// With the placeholders that `boot::render` fills in; counts only when the machine is made.
    pub boot_script: String,
    /// Of the `dsctl` that the first boot fetches; counts only then.
    pub dsctl_sha256: String,
}
