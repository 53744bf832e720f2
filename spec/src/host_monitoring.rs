//! What watches a host, on the host itself: services of its distribution, which read from loopback only.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::UnitName;
use crate::monitoring::Monitoring;

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
}

/// Where a daemon shows its metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonMetrics {
    pub unit: UnitName,
    pub listen: SocketAddr,
}
