//! The kinds of resource of an AWS deployment, and the shape of each one's inputs: what `graph` writes, `read` gives back
//! and `create` and `update` understand.
//!
//! ```text
//! network <- subnet.* <- nat-gateway        bucket <- artifact.* secret.* host-spec
//!    ^         ^             ^                 ^
//! internet-gateway  elastic-ip  route-table.*  role <- instance-profile
//!    ^ security-group, endpoint.*                       machine (on all of them)
//! ```
//! A field that names another resource holds its address (`"network.main"`), never its id; tags are not inputs, they are on
//! every resource (`tags.rs`).

use serde::{Deserialize, Serialize};
use spec::machine::Market;

pub use crate::cloud_graph::{
    ARTIFACT, ArtifactInputs, BUCKET, HOST_SPEC, HostSpecInputs, MACHINE, NETWORK, SECRET, SecretInputs,
};

/// `subnet.private-ZONE`, `subnet.public-ZONE`.
pub const SUBNET: &str = "subnet";
/// `internet-gateway.main`, attached. Only with NAT or a public address.
pub const INTERNET_GATEWAY: &str = "internet-gateway";
/// `elastic-ip.nat`. Inputs: `{}`.
pub const ELASTIC_IP: &str = "elastic-ip";
/// `nat-gateway.main`.
pub const NAT_GATEWAY: &str = "nat-gateway";
/// `route-table.private`, `route-table.public`, with its associations.
pub const ROUTE_TABLE: &str = "route-table";
/// `endpoint.s3` (gateway), `endpoint.ssm`, `endpoint.ssmmessages`, `endpoint.ec2messages` (interface).
pub const ENDPOINT: &str = "endpoint";
/// `security-group.machine`, `security-group.endpoints`.
pub const SECURITY_GROUP: &str = "security-group";
/// `role.machine` with its one inline policy.
pub const ROLE: &str = "role";
/// `instance-profile.machine`, holding the role.
pub const INSTANCE_PROFILE: &str = "instance-profile";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInputs {
    /// The number of the account that the deployment lies in.
    pub account: String,
    pub region: String,
    /// E.g. `10.77.0.0/16`.
    pub range: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetInputs {
    pub network: String,
    pub zone: String,
    pub range: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternetGatewayInputs {
    pub network: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatGatewayInputs {
    pub subnet: String,
    pub elastic_ip: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTableInputs {
    pub network: String,
    /// Address of the gateway that `0.0.0.0/0` goes to; none = no way out.
    pub default_route: Option<String>,
    /// Sorted.
    pub subnets: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointInputs {
    pub network: String,
    /// E.g. `com.amazonaws.eu-west-1.s3`.
    pub service: String,
    /// Of a gateway endpoint; sorted.
    pub route_tables: Vec<String>,
    /// Of an interface endpoint; sorted.
    pub subnets: Vec<String>,
    /// Of an interface endpoint.
    pub security_group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroupInputs {
    pub network: String,
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
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleInputs {
    pub bucket: String,
    /// Objects of S3 that the weights come from, `BUCKET/KEY`; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<String>,
    /// Whether Session Manager may lead a person in: where endpoints for it are the only way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub session_manager: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceProfileInputs {
    pub role: String,
}

/// `machine_type`, `subnet` and `market` come from the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineInputs {
    pub machine_type: String,
    pub subnet: String,
    pub market: Market,
    /// E.g. `ami-0123…`.
    pub image: String,
    pub security_group: String,
    pub instance_profile: String,
    pub bucket: String,
    pub disk_gib: u32,
    pub disk_iops: u32,
    pub disk_mib_a_second: u32,
    pub public: bool,
    pub termination_protection: bool,
    /// With the placeholders of `cloud::BOOT_PLACEHOLDERS`; counts only when the machine is made.
    pub boot_script: String,
    /// Of the `dsctl` that the first boot fetches; counts only then.
    pub dsctl_sha256: String,
}
