//! What a look at a cloud's host needs, whichever cloud it stands on; how its clients reach the gateway. Pure.

use engine::state::{RemoteId, State};
use jiff::Timestamp;
use spec::host::{Arg, HostSpec, HostStatus};
use spec::route::GatewayConfig;

use crate::host_plan::{CERTIFICATE_FLAG, GATEWAY_FILE};

/// The id of the first resource of a kind.
pub fn id<'a>(state: &'a State, kind: &str) -> Option<&'a RemoteId> {
    state.resources.iter().find(|(address, _)| address.kind() == kind).map(|(_, it)| &it.remote_id)
}

/// The base URL for clients, as the gateway's configuration in the host spec has it.
pub fn endpoint(desired: Option<&HostSpec>, address: Option<&str>) -> Option<String> {
    let (desired, address) = desired.zip(address)?;
    let file = desired.files.iter().find(|file| file.name == GATEWAY_FILE)?;
    let config: GatewayConfig = serde_json::from_str(&file.content).ok()?;
    Some(format!("{}://{address}:{}/v1", scheme(desired), config.listen.port()))
}

/// How clients speak to the gateway: `https` if it was given a certificate.
pub fn scheme(desired: &HostSpec) -> &'static str {
    let is_flag = |arg: &Arg| matches!(arg, Arg::Text(word) if word == CERTIFICATE_FLAG);
    if desired.units.iter().flat_map(|unit| &unit.args).any(is_flag) { "https" } else { "http" }
}

/// Whether a status is of a machine that was started then. A machine that was there before wrote to the same place, by an
/// agent that was started before this machine was.
pub fn is_of(status: &HostStatus, started: Timestamp) -> bool {
    status.agent.started_at >= started
}
