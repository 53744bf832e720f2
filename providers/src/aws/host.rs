//! A deployment's machine as it is seen from outside: its address, what it reported to the bucket, its console.

use aws_sdk_ec2::types::{Instance, InstanceStateName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::provider::ProviderError;
use engine::state::State;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use spec::host::{HostSpec, HostStatus};
use spec::id::SecretName;
use spec::layout::BucketLayout;

use super::auth::Services;
use super::error::{found, is_absent};
use super::kind;
use crate::cloud::{HostView, host_name};
use crate::host_plan::API_KEY;
use crate::host_view::{self, endpoint, id};

pub async fn view(look: &Services, state: &State) -> Result<HostView, ProviderError> {
    let (Some(bucket), Some(machine)) = (id(state, kind::BUCKET), id(state, kind::MACHINE)) else {
        return Ok(HostView::default());
    };
    let host = host_name().map_err(|error| ProviderError::permanent("the host's name", error))?;
    let (desired_key, status_key) = (BucketLayout::desired_key(&host), BucketLayout::status_key(&host));
    let (instance, desired, status) = futures::try_join!(
        instance(look, &machine.0),
        object::<HostSpec>(look, &bucket.0, &desired_key),
        object::<HostStatus>(look, &bucket.0, &status_key),
    )?;
    let status = status.filter(|status| instance.as_ref().is_some_and(|instance| is_of(status, instance)));
    let address = instance.as_ref().and_then(address);
    let console = if status.is_none() { console(look, &machine.0).await? } else { String::new() };
    let endpoint = endpoint(desired.as_ref(), address.as_deref());
    Ok(HostView {
        machine: Some(machine.0.clone()),
        endpoint,
        api_key: Some(api_key(&bucket.0)?),
        generation: desired.map(|desired| desired.generation),
        status,
        console,
    })
}

fn api_key(bucket: &str) -> Result<String, ProviderError> {
    let name: SecretName = API_KEY.parse().map_err(|error| ProviderError::permanent(API_KEY, error))?;
    Ok(format!("s3://{bucket}/secrets/{name}"))
}

async fn instance(look: &Services, machine: &str) -> Result<Option<Instance>, ProviderError> {
    let answer = look.ec2.describe_instances().instance_ids(machine).send().await;
    let answer = found(format!("looking at {machine}"), answer)?;
    Ok(answer.and_then(|answer| answer.reservations().iter().flat_map(|all| all.instances()).next().cloned()))
}

/// Whether a status speaks of this machine as it runs now.
fn is_of(status: &HostStatus, instance: &Instance) -> bool {
    let runs = instance.state().and_then(|state| state.name()) == Some(&InstanceStateName::Running);
    let launched = instance.launch_time().and_then(|at| Timestamp::new(at.secs(), 0).ok());
    runs && launched.is_some_and(|launched| host_view::is_of(status, launched))
}

/// The public one if it has one.
fn address(instance: &Instance) -> Option<String> {
    let public = instance.public_ip_address().filter(|address| !address.is_empty());
    public.or_else(|| instance.private_ip_address()).map(str::to_owned)
}

/// What lies in the deployment's bucket.
pub async fn object_of(look: &Services, state: &State, key: &str) -> Result<Option<Vec<u8>>, ProviderError> {
    match id(state, kind::BUCKET) {
        Some(bucket) => bytes(look, &bucket.0, key).await,
        None => Ok(None),
    }
}

async fn object<T: DeserializeOwned>(look: &Services, bucket: &str, key: &str) -> Result<Option<T>, ProviderError> {
    let Some(bytes) = bytes(look, bucket, key).await? else { return Ok(None) };
    let wrong = |error| ProviderError::permanent(format!("s3://{bucket}/{key}"), error);
    serde_json::from_slice(&bytes).map(Some).map_err(wrong)
}

async fn bytes(look: &Services, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, ProviderError> {
    let what = format!("s3://{bucket}/{key}");
    let answer = look.s3.get_object().bucket(bucket).key(key).send().await;
    let Some(object) = found(&what, answer)? else { return Ok(None) };
    let bytes = object.body.collect().await.map_err(|error| ProviderError::permanent(&what, error))?;
    Ok(Some(bytes.to_vec()))
}

async fn console(look: &Services, machine: &str) -> Result<String, ProviderError> {
    // The latest is there on machines of the Nitro kind only; else what was buffered.
    for latest in [true, false] {
        let answer = look.ec2.get_console_output().instance_id(machine).latest(latest).send().await;
        match answer {
            Ok(answer) => {
                let bytes = STANDARD.decode(answer.output().unwrap_or_default()).unwrap_or_default();
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            Err(error) if is_absent(&error) => return Ok(String::new()),
            // A machine that just began, or of another kind: there is nothing to be shown.
            Err(_) => {}
        }
    }
    Ok(String::new())
}
