//! What a look at a cloud's host needs, whichever cloud it stands on. Pure.

use engine::state::{RemoteId, State};
use jiff::Timestamp;
use spec::host::{HostSpec, HostStatus};
use spec::route::GatewayConfig;

use crate::host_plan::GATEWAY_FILE;

/// The id of the first resource of a kind.
pub fn id<'a>(state: &'a State, kind: &str) -> Option<&'a RemoteId> {
    state.resources.iter().find(|(address, _)| address.kind() == kind).map(|(_, it)| &it.remote_id)
}

/// Where the gateway listens, as its configuration in the host spec has it.
pub fn gateway_port(desired: &HostSpec) -> Option<u16> {
    let file = desired.files.iter().find(|file| file.name == GATEWAY_FILE)?;
    let config: GatewayConfig = serde_json::from_str(&file.content).ok()?;
    Some(config.listen.port())
}

/// Whether a status is of a machine that was started then. A machine that was there before wrote to the same place, by an
/// agent that was started before this machine was.
pub fn is_of(status: &HostStatus, started: Timestamp) -> bool {
    status.agent.started_at >= started
}
