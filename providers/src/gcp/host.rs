//! A deployment's machine as it is seen from outside: its address, what it reported to the bucket, its console.

use engine::provider::ProviderError;
use engine::state::State;
use google_cloud_compute_v1::model::Instance;
use google_cloud_compute_v1::model::instance::Status;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use spec::host::{HostSpec, HostStatus};
use spec::id::SecretName;
use spec::layout::BucketLayout;

use super::auth::Services;
use super::error::seen;
use super::kind;
use super::machine;
use super::names::Path;
use super::storage::object::{Place, content};
use crate::cloud::{HostView, host_name};
use crate::host_plan::API_KEY;
use crate::host_view::{self, endpoint, id};

/// Where the kernel and the first boot write.
const CONSOLE: i32 = 1;

pub async fn view(services: &Services, state: &State) -> Result<HostView, ProviderError> {
    let (Some(bucket), Some(machine)) = (id(state, kind::BUCKET), id(state, kind::MACHINE)) else {
        return Ok(HostView::default());
    };
    let host = host_name().map_err(|error| ProviderError::permanent("the host's name", error))?;
    let (path, at) = (Path::parse(&machine.0)?, |key: String| Place::new(&bucket.0, key));
    let (desired, status) = (at(BucketLayout::desired_key(&host)), at(BucketLayout::status_key(&host)));
    let (instance, desired, status) = futures::try_join!(
        machine::look(&services.compute, &path),
        object::<HostSpec>(services, &desired),
        object::<HostStatus>(services, &status),
    )?;
    let status = status.filter(|status| instance.as_ref().is_some_and(|instance| is_of(status, instance)));
    let address = instance.as_ref().and_then(address);
    let console = if status.is_none() { console(services, &path).await? } else { String::new() };
    let endpoint = endpoint(desired.as_ref(), address.as_deref());
    Ok(HostView {
        machine: Some(path.name),
        endpoint,
        api_key: Some(api_key(&bucket.0)?),
        generation: desired.map(|desired| desired.generation),
        status,
        console,
    })
}

fn api_key(bucket: &str) -> Result<String, ProviderError> {
    let name: SecretName = API_KEY.parse().map_err(|error| ProviderError::permanent(API_KEY, error))?;
    Ok(format!("gs://{bucket}/secrets/{name}"))
}

/// Whether a status speaks of this machine as it runs now.
fn is_of(status: &HostStatus, instance: &Instance) -> bool {
    let started = instance.last_start_timestamp.as_ref().or(instance.creation_timestamp.as_ref());
    let started = started.and_then(|at| at.parse::<Timestamp>().ok());
    instance.status == Some(Status::Running) && started.is_some_and(|started| host_view::is_of(status, started))
}

/// The public one if it has one.
fn address(instance: &Instance) -> Option<String> {
    let interface = instance.network_interfaces.first()?;
    let public = interface.access_configs.iter().find_map(|access| access.nat_ip.clone());
    public.filter(|address| !address.is_empty()).or_else(|| interface.network_ip.clone())
}

/// What lies in the deployment's bucket.
pub async fn object_of(services: &Services, state: &State, key: &str) -> Result<Option<Vec<u8>>, ProviderError> {
    let Some(bucket) = id(state, kind::BUCKET) else { return Ok(None) };
    let place = Place::new(&bucket.0, key.to_owned());
    Ok(content(&services.rest, &place, None).await?.map(|answer| answer.body.to_vec()))
}

async fn object<T: DeserializeOwned>(services: &Services, place: &Place) -> Result<Option<T>, ProviderError> {
    let Some(answer) = content(&services.rest, place, None).await? else { return Ok(None) };
    serde_json::from_slice(&answer.body).map(Some).map_err(|error| ProviderError::permanent(place, error))
}

/// Nothing for a machine that just began, or is gone.
async fn console(services: &Services, path: &Path) -> Result<String, ProviderError> {
    let call = services.compute.instances.get_serial_port_output().set_project(&path.project).set_zone(path.place());
    let answer = call.set_instance(&path.name).set_port(CONSOLE).send().await;
    match answer {
        Err(error) if error.http_status_code() == Some(400) => Ok(String::new()),
        answer => {
            let output = seen(format!("console of {path}"), answer)?;
            Ok(output.and_then(|output| output.contents).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(status: &str) -> Instance {
        serde_json::from_value(json!({"status": status, "lastStartTimestamp": "2026-11-26T10:00:00.000-08:00",
            "networkInterfaces": [{"networkIP": "10.77.0.2", "accessConfigs": []}]}))
        .unwrap()
    }

    #[test]
    fn clients_come_by_the_public_address_if_there_is_one() {
        let mut machine = instance("RUNNING");
        assert_eq!(address(&machine).as_deref(), Some("10.77.0.2"));
        let access = google_cloud_compute_v1::model::AccessConfig::new().set_nat_ip("34.1.2.3");
        machine.network_interfaces[0].access_configs = vec![access];
        assert_eq!(address(&machine).as_deref(), Some("34.1.2.3"));
        assert_eq!(api_key("b").unwrap(), "gs://b/secrets/api-key");
    }
}
