//! What an error of Google's means: decided here, once, from its codes, and where those are lost on the way (the compute crate
//! keeps only some) from its words. Codes: "Troubleshooting" and "Error messages" of Compute Engine, "HTTP status and error
//! codes for JSON" of Cloud Storage, google.rpc.ErrorInfo.

use std::collections::BTreeMap;

use engine::provider::{ErrorKind, ProviderError};
use google_cloud_gax::error::Error;

use super::encryption_key;
use super::fault::{Fault, Heard};

/// How Google writes the region of what counts in all regions together.
const EVERYWHERE: &str = "global";

/// Why a call was turned down, as far as whoever made it can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// What it was about does not exist.
    Absent,
    /// Something is there already, or in the way.
    Conflict,
    /// What was read before is not so any more.
    Unmet,
    /// Google's own service may not use the user's key.
    NoKey,
    Other,
}

/// A call that did not succeed.
#[derive(Debug, Clone)]
pub struct Denied {
    pub why: Why,
    pub error: ProviderError,
}

impl From<Denied> for ProviderError {
    fn from(denied: Denied) -> Self {
        denied.error
    }
}

impl Denied {
    pub fn new(what: impl ToString, fault: &Fault) -> Self {
        let kind = kind(fault);
        let error = ProviderError::new(kind, what, message(fault));
        let error = match next(kind, fault) {
            Some(command) => error.with_next(command),
            None => error,
        };
        Self { why: why(fault), error }
    }
}

/// Turns a failed call of the compute crate into what the engine understands; `what` was being done.
pub fn failed(what: impl ToString) -> impl FnOnce(Error) -> Denied {
    move |error| Denied::new(what, &Fault::of_call(&error))
}

/// None for what does not exist, an error for everything else that went wrong.
pub fn found<T>(result: Result<T, Denied>) -> Result<Option<T>, ProviderError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(denied) if denied.why == Why::Absent => Ok(None),
        Err(denied) => Err(denied.error),
    }
}

/// The same of a look by the compute crate.
pub fn seen<T>(what: impl ToString, result: Result<T, Error>) -> Result<Option<T>, ProviderError> {
    found(result.map_err(failed(what)))
}

/// Ok for what was removed and for what did not exist.
pub fn gone<T>(result: Result<T, Denied>) -> Result<(), ProviderError> {
    found(result).map(|_| ())
}

fn why(fault: &Fault) -> Why {
    match fault.status {
        _ if fault.heard != Heard::Refusal => Why::Other,
        _ if is_no_key(fault) => Why::NoKey,
        404 | 410 => Why::Absent,
        409 => Why::Conflict,
        412 => Why::Unmet,
        _ if fault.is_any(&["RESOURCE_ALREADY_EXISTS", "alreadyExists"]) => Why::Conflict,
        _ if fault.is_any(&["RESOURCE_NOT_FOUND", "notFound"]) => Why::Absent,
        _ => Why::Other,
    }
}

fn kind(fault: &Fault) -> ErrorKind {
    match fault.heard {
        Heard::NotSent => ErrorKind::Throttled { retry_after: None },
        Heard::Lost => ErrorKind::Ambiguous,
        Heard::NoCredentials => ErrorKind::Credentials,
        Heard::Unsendable => ErrorKind::Refused,
        Heard::Refusal => kind_of(fault),
    }
}

/// From what Google said; pure.
fn kind_of(fault: &Fault) -> ErrorKind {
    match fault.status {
        _ if is_capacity(fault) => ErrorKind::Capacity,
        _ if is_rate(fault) => ErrorKind::Throttled { retry_after: fault.retry_after },
        _ if is_quota(fault) => ErrorKind::Quota,
        429 => ErrorKind::Throttled { retry_after: fault.retry_after },
        _ if is_no_key(fault) => ErrorKind::Credentials,
        _ if is_not_yet(fault) => ErrorKind::NotYet,
        401 | 403 => ErrorKind::Credentials,
        _ if fault.is_any(&["invalid_grant", "invalid_client", "unauthorized_client", "UNAUTHENTICATED"]) => {
            ErrorKind::Credentials
        }
        408 | 500.. => ErrorKind::Ambiguous,
        _ if fault.is_any(&["INTERNAL_ERROR", "internalError", "backendError", "SERVICE_UNAVAILABLE"]) => {
            ErrorKind::Ambiguous
        }
        _ => ErrorKind::Refused,
    }
}

/// A zone that has none left, or none of that kind at all.
fn is_capacity(fault: &Fault) -> bool {
    let codes = ["ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "STOCKOUT"];
    let is_kind = fault.says(&["machineTypes/", "Machine type with name", "acceleratorTypes/"]);
    fault.is_any(&codes)
        || fault.says(&["does not have enough resources", "state:STOCKOUT"])
        || (is_kind && fault.says(&["was not found", "does not exist in zone"]))
}

/// Too many calls, not too many things. The compute crate keeps no `reason`, but the words.
pub fn is_rate(fault: &Fault) -> bool {
    fault.is_any(&["rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED", "concurrentLimitExceeded"])
        || (fault.status == 403 && fault.says(&["Rate Limit Exceeded"]))
}

fn is_quota(fault: &Fault) -> bool {
    fault.is_any(&["QUOTA_EXCEEDED", "quotaExceeded", "limitExceeded", "LIMIT_EXCEEDED"])
        || (fault.status != 404 && fault.says(&["Maximum number of", "Quota '"]))
}

/// Compute refuses with 400, and storage with 403, as if it were the caller who may not.
fn is_no_key(fault: &Fault) -> bool {
    fault.is_any(&["kmsPermissionDenied", "KMS_PERMISSION_DENIED"])
        || fault.says(&["Permission denied on Cloud KMS key", "'cloudkms.cryptoKeyVersions.useTo"])
}

/// What was made a moment ago does not show everywhere at once, and what goes still holds on to other things.
fn is_not_yet(fault: &Fault) -> bool {
    let codes = [
        "resourceInUseByAnotherResource",
        "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE",
        "resourceInUse",
        "resourceNotReady",
        "RESOURCE_NOT_READY",
        "RESOURCE_NOT_FOUND",
        "conditionNotMet",
        "ABORTED",
    ];
    let words = ["is already being used by", "is not ready", "Service account"];
    matches!(fault.status, 404 | 410 | 412)
        || (fault.status == 409 && !fault.is_any(&["alreadyExists", "ALREADY_EXISTS"]))
        || fault.is_any(&codes)
        || fault.says(&words[..2])
        || (fault.status == 400 && fault.says(&words[2..]) && fault.says(&["does not exist", "was not found"]))
}

fn message(fault: &Fault) -> String {
    match (fault.codes.first(), fault.message.is_empty()) {
        (Some(code), false) => format!("{} ({code})", fault.message),
        (Some(code), true) => code.clone(),
        (None, false) => fault.message.clone(),
        (None, true) => format!("HTTP {}", fault.status),
    }
}

/// The command that helps, where one does for every such error.
fn next(kind: ErrorKind, fault: &Fault) -> Option<String> {
    match kind {
        ErrorKind::Credentials if fault.is_any(&["SERVICE_DISABLED", "accessNotConfigured"]) => {
            Some(format!("gcloud services enable {}", service(fault)))
        }
        ErrorKind::Credentials if fault.is_any(&["BILLING_DISABLED"]) || fault.says(&["billing account"]) => {
            Some("gcloud billing projects link PROJECT --billing-account=ACCOUNT".to_owned())
        }
        ErrorKind::Credentials if is_no_key(fault) => Some(encryption_key::look()),
        ErrorKind::Credentials if fault.status == 403 => {
            Some("gcloud auth list (whoever it is may not do it: `docs/operations.md` has the roles)".to_owned())
        }
        ErrorKind::Credentials => Some("gcloud auth application-default login".to_owned()),
        ErrorKind::Quota => Some(more_of(fault)),
        _ => None,
    }
}

/// The API that is off: told apart, or the one host of Google's in the text.
fn service(fault: &Fault) -> &str {
    let is_host = |word: &&str| word.ends_with(".googleapis.com");
    let of_text =
        || fault.message.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.')).find(is_host);
    fault.facts.get("service").map(String::as_str).or_else(of_text).unwrap_or("compute.googleapis.com")
}

fn more_of(fault: &Fault) -> String {
    let between = |from: &str, to: char| {
        let rest = fault.message.split_once(from)?.1;
        Some(rest.split(to).next().unwrap_or(rest).trim_end_matches('.').to_owned())
    };
    let region = fault.facts.get("region").cloned().or_else(|| between("in region ", ' '));
    let region = region.filter(|region| region != EVERYWHERE);
    let quota = fault.facts.get("quota").cloned();
    let quota = quota.or_else(|| between("Quota '", '\'').map(|metric| quota_id(&metric, region.is_some())));
    // Of some quotas each family of cards has its own.
    let mut dimensions = fault.dimensions.clone();
    dimensions.extend(region.map(|region| ("region".to_owned(), region)));
    dimensions.retain(|_, value| value != EVERYWHERE);
    match quota {
        Some(quota) => quota_request(&quota, &dimensions, None),
        None => "dsctl plan (it names the quota and the command that asks for more)".to_owned(),
    }
}

/// How Cloud Quotas calls a metric of Compute Engine.
pub fn quota_id(metric: &str, is_regional: bool) -> String {
    let scope = if is_regional { "per-project-region" } else { "per-project" };
    format!("{}-{scope}", metric.replace('_', "-"))
}

/// The command that asks for more; a quota has a value for each of its dimensions.
pub fn quota_request(quota: &str, dimensions: &BTreeMap<String, String>, wanted: Option<f64>) -> String {
    let wanted = wanted.map_or_else(|| "N".to_owned(), |wanted| wanted.to_string());
    let all: Vec<String> = dimensions.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let dimensions = if all.is_empty() { String::new() } else { format!(" --dimensions={}", all.join(",")) };
    format!(
        "gcloud beta quotas preferences create --service=compute.googleapis.com --quota-id={quota}{dimensions} \
         --preferred-value={wanted}"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::fault::tests::{answered, ended};
    use super::*;

    /// As the compute API and the storage API write a refusal.
    fn refused(status: u16, reason: &str, message: &str) -> Denied {
        let body = json!({"error": {"code": status, "message": message,
            "errors": [{"message": message, "domain": "global", "reason": reason}]}});
        Denied::new("x", &answered(status, &body.to_string()))
    }

    fn operation(status: u16, code: &str, message: &str) -> Denied {
        let ended = ended(json!({"status": "DONE", "httpErrorStatusCode": status,
            "error": {"errors": [{"code": code, "message": message}]}}));
        Denied::new("x", &ended)
    }

    #[test]
    fn a_zone_that_has_none_left_is_no_riddle_though_it_is_a_503() {
        let message = "The zone 'projects/p/zones/us-central1-a' does not have enough resources available to fulfill the \
                       request.  Try a different zone, or try again later.";
        for code in ["ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "STOCKOUT"] {
            assert_eq!(operation(503, code, message).error.kind, ErrorKind::Capacity, "{code}");
        }
        assert_eq!(operation(503, "UNKNOWN", message).error.kind, ErrorKind::Capacity, "by its words");
        let absent = "The resource 'projects/p/zones/us-central1-c/machineTypes/g2-standard-4' was not found";
        assert_eq!(refused(404, "notFound", absent).error.kind, ErrorKind::Capacity, "none of that kind there");
    }

    #[test]
    fn a_quota_is_named_with_the_command_that_asks_for_more() {
        let message = "Quota 'NVIDIA_L4_GPUS' exceeded.  Limit: 1.0 in region us-central1.";
        for denied in [refused(403, "quotaExceeded", message), operation(403, "QUOTA_EXCEEDED", message)] {
            assert_eq!(denied.error.kind, ErrorKind::Quota);
            let next = denied.error.next().unwrap();
            assert!(
                next.contains("--quota-id=NVIDIA-L4-GPUS-per-project-region --dimensions=region=us-central1"),
                "{next}"
            );
        }
        let global = operation(403, "QUOTA_EXCEEDED", "Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.");
        let next = global.error.next().unwrap();
        assert!(next.contains("--quota-id=GPUS-ALL-REGIONS-per-project --preferred"), "{next}");
        let family = ended(json!({"status": "DONE", "httpErrorStatusCode": 403, "error": {"errors": [{
            "code": "QUOTA_EXCEEDED", "message": "Quota 'GPUS_PER_GPU_FAMILY' exceeded.  Limit: 0.0 in region us-central1.",
            "errorDetails": [{"quotaInfo": {"limitName": "GPUS-PER-GPU-FAMILY-per-project-region",
                "dimensions": {"region": "us-central1", "gpu_family": "NVIDIA_H100"}}}]}]}}));
        let next = Denied::new("x", &family).error.next().unwrap().to_owned();
        assert!(
            next.contains("per-project-region --dimensions=gpu_family=NVIDIA_H100,region=us-central1 --pre"),
            "{next}"
        );
        let accounts = r#"{"error": {"code": 429, "message": "Maximum number of service accounts on project reached.",
            "status": "RESOURCE_EXHAUSTED"}}"#;
        assert_eq!(Denied::new("x", &answered(429, accounts)).error.kind, ErrorKind::Quota);
    }

    #[test]
    fn too_many_calls_wait_as_long_as_they_are_told() {
        let told = ErrorKind::Throttled { retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(refused(403, "rateLimitExceeded", "Rate Limit Exceeded").error.kind, told);
        assert_eq!(refused(403, "userRateLimitExceeded", "User Rate Limit Exceeded").error.kind, told);
        assert_eq!(refused(429, "", "Too many requests").error.kind, told);
        let queries = r#"{"error": {"code": 403, "status": "PERMISSION_DENIED",
            "message": "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute'", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}]}}"#;
        assert_eq!(Denied::new("x", &answered(403, queries)).error.kind, told);
    }

    #[test]
    fn who_may_not_is_told_what_would_help() {
        let next = |denied: &Denied| denied.error.next().unwrap_or_default().to_owned();
        let off = refused(403, "accessNotConfigured", "Access Not Configured. Enable compute.googleapis.com first.");
        assert_eq!(
            (off.error.kind, next(&off).as_str()),
            (ErrorKind::Credentials, "gcloud services enable compute.googleapis.com")
        );
        let old = refused(401, "authError", "Invalid Credentials");
        assert_eq!(
            (old.error.kind, next(&old).as_str()),
            (ErrorKind::Credentials, "gcloud auth application-default login")
        );
        let revoked = Denied::new("x", &answered(400, r#"{"error": "invalid_grant", "error_description": "revoked"}"#));
        assert_eq!(revoked.error.kind, ErrorKind::Credentials);
        let denied = refused(403, "forbidden", "Required 'compute.networks.create' permission for 'projects/p'");
        assert!(denied.error.kind == ErrorKind::Credentials && next(&denied).contains("docs/operations.md"));
        let unpaid = refused(403, "accountDisabled", "The billing account for the owning project is disabled");
        assert!(next(&unpaid).starts_with("gcloud billing"));
    }

    #[test]
    fn a_service_of_googles_that_may_not_use_a_key_is_no_matter_of_the_callers() {
        let disk = "Cloud KMS error when using key projects/k/locations/l/keyRings/r/cryptoKeys/k: Permission \
                    'cloudkms.cryptoKeyVersions.useToEncrypt' denied on resource 'projects/k' (or it may not exist).";
        let bucket = "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service account has been \
                      authorized to use this key.";
        let all = [
            refused(400, "kmsPermissionDenied", disk),
            refused(400, "invalid", disk),
            operation(400, "KMS_PERMISSION_DENIED", disk),
            refused(403, "forbidden", bucket),
        ];
        for denied in all {
            assert_eq!((denied.why, denied.error.kind), (Why::NoKey, ErrorKind::Credentials), "{}", denied.error);
            assert!(denied.error.next().unwrap().contains("cryptoKeyEncrypterDecrypter"), "{:?}", denied.error.next());
        }
        assert_eq!(refused(403, "forbidden", "Required 'x' permission").why, Why::Other);
    }

    #[test]
    fn what_holds_on_or_does_not_show_is_waited_for() {
        let used = "The network resource 'projects/p/global/networks/n' is already being used by 'projects/p/global/firewalls/f'";
        let all = [
            refused(400, "resourceInUseByAnotherResource", used),
            refused(400, "invalid", used),
            operation(400, "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", used),
            refused(400, "resourceNotReady", "The resource 'projects/p/regions/r/subnetworks/s' is not ready"),
            refused(404, "notFound", "The resource 'projects/p/global/networks/n' was not found"),
            refused(412, "conditionNotMet", "Labels fingerprint either invalid or resource labels have changed"),
            refused(409, "conflict", "The bucket you tried to delete is not empty."),
            refused(400, "invalid", "Service account dsctl-1@p.iam.gserviceaccount.com does not exist."),
        ];
        for denied in all {
            assert_eq!(denied.error.kind, ErrorKind::NotYet, "{}", denied.error);
        }
    }

    #[test]
    fn what_may_have_happened_is_a_riddle_and_the_rest_is_refused() {
        assert_eq!(refused(500, "backendError", "Internal Error").error.kind, ErrorKind::Ambiguous);
        assert_eq!(Denied::new("x", &answered(502, "<html>")).error.kind, ErrorKind::Ambiguous);
        assert_eq!(operation(0, "INTERNAL_ERROR", "Internal error").error.kind, ErrorKind::Ambiguous);
        let bad = refused(400, "invalid", "Invalid value for field 'resource.name'");
        assert_eq!((bad.error.kind, bad.why), (ErrorKind::Refused, Why::Other));
        assert_eq!(bad.error.to_string(), "x: Invalid value for field 'resource.name' (invalid)");
        let lost = Denied::new("x", &Fault { heard: Heard::Lost, ..Fault::default() });
        assert_eq!(lost.error.kind, ErrorKind::Ambiguous);
    }

    #[test]
    fn what_exists_already_and_what_does_not_can_be_acted_on() {
        assert_eq!(refused(409, "alreadyExists", "The resource 'x' already exists").why, Why::Conflict);
        assert_eq!(operation(0, "RESOURCE_ALREADY_EXISTS", "already exists").why, Why::Conflict);
        assert_eq!(refused(404, "notFound", "").why, Why::Absent);
        assert_eq!(refused(412, "conditionNotMet", "").why, Why::Unmet);
        assert!(found(Err::<(), _>(refused(404, "notFound", ""))).unwrap().is_none());
        assert!(gone(Err::<(), _>(refused(403, "forbidden", ""))).is_err());
    }
}
