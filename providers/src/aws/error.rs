//! What an error of AWS means: decided here, once, from its code.
//! Codes: the EC2 API reference's list of error codes, and the errors of each service's model.

use std::error::Error as _;
use std::time::Duration;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use engine::provider::{ErrorKind, ProviderError};

/// Turns a failed call into what the engine understands; `what` was being done.
pub fn failed<E>(what: impl ToString) -> impl FnOnce(SdkError<E, HttpResponse>) -> ProviderError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    move |error| {
        let kind = kind(&error);
        let made = ProviderError::new(kind, what.to_string(), message(&error));
        match next(kind, error.code().unwrap_or_default()) {
            Some(command) => made.with_next(command),
            None => made,
        }
    }
}

/// Whether what the call was about does not exist.
pub fn is_absent<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata,
{
    let not_found = error.raw_response().is_some_and(|response| response.status().as_u16() == 404);
    error.code().is_some_and(is_absent_code) || (not_found && error.code().is_none())
}

/// None for what does not exist, an error for everything else that went wrong.
pub fn found<T, E>(
    what: impl ToString,
    result: Result<T, SdkError<E, HttpResponse>>,
) -> Result<Option<T>, ProviderError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(what)(error)),
    }
}

/// Ok for what was removed and for what did not exist.
pub fn gone<T, E>(what: impl ToString, result: Result<T, SdkError<E, HttpResponse>>) -> Result<(), ProviderError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    found(what, result).map(|_| ())
}

/// Ok for what was done and for what was so already, by its code.
pub fn done_or<T, E>(
    what: impl ToString,
    already: &[&str],
    result: Result<T, SdkError<E, HttpResponse>>,
) -> Result<(), ProviderError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match result {
        Err(error) if !error.code().is_some_and(|code| already.contains(&code)) => Err(failed(what)(error)),
        _ => Ok(()),
    }
}

fn is_absent_code(code: &str) -> bool {
    let plain = ["NoSuchEntity", "NoSuchBucket", "NoSuchKey", "NotFound", "NatGatewayNotFound", "ParameterNotFound"];
    code.ends_with(".NotFound") || plain.contains(&code)
}

fn kind<E>(error: &SdkError<E, HttpResponse>) -> ErrorKind
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => ErrorKind::Refused,
        SdkError::DispatchFailure(_) if is_about_credentials(error) => ErrorKind::Credentials,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => ErrorKind::Ambiguous,
        SdkError::ServiceError(_) => {
            let status = error.raw_response().map_or(0, |response| response.status().as_u16());
            match kind_of(error.code().unwrap_or_default(), error.message().unwrap_or_default(), status) {
                ErrorKind::Throttled { .. } => ErrorKind::Throttled { retry_after: retry_after(error) },
                kind => kind,
            }
        }
        _ => ErrorKind::Ambiguous,
    }
}

/// From what the service said; pure.
fn kind_of(code: &str, message: &str, status: u16) -> ErrorKind {
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "SlowDown"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "EC2ThrottledException"
        | "BandwidthLimitExceeded"
        | "PriorRequestNotComplete"
        | "ProvisionedThroughputExceededException" => ErrorKind::Throttled { retry_after: None },
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientCapacity"
        | "SpotMaxPriceTooLow"
        | "Unsupported"
        | "UnfulfillableCapacity" => ErrorKind::Capacity,
        "MaxSpotInstanceCountExceeded"
        | "TooManyBuckets"
        | "LimitExceeded"
        | "LimitExceededException"
        | "ResourceLimitExceeded" => ErrorKind::Quota,
        _ if code.ends_with("LimitExceeded") => ErrorKind::Quota,
        "AuthFailure"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "InvalidAccessKeyId"
        | "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "OptInRequired"
        | "NotSignedUp"
        | "IncompleteSignature" => ErrorKind::Credentials,
        "IdempotentInstanceTerminated" => ErrorKind::TokenSpent,
        // Something was made with this token: it has to be found.
        "IdempotentParameterMismatch" => ErrorKind::Ambiguous,
        // What was made a moment ago does not show everywhere at once, and what goes still holds on to other things.
        "DependencyViolation"
        | "IncorrectState"
        | "IncorrectInstanceState"
        | "ResourceInUse"
        | "OperationAborted"
        | "DeleteConflict"
        | "VolumeInUse"
        | "EntityTemporarilyUnmodifiable"
        | "ConcurrentModification"
        | "NoSuchBucket"
        | "OperationNotPermitted" => ErrorKind::NotYet,
        _ if code.ends_with(".InUse") => ErrorKind::NotYet,
        _ if code.ends_with(".NotFound") || code == "NatGatewayNotFound" || code == "NoSuchEntity" => ErrorKind::NotYet,
        "InvalidParameterValue" if message.contains("IAM Instance Profile") => ErrorKind::NotYet,
        "MalformedPolicy" | "MalformedPolicyDocument" if message.contains("rincipal") => ErrorKind::NotYet,
        _ if status >= 500 => ErrorKind::Ambiguous,
        "RequestTimeout" | "RequestTimeoutException" => ErrorKind::Ambiguous,
        _ => ErrorKind::Refused,
    }
}

fn retry_after<E>(error: &SdkError<E, HttpResponse>) -> Option<Duration> {
    let header = error.raw_response()?.headers().get("retry-after")?;
    header.parse().ok().map(Duration::from_secs)
}

/// The SDK says so only in the chain of causes.
fn is_about_credentials<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: std::error::Error + 'static,
{
    causes(error).any(|cause| {
        let text = cause.to_string().to_ascii_lowercase();
        text.contains("credential") || text.contains("identity resolver") || text.contains("sso")
    })
}

fn causes<E>(error: &SdkError<E, HttpResponse>) -> impl Iterator<Item = &dyn std::error::Error>
where
    E: std::error::Error + 'static,
{
    std::iter::successors(error.source(), |cause: &&dyn std::error::Error| (**cause).source())
}

fn message<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{message} ({code})"),
        (Some(code), None) => code.to_owned(),
        _ => {
            let chain: Vec<String> = causes(error).map(ToString::to_string).collect();
            match chain.last() {
                Some(last) => format!("{error}: {last}"),
                None => error.to_string(),
            }
        }
    }
}

/// The command that helps, where one does for every such error.
fn next(kind: ErrorKind, code: &str) -> Option<&'static str> {
    match (kind, code) {
        (ErrorKind::Credentials, "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation") => {
            Some("aws sts get-caller-identity (these credentials may not do it)")
        }
        (ErrorKind::Credentials, _) => Some("aws configure, or aws sso login"),
        (ErrorKind::Quota, "AddressLimitExceeded") => Some(
            "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-0263D0A3 --desired-value 10",
        ),
        (ErrorKind::Quota, "VpcLimitExceeded") => Some(
            "aws service-quotas request-service-quota-increase --service-code vpc --quota-code L-F678F1CE --desired-value 10",
        ),
        (ErrorKind::Quota, _) => Some("dsctl plan (it names the quota and the command that asks for more)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_meaning() {
        let of = |code: &str, status| kind_of(code, "", status);
        assert_eq!(of("RequestLimitExceeded", 503), ErrorKind::Throttled { retry_after: None });
        assert_eq!(of("InsufficientInstanceCapacity", 500), ErrorKind::Capacity, "a 500 that is no riddle");
        assert_eq!(of("VcpuLimitExceeded", 400), ErrorKind::Quota);
        assert_eq!(of("AddressLimitExceeded", 400), ErrorKind::Quota);
        assert_eq!(of("ExpiredToken", 400), ErrorKind::Credentials);
        assert_eq!(of("IdempotentInstanceTerminated", 400), ErrorKind::TokenSpent);
        assert_eq!(of("InvalidSubnetID.NotFound", 400), ErrorKind::NotYet);
        assert_eq!(of("DependencyViolation", 400), ErrorKind::NotYet);
        assert_eq!(of("InternalError", 500), ErrorKind::Ambiguous);
        assert_eq!(of("", 502), ErrorKind::Ambiguous);
        assert_eq!(of("InvalidParameterCombination", 400), ErrorKind::Refused);
        let profile = "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name";
        assert_eq!(kind_of("InvalidParameterValue", profile, 400), ErrorKind::NotYet);
    }

    #[test]
    fn what_does_not_exist_is_told_from_what_went_wrong() {
        for code in ["InvalidVpcID.NotFound", "NoSuchEntity", "NoSuchKey", "NatGatewayNotFound"] {
            assert!(is_absent_code(code), "{code}");
        }
        assert!(!is_absent_code("AccessDenied"));
    }
}
