//! What Google says when something goes wrong, read from the shapes that it comes in: a REST answer, a call of the compute
//! crate, an operation that ended badly. What it means is decided in `error`.

use std::collections::BTreeMap;
use std::time::Duration;

use google_cloud_compute_v1::errors::OperationError;
use google_cloud_compute_v1::model::operation;
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::StatusDetails;
use serde::Deserialize;
use serde_json::Value;

use crate::http::{Answer, Silence};

/// What became of a call that did not succeed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Heard {
    /// Nobody was reached: nothing happened.
    NotSent,
    /// No answer, or none that can be read: it may have happened.
    Lost,
    /// There were no credentials to send.
    NoCredentials,
    /// It could not be written down as a request.
    Unsendable,
    #[default]
    Refusal,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    pub heard: Heard,
    /// Of HTTP; 0 where there is none.
    pub status: u16,
    /// In Google's words, the most exact first: `quotaExceeded`, `ZONE_RESOURCE_POOL_EXHAUSTED`, `PERMISSION_DENIED`.
    pub codes: Vec<String>,
    pub message: String,
    /// What is told besides, e.g. `service`, `permission`, `metric`, `region`.
    pub facts: BTreeMap<String, String>,
    /// What a quota that was exceeded holds for, e.g. `region`, `gpu_family`.
    pub dimensions: BTreeMap<String, String>,
    pub retry_after: Option<Duration>,
}

/// The body of a refusal. Who hands out tokens writes a word where the others write an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    error: Value,
    error_description: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    message: String,
    status: Option<String>,
    errors: Vec<Detail>,
    details: Vec<Detail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    reason: Option<String>,
    metadata: BTreeMap<String, String>,
}

impl Fault {
    /// Of a REST call that was answered, but with no success.
    pub fn of_answer(answer: &Answer) -> Self {
        let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
        let base = Self { status: answer.status.as_u16(), retry_after: answer.retry_after(), ..Self::default() };
        if let Value::String(code) = &body.error {
            return Self { codes: vec![code.clone()], message: body.error_description, ..base };
        }
        let told: Told = serde_json::from_value(body.error).unwrap_or_default();
        let mut codes: Vec<String> = Vec::new();
        let mut facts = BTreeMap::new();
        for detail in told.details.into_iter().chain(told.errors) {
            codes.extend(detail.reason);
            facts.extend(detail.metadata);
        }
        codes.extend(told.status);
        let message = if told.message.is_empty() { answer.text().chars().take(200).collect() } else { told.message };
        Self { codes, message, facts, ..base }
    }

    /// Of a REST call without an answer.
    pub fn of_silence(silence: &Silence) -> Self {
        let heard = match silence {
            Silence::NotSent(_) => Heard::NotSent,
            Silence::Lost(_) => Heard::Lost,
        };
        Self { heard, message: silence.to_string(), ..Self::default() }
    }

    /// Of a call of the compute crate.
    pub fn of_call(error: &Error) -> Self {
        let base = Self {
            status: error.http_status_code().unwrap_or_default(),
            retry_after: retry_after(error),
            ..Self::default()
        };
        let Some(status) = error.status() else {
            return Self { heard: heard(error), message: unanswered(error), ..base };
        };
        let (mut codes, mut facts) = (Vec::new(), BTreeMap::new());
        for detail in &status.details {
            if let StatusDetails::ErrorInfo(info) = detail {
                codes.push(info.reason.clone());
                facts.extend(info.metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        codes.push(status.code.name().to_owned());
        codes.retain(|code| !code.is_empty());
        Self { codes, facts, message: status.message.clone(), ..base }
    }

    /// Of an operation that was begun, and ended with an error.
    pub fn of_operation(error: OperationError) -> Self {
        let OperationError::Generic(error) = error else {
            return Self { message: error.to_string(), ..Self::default() };
        };
        let status = error.status_code.and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
        let all = error.details.map(|details| details.errors).unwrap_or_default();
        let messages: Vec<String> = all.iter().filter_map(|one| one.message.clone()).collect();
        let message = if messages.is_empty() { error.message.unwrap_or_default() } else { messages.join("; ") };
        let details = || all.iter().flat_map(|one| &one.error_details);
        let facts = details().flat_map(told_besides).collect();
        let dimensions = details().flat_map(|detail| &detail.quota_info).flat_map(|quota| quota.dimensions.clone());
        let (dimensions, codes) = (dimensions.collect(), all.iter().filter_map(|one| one.code.clone()).collect());
        Self { status, codes, message, facts, dimensions, ..Self::default() }
    }

    pub fn is_any(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|code| codes.contains(&code.as_str()))
    }

    pub fn says(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.message.contains(part))
    }
}

fn told_besides(detail: &operation::error::errors::ErrorDetails) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    if let Some(quota) = &detail.quota_info {
        facts.extend(quota.dimensions.iter().map(|(key, value)| (key.clone(), value.clone())));
        facts.extend(quota.limit_name.iter().map(|name| ("quota".to_owned(), name.clone())));
    }
    if let Some(info) = &detail.error_info {
        facts.extend(info.metadatas.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    facts
}

fn heard(error: &Error) -> Heard {
    match error {
        // The crate has tried for them as often as it helps.
        _ if error.is_authentication() => Heard::NoCredentials,
        _ if error.is_connect() || error.is_transient_and_before_rpc() => Heard::NotSent,
        _ if error.is_binding() || error.is_serialization() => Heard::Unsendable,
        _ if error.http_status_code().is_some() => Heard::Refusal,
        _ => Heard::Lost,
    }
}

fn unanswered(error: &Error) -> String {
    match heard(error) {
        Heard::NoCredentials => no_token(error),
        Heard::NotSent => format!("nobody answers there: {}", innermost(error)),
        Heard::Lost if error.is_timeout() => "no answer in time".to_owned(),
        Heard::Lost => format!("no answer that can be read: {}", innermost(error)),
        Heard::Unsendable | Heard::Refusal => innermost(error),
    }
}

fn retry_after(error: &Error) -> Option<Duration> {
    let header = error.http_headers()?.get("retry-after")?.to_str().ok()?;
    header.parse().ok().map(Duration::from_secs)
}

/// With its causes, each once: most tell their cause's words in their own.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let add = |text: String, cause: &dyn std::error::Error| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    };
    causes(error).fold(String::new(), |text, cause| if text.is_empty() { cause.to_string() } else { add(text, cause) })
}

/// The crate tells at length how to get some; the next command does so too.
pub fn no_token(error: &(dyn std::error::Error + 'static)) -> String {
    format!("the credentials give no token: {}", innermost(error))
}

/// Without what stands around it, such as the URL.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause.source())
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use google_cloud_gax::error::CredentialsError;
    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, RETRY_AFTER};

    use super::*;

    /// Of an answer with this body.
    pub fn answered(status: u16, body: &str) -> Fault {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        let status = StatusCode::from_u16(status).unwrap();
        Fault::of_answer(&Answer { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) })
    }

    /// Of an operation that ended so, as Google writes it.
    pub fn ended(operation: Value) -> Fault {
        let operation: google_cloud_compute_v1::model::Operation = serde_json::from_value(operation).unwrap();
        Fault::of_operation(operation.to_result().unwrap_err())
    }

    #[test]
    fn each_shape_of_a_refusal_is_read() {
        let storage = r#"{"error": {"code": 404, "message": "The specified bucket does not exist.",
            "errors": [{"message": "The specified bucket does not exist.", "domain": "global", "reason": "notFound"}]}}"#;
        let fault = answered(404, storage);
        assert_eq!((fault.status, fault.codes.as_slice()), (404, ["notFound".to_owned()].as_slice()));
        assert_eq!(fault.retry_after, Some(Duration::from_secs(7)));
        let token = r#"{"error": "invalid_grant", "error_description": "Token has been expired or revoked."}"#;
        assert_eq!(answered(400, token).message, "Token has been expired or revoked.");
        let disabled = r#"{"error": {"code": 403, "message": "IAM API has not been used", "status": "PERMISSION_DENIED",
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED",
            "domain": "googleapis.com", "metadata": {"service": "iam.googleapis.com"}}]}}"#;
        let fault = answered(403, disabled);
        assert_eq!(fault.codes, ["SERVICE_DISABLED", "PERMISSION_DENIED"]);
        assert_eq!(fault.facts.get("service").map(String::as_str), Some("iam.googleapis.com"));
        let page = answered(502, "<html>Bad Gateway</html>");
        assert_eq!((page.codes.len(), page.message.as_str()), (0, "<html>Bad Gateway</html>"));
    }

    #[test]
    fn an_operation_tells_its_codes_and_what_it_lacked() {
        let fault = ended(
            serde_json::json!({"status": "DONE", "httpErrorStatusCode": 403, "httpErrorMessage": "FORBIDDEN",
            "error": {"errors": [{"code": "QUOTA_EXCEEDED",
                "message": "Quota 'NVIDIA_L4_GPUS' exceeded.  Limit: 1.0 in region us-central1.",
                "errorDetails": [{"quotaInfo": {"metricName": "compute.googleapis.com/nvidia_l4_gpus",
                    "limitName": "NVIDIA-L4-GPUS-per-project-region", "dimensions": {"region": "us-central1"}, "limit": 1.0}}]}]}}),
        );
        assert_eq!((fault.status, fault.codes.as_slice()), (403, ["QUOTA_EXCEEDED".to_owned()].as_slice()));
        assert_eq!(fault.facts.get("quota").map(String::as_str), Some("NVIDIA-L4-GPUS-per-project-region"));
        assert_eq!(fault.facts.get("region").map(String::as_str), Some("us-central1"));
    }

    #[test]
    fn a_call_without_an_answer_says_whether_it_may_have_happened() {
        let of = |error: Error| Fault::of_call(&error).heard;
        assert_eq!(of(Error::io("broken pipe")), Heard::Lost);
        assert_eq!(of(Error::timeout("30 s")), Heard::Lost);
        assert_eq!(of(Error::connect("refused")), Heard::NotSent);
        assert_eq!(of(Error::ser("no JSON")), Heard::Unsendable);
        assert_eq!(of(Error::deser("no JSON")), Heard::Lost);
        assert_eq!(of(Error::http(502, HeaderMap::new(), Bytes::new())), Heard::Refusal);
        let missing = CredentialsError::from_msg(true, "the metadata server does not answer");
        assert_eq!(of(Error::authentication(missing)), Heard::NoCredentials, "though it might come later");
    }

    #[test]
    fn a_cause_is_told_once_and_without_what_stands_around_it() {
        let inner = std::io::Error::other("invalid peer certificate");
        let error = Error::connect(inner);
        assert_eq!(Fault::of_call(&error).message, "nobody answers there: invalid peer certificate");
        assert_eq!(chain(&error).matches("invalid peer certificate").count(), 1, "{}", chain(&error));
    }
}
