//! A deployment's machine as it is seen from outside: its address, what it reported to the container, its console.

use engine::graph::Address;
use engine::provider::ProviderError;
use engine::state::{RemoteId, State};
use jiff::Timestamp;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use spec::host::{HostSpec, HostStatus};
use spec::id::SecretName;
use spec::layout::BucketLayout;

use super::auth::Session;
use super::blobs::Place;
use super::id::{account_of, name_of};
use super::kind;
use super::machine::seen::{Power, interface_id, power, private_address, public_address_id};
use super::network::text;
use crate::cloud::{HostView, host_name};
use crate::host_plan::API_KEY;
use crate::host_view::{self, endpoint};

pub async fn view(session: &Session, state: &State) -> Result<HostView, ProviderError> {
    let (Some(bucket), Some(machine)) = (id(state, kind::BUCKET), id(state, kind::MACHINE)) else {
        return Ok(HostView::default());
    };
    let host = host_name().map_err(|error| ProviderError::permanent("the host's name", error))?;
    let place = |key: String| place_in(bucket, key);
    let (desired_at, status_at) = (place(BucketLayout::desired_key(&host)), place(BucketLayout::status_key(&host)));
    let (seen, desired, status) = futures::try_join!(
        machine_with_address(session, &machine.0),
        object::<HostSpec>(session, &desired_at),
        object::<HostStatus>(session, &status_at),
    )?;
    let status = status.filter(|status| seen.as_ref().is_some_and(|(machine, _)| is_of(status, machine)));
    let address = seen.and_then(|(_, address)| address);
    let console = if status.is_none() { console(session, &machine.0).await } else { String::new() };
    let endpoint = endpoint(desired.as_ref(), address.as_deref());
    Ok(HostView {
        machine: Some(name_of(&machine.0).to_owned()),
        endpoint,
        api_key: Some(place(api_key()?).to_string()),
        generation: desired.map(|desired| desired.generation),
        status,
        console,
    })
}

fn id<'a>(state: &'a State, kind: &str) -> Option<&'a RemoteId> {
    state.resources.get(&Address::new(kind, "main")).map(|it| &it.remote_id)
}

fn api_key() -> Result<String, ProviderError> {
    let name: SecretName = API_KEY.parse().map_err(|error| ProviderError::permanent(API_KEY, error))?;
    Ok(format!("secrets/{name}"))
}

/// The public address if it has one.
async fn machine_with_address(session: &Session, id: &str) -> Result<Option<(Value, Option<String>)>, ProviderError> {
    let arm = &session.arm;
    let Some(machine) = arm.get_with(id, &[("$expand", "instanceView")]).await? else { return Ok(None) };
    let interface = match interface_id(&machine) {
        Some(id) => arm.get(&id).await?.unwrap_or_default(),
        None => Value::Null,
    };
    let public = match public_address_id(&interface) {
        Some(id) => arm.get(&id).await?.unwrap_or_default(),
        None => Value::Null,
    };
    let public = text(&public, "/properties/ipAddress").to_owned();
    let address = if public.is_empty() { private_address(&interface) } else { Some(public) };
    Ok(Some((machine, address)))
}

/// Whether a status speaks of this machine as it runs now. A machine that was there before wrote to the same place, by an
/// agent that was started before this machine was made.
fn is_of(status: &HostStatus, machine: &Value) -> bool {
    let made: Option<Timestamp> = text(machine, "/properties/timeCreated").parse().ok();
    power(machine) == Power::Running && made.is_some_and(|made| host_view::is_of(status, made))
}

/// What lies in the deployment's container.
pub async fn object_of(session: &Session, state: &State, key: &str) -> Result<Option<Vec<u8>>, ProviderError> {
    let Some(bucket) = id(state, kind::BUCKET) else { return Ok(None) };
    let found = session.blobs.get(&place_in(bucket, key.to_owned())).await?;
    Ok(found.map(|(_, bytes)| bytes.to_vec()))
}

fn place_in(bucket: &RemoteId, key: String) -> Place {
    Place {
        account: account_of(&bucket.0).as_deref().map(name_of).unwrap_or_default().to_owned(),
        container: name_of(&bucket.0).to_owned(),
        key,
    }
}

async fn object<T: DeserializeOwned>(session: &Session, place: &Place) -> Result<Option<T>, ProviderError> {
    let Some((_, bytes)) = session.blobs.get(place).await? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| ProviderError::permanent(place, error))
}

/// What Azure keeps of it lies behind a URL that is signed for a while; a machine that just began has none.
async fn console(session: &Session, machine: &str) -> String {
    let Ok(answer) = session.arm.post("its console", machine, "retrieveBootDiagnosticsData").await else {
        return String::new();
    };
    let url = text(&answer, "/serialConsoleLogBlobUri");
    let Ok(request) = session.http.request(Method::GET, url).build() else { return String::new() };
    match session.http.look(&request).await {
        Ok(answer) if answer.is_success() => answer.text(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_of_an_earlier_machine_is_not_of_this_one() {
        let status: HostStatus = serde_json::from_value(json!({
            "deployment": "default", "host": "main", "generation": 1, "written_at": "2026-11-26T10:00:00Z",
            "agent": {"pid": 1, "version": "0.1.0", "started_at": "2026-11-26T10:00:00Z"},
            "phases": [], "weights": [], "units": [], "ready_since": null, "outcomes": [],
        }))
        .unwrap();
        let machine = |at: &str, on: &str| {
            json!({"properties": {"timeCreated": at, "provisioningState": "Succeeded",
                "instanceView": {"statuses": [{"code": format!("PowerState/{on}")}]}}})
        };
        assert!(is_of(&status, &machine("2026-11-26T09:59:00.123+00:00", "running")));
        assert!(!is_of(&status, &machine("2026-11-26T10:01:00.123+00:00", "running")));
        assert!(!is_of(&status, &machine("2026-11-26T09:59:00.123+00:00", "deallocated")));
    }
}
