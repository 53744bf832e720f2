//! The clients of Compute Engine, one a collection. A look is repeated while Google is slow or busy; an act is sent once
//! (`operation`), because one that may have happened is the engine's to look into.

use std::time::Duration;

use engine::provider::{ErrorKind, ProviderError};
use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_compute_v1::client::{
    Disks, Firewalls, Images, Instances, MachineTypes, Networks, Projects, Regions, Routers, Subnetworks, Zones,
};
use google_cloud_gax::client_builder::Error as Unbuilt;
use google_cloud_gax::error::Error;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_policy::{RetryPolicy, RetryPolicyExt as _};
use google_cloud_gax::retry_result::RetryResult;
use google_cloud_gax::retry_state::RetryState;

use super::error::is_rate;
use super::fault::{Fault, chain};
use super::operation::Watchful;
use super::settings::Settings;
use crate::http::ATTEMPT;

const LOOKS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Compute {
    pub networks: Networks,
    pub subnetworks: Subnetworks,
    pub routers: Routers,
    pub firewalls: Firewalls,
    pub instances: Instances,
    pub disks: Disks,
    pub images: Images,
    pub machine_types: MachineTypes,
    pub projects: Projects,
    pub regions: Regions,
    pub zones: Zones,
}

/// A client of one collection; they differ in nothing but their type.
macro_rules! client {
    ($kind:ident, $credentials:expr, $endpoint:expr) => {{
        let builder = $kind::builder()
            .with_credentials($credentials.clone())
            .with_attempt_timeout(ATTEMPT)
            .with_retry_policy(Patient.with_attempt_limit(LOOKS))
            .with_backoff_policy(pauses())
            .with_polling_error_policy(Watchful)
            .with_polling_backoff_policy(pauses());
        let builder = match $endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        builder.build().await.map_err(unbuilt)?
    }};
}

/// All that a list has, page by page.
macro_rules! all {
    ($call:expr) => {
        async {
            use google_cloud_gax::paginator::ItemPaginator as _;
            let (mut items, mut all) = ($call.by_item(), Vec::new());
            while let Some(item) = items.next().await {
                all.push(item?);
            }
            Ok::<_, google_cloud_gax::error::Error>(all)
        }
    };
}
pub(super) use all;

/// All that a list of a whole project has, whichever region or zone it lies in, page by page.
macro_rules! everywhere {
    ($call:expr, $items:ident) => {
        async {
            use google_cloud_gax::paginator::Paginator as _;
            let (mut pages, mut all) = ($call.by_page(), Vec::new());
            while let Some(page) = pages.next().await {
                all.extend(page?.items.into_values().flat_map(|scope| scope.$items));
            }
            Ok::<_, google_cloud_gax::error::Error>(all)
        }
    };
}
pub(super) use everywhere;

impl Compute {
    pub async fn new(credentials: &Credentials, endpoint: Option<&str>) -> Result<Self, ProviderError> {
        Ok(Self {
            networks: client!(Networks, credentials, endpoint),
            subnetworks: client!(Subnetworks, credentials, endpoint),
            routers: client!(Routers, credentials, endpoint),
            firewalls: client!(Firewalls, credentials, endpoint),
            instances: client!(Instances, credentials, endpoint),
            disks: client!(Disks, credentials, endpoint),
            images: client!(Images, credentials, endpoint),
            machine_types: client!(MachineTypes, credentials, endpoint),
            projects: client!(Projects, credentials, endpoint),
            regions: client!(Regions, credentials, endpoint),
            zones: client!(Zones, credentials, endpoint),
        })
    }
}

/// The user's own, as Google's tools find them; none where everything is elsewhere and no file was named.
pub fn credentials(settings: &Settings) -> Result<Credentials, ProviderError> {
    if settings.endpoint.is_some() && !settings.has_key_file {
        return Ok(anonymous::Builder::new().build());
    }
    let built = google_cloud_auth::credentials::Builder::default().build();
    built.map_err(|error| no_credentials(chain(&error)))
}

fn unbuilt(error: Unbuilt) -> ProviderError {
    no_credentials(chain(&error))
}

fn no_credentials(message: String) -> ProviderError {
    let error = ProviderError::new(ErrorKind::Credentials, "credentials", message);
    error.with_next("gcloud auth application-default login")
}

fn pauses() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new().with_initial_delay(FIRST_PAUSE).with_maximum_delay(LONGEST_PAUSE).clamp()
}

/// Looks again when there is no answer, or one of those that go by.
#[derive(Debug)]
struct Patient;

impl RetryPolicy for Patient {
    fn on_error(&self, state: &RetryState, error: Error) -> RetryResult {
        let is_busy = match error.http_status_code() {
            Some(status) => matches!(status, 429 | 500 | 502 | 503 | 504) || is_rate(&Fault::of_call(&error)),
            // No answer, or half of one.
            None => error.is_io() || error.is_timeout() || error.is_transport() || error.is_connect(),
        };
        if state.idempotent && is_busy { RetryResult::Continue(error) } else { RetryResult::Permanent(error) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use google_cloud_gax::error::rpc::{Code, Status};
    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn a_look_is_repeated_and_nothing_else() {
        let busy = || Error::http(503, HeaderMap::new(), Bytes::new());
        assert!(Patient.on_error(&RetryState::new(true), busy()).is_continue());
        assert!(Patient.on_error(&RetryState::new(true), Error::timeout("slow")).is_continue());
        assert!(Patient.on_error(&RetryState::new(false), busy()).is_permanent());
        let denied = Error::http(403, HeaderMap::new(), Bytes::new());
        assert!(Patient.on_error(&RetryState::new(true), denied).is_permanent());
        let hasty = Status::default().set_code(Code::PermissionDenied).set_message("Rate Limit Exceeded");
        let hasty = Error::service_with_http_metadata(hasty, Some(403), None);
        assert!(Patient.on_error(&RetryState::new(true), hasty).is_continue());
    }

    #[test]
    fn elsewhere_nobody_is_asked_for_credentials() {
        let settings = Settings { endpoint: Some("http://127.0.0.1:1".to_owned()), ..Settings::default() };
        assert!(credentials(&settings).is_ok());
    }
}
