//! Why a variant could not answer, and what the client is told when none could.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use spec::amount::Span;
use spec::openai::ErrorKind;

use crate::health::wait_of;

/// Why an attempt failed before the first byte went to the client. The texts go to clients: no address, no key, nothing
/// that the upstream said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("could not be reached")]
    Unreachable,
    #[error("accepted no connection within {0}")]
    ConnectTimeout(Span),
    #[error("gave no answer within {0}")]
    FirstByteTimeout(Span),
    #[error("stalled for {0} in its answer")]
    Stalled(Span),
    #[error("answered {}", status.as_u16())]
    Status { status: StatusCode, retry_after: Option<HeaderValue> },
    #[error("refused the gateway's own request with {}", .0.as_u16())]
    Refused(StatusCode),
    #[error("failed again and again, and is not asked for a while")]
    HeldBack,
    #[error("broke off its answer")]
    Broken,
    #[error("gave an answer that is none: {0}")]
    NoAnswer(&'static str),
}

impl Failure {
    /// The kind of error it is for the client.
    const fn kind(&self) -> ErrorKind {
        match self {
            Self::ConnectTimeout(_) | Self::FirstByteTimeout(_) | Self::Stalled(_) => ErrorKind::Timeout,
            Self::Unreachable | Self::HeldBack => ErrorKind::Unavailable,
            Self::Status { status, .. } => match status.as_u16() {
                429 | 503 => ErrorKind::Unavailable,
                408 | 504 => ErrorKind::Timeout,
                _ => ErrorKind::BadGateway,
            },
            Self::Refused(_) | Self::Broken | Self::NoAnswer(_) => ErrorKind::BadGateway,
        }
    }

    /// After which it wants to be asked again.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Status { status, retry_after: Some(wait) } if matches!(status.as_u16(), 429 | 503) => wait_of(wait),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<&HeaderValue> {
        match self {
            Self::Status { status, retry_after } if *status == StatusCode::TOO_MANY_REQUESTS => retry_after.as_ref(),
            _ => None,
        }
    }
}

/// What the client is told when every variant that was tried failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoVariant {
    pub kind: ErrorKind,
    pub message: String,
    pub retry_after: Option<HeaderValue>,
}

/// One kind for all failures if they agree, else 502; a time to wait only if all are busy.
pub fn sum_up(failures: &[(&'static str, Failure)]) -> NoVariant {
    let mut kinds = failures.iter().map(|(_, failure)| failure.kind());
    let first = kinds.next().unwrap_or(ErrorKind::Unavailable);
    let kind = if kinds.all(|kind| kind == first) { first } else { ErrorKind::BadGateway };
    let reasons: Vec<String> = failures.iter().map(|(variant, failure)| format!("{variant} {failure}")).collect();
    let waits: Option<Vec<&HeaderValue>> = failures.iter().map(|(_, failure)| failure.retry_after()).collect();
    let retry_after = waits.and_then(|waits| waits.into_iter().min_by_key(|wait| seconds(wait)).cloned());
    NoVariant { kind, message: format!("no variant could answer: {}", reasons.join("; ")), retry_after }
}

/// A date counts as longest: which one it is does not matter then.
fn seconds(wait: &HeaderValue) -> u64 {
    wait.to_str().ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<&'static str>) -> Failure {
        Failure::Status {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: retry_after.map(HeaderValue::from_static),
        }
    }

    #[test]
    fn both_reasons_are_named_and_their_kind_is_the_common_one() {
        let timeout = Failure::FirstByteTimeout(Span::seconds(2));
        for (candidate, baseline, kind) in [
            (timeout.clone(), status(504, None), ErrorKind::Timeout),
            (Failure::Unreachable, status(503, None), ErrorKind::Unavailable),
            (status(500, None), Failure::Broken, ErrorKind::BadGateway),
            (timeout, Failure::Unreachable, ErrorKind::BadGateway),
        ] {
            let told = sum_up(&[("candidate", candidate), ("baseline", baseline)]);
            assert_eq!(told.kind, kind, "{}", told.message);
            assert!(told.message.contains("candidate ") && told.message.contains("baseline "), "{}", told.message);
        }
    }

    #[test]
    fn a_wait_is_passed_on_only_if_all_are_busy() {
        let both = |candidate, baseline| sum_up(&[("candidate", candidate), ("baseline", baseline)]);
        assert_eq!(both(status(429, Some("30")), status(429, Some("7"))).retry_after.unwrap(), "7");
        assert_eq!(both(status(429, Some("30")), status(500, None)).retry_after, None);
        assert_eq!(sum_up(&[("candidate", status(429, Some("9")))]).retry_after.unwrap(), "9");
    }
}
