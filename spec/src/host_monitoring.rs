//! What watches a host, on the host itself: services of its distribution, which read from loopback only.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{SecretName, UnitName};
use crate::monitoring::Monitoring;

/// Units of what watches a deployment on its owner's machine.
pub const PROMETHEUS_UNIT: &str = "prometheus";
pub const ALERTMANAGER_UNIT: &str = "alertmanager";
pub const NODE_EXPORTER_UNIT: &str = "node-exporter";

/// Everything that the agent makes the host's monitoring of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostMonitoring {
    pub wanted: Monitoring,
    /// Where the gateway shows its metrics to the host.
    pub gateway: SocketAddr,
    pub daemons: Vec<DaemonMetrics>,
    /// Where the agent shows its own.
    pub agent: SocketAddr,
    /// Keys of those who are told, each with a number that is another for another key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub receiver_keys: BTreeMap<SecretName, u64>,
}

/// Where a daemon shows its metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonMetrics {
    pub unit: UnitName,
    pub listen: SocketAddr,
}
