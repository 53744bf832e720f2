//! What an error of Azure means: decided here, once, from its code.
//! Codes: Resource Manager's list of common deployment errors, those of the compute, network, storage and authorization
//! services, and Blob storage's (header `x-ms-error-code`).

use engine::provider::{ErrorKind, ProviderError};
use serde_json::Value;

use crate::http::Answer;

/// What Azure said of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    pub code: String,
    pub message: String,
    /// Codes of what lies beneath: a code like `DeploymentFailed` says nothing by itself.
    beneath: Vec<String>,
}

/// Turns a failed call into what the engine understands; `what` was being done.
pub fn failed(what: impl ToString, answer: &Answer) -> ProviderError {
    let told = Told::of(answer);
    let status = answer.status.as_u16();
    let kind = match kind_of(&told, status) {
        ErrorKind::Throttled { .. } => ErrorKind::Throttled { retry_after: answer.retry_after() },
        kind => kind,
    };
    error(what, kind, &told, Some(status))
}

/// Turns the end of an operation that was begun and failed into the same.
pub fn operation_failed(what: impl ToString, told: &Told) -> ProviderError {
    error(what, kind_of(told, 0), told, None)
}

fn error(what: impl ToString, kind: ErrorKind, told: &Told, status: Option<u16>) -> ProviderError {
    let made = ProviderError::new(kind, what, told.text(status));
    match next(kind, told) {
        Some(command) => made.with_next(command),
        None => made,
    }
}

impl Told {
    /// From an answer's body, or Blob storage's header.
    pub fn of(answer: &Answer) -> Self {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let mut told = Self::in_json(&body);
        if let Some(code) = answer.header("x-ms-error-code").filter(|_| told.code.is_empty()) {
            told.code = code.to_owned();
            told.message = between(&answer.text(), "<Message>", "</Message>").unwrap_or_default();
        }
        told
    }

    /// `{"error": {…}}`, or the error alone, as some services write it.
    pub fn in_json(body: &Value) -> Self {
        let error = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
        let text = |field: &str| error.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut beneath = Vec::new();
        codes_beneath(error, &mut beneath);
        Self { code: text("code"), message: text("message"), beneath }
    }

    fn text(&self, status: Option<u16>) -> String {
        // The first line says it; Blob storage's further ones are a request's number and a time.
        let message = self.message.lines().next().unwrap_or_default();
        match (message.is_empty(), self.code.is_empty(), status) {
            (false, false, _) => format!("{message} ({})", self.code),
            (false, true, _) => message.to_owned(),
            (true, false, _) => self.code.clone(),
            (true, true, Some(status)) => format!("it answered {status} and no reason"),
            (true, true, None) => "it failed and gave no reason".to_owned(),
        }
    }

    fn codes(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.code).chain(&self.beneath).map(String::as_str).filter(|code| !code.is_empty())
    }

    fn says(&self, word: &str) -> bool {
        self.message.to_ascii_lowercase().contains(word)
    }
}

fn codes_beneath(error: &Value, found: &mut Vec<String>) {
    let details = error.get("details").and_then(Value::as_array);
    for detail in details.into_iter().flatten().chain(error.get("innererror")).chain(error.get("innerError")) {
        found.extend(detail.get("code").and_then(Value::as_str).map(str::to_owned));
        codes_beneath(detail, found);
    }
}

fn between(text: &str, begin: &str, end: &str) -> Option<String> {
    let (_, rest) = text.split_once(begin)?;
    Some(rest.split_once(end)?.0.to_owned())
}

/// From what the service said; pure. `status` is 0 where an operation failed that was begun well.
fn kind_of(told: &Told, status: u16) -> ErrorKind {
    let known = told.codes().find_map(|code| kind_of_code(code, told));
    known.unwrap_or(match status {
        401 | 403 => ErrorKind::Credentials,
        429 => ErrorKind::Throttled { retry_after: None },
        // Only a look tells who changed it meanwhile: another command, or an earlier call of this one that came late.
        408 | 412 => ErrorKind::Ambiguous,
        500.. => ErrorKind::Ambiguous,
        _ => ErrorKind::Refused,
    })
}

fn kind_of_code(code: &str, told: &Told) -> Option<ErrorKind> {
    Some(match code {
        "SkuNotAvailable"
        | "AllocationFailed"
        | "ZonalAllocationFailed"
        | "OverconstrainedAllocationRequest"
        | "OverconstrainedZonalAllocationRequest"
        | "AllocationTimeout" => ErrorKind::Capacity,
        _ if is_quota(code, told) => ErrorKind::Quota,
        "TooManyRequests" | "SubscriptionRequestsThrottled" | "OperationNotAllowedThrottled" | "ServerBusy" => {
            ErrorKind::Throttled { retry_after: None }
        }
        _ if is_about_credentials(code) => ErrorKind::Credentials,
        _ if is_too_early(code) => ErrorKind::NotYet,
        "RequestDisallowedByPolicy" => ErrorKind::Refused,
        "InternalServerError" | "InternalExecutionError" | "OperationTimedOut" | "InternalOperationError" => {
            ErrorKind::Ambiguous
        }
        _ => return None,
    })
}

fn is_quota(code: &str, told: &Told) -> bool {
    let by_name = code.contains("Quota")
        || code.ends_with("LimitReached")
        || code.ends_with("LimitExceeded")
        || code.contains("CountPerSubscriptionExceeded");
    // One code for what may not be done at all, and for what there may not be more of.
    by_name || (code == "OperationNotAllowed" && told.says("quota"))
}

fn is_about_credentials(code: &str) -> bool {
    let known = [
        "AuthorizationFailed",
        "LinkedAuthorizationFailed",
        "AuthenticationFailed",
        "AuthenticationFailedMissingToken",
        "ExpiredAuthenticationToken",
        "InvalidAuthenticationToken",
        "InvalidAuthenticationTokenTenant",
        "InvalidAuthenticationInfo",
        "NoAuthenticationInformation",
        "SubscriptionNotFound",
        "InvalidSubscriptionId",
        "MissingSubscription",
        "MissingSubscriptionRegistration",
        "ReadOnlyDisabledSubscription",
        "SubscriptionNotRegistered",
    ];
    known.contains(&code)
}

/// What was made a moment ago does not work everywhere at once, and what goes still holds on to other things.
fn is_too_early(code: &str) -> bool {
    let known = [
        "AnotherOperationInProgress",
        "RetryableError",
        "RetryableErrorDueToAnotherOperation",
        "ConflictingServerOperation",
        "ConflictingConcurrentWriteNotAllowed",
        "ConcurrentOperation",
        "OperationPreempted",
        "OperationPreemptedByAnother",
        "AttachDiskWhileBeingDetached",
        "ReferencedResourceNotProvisioned",
        "InvalidResourceReference",
        "ParentResourceNotFound",
        "ResourceGroupNotFound",
        "ResourceGroupBeingDeleted",
        "ResourceNotFound",
        "NotFound",
        "PrincipalNotFound",
        "ScopeLocked",
        "StorageAccountIsNotProvisioned",
        "StorageAccountOperationInProgress",
        "AccountIsDisabled",
        "AccountBeingCreated",
        "ContainerBeingDeleted",
        "ContainerNotFound",
        // A role was assigned, and Blob storage has not heard of it yet.
        "AuthorizationPermissionMismatch",
        "NicInUse",
        "NicReservedForAnotherVm",
        "CannotDeleteNatGatewayAssociatedToSubnet",
        "FailedIdentityOperation",
    ];
    // `InUseSubnetCannotBeDeleted`, `PublicIPAddressCannotBeDeleted`, `InUseNetworkSecurityGroupCannotBeDeleted`, …
    known.contains(&code) || code.ends_with("CannotBeDeleted")
}

/// The command that helps, where one does.
fn next(kind: ErrorKind, told: &Told) -> Option<String> {
    let has = |code: &str| told.codes().any(|found| found == code);
    if has("MissingSubscriptionRegistration") || has("SubscriptionNotRegistered") {
        let namespace = between(&told.message, "namespace '", "'").unwrap_or_else(|| "Microsoft.Compute".to_owned());
        return Some(format!("az provider register --namespace {namespace} --wait"));
    }
    if told.says("encryptionathost") || told.says("encryption at host") {
        let wait = "(it takes minutes), then az provider register --namespace Microsoft.Compute";
        return Some(format!("az feature register --namespace Microsoft.Compute --name EncryptionAtHost {wait}"));
    }
    if has("RoleAssignmentExists") {
        return Some(
            "az role assignment delete --ids … (the one that the message names; dsctl makes its own)".to_owned(),
        );
    }
    match kind {
        ErrorKind::Credentials if has("AuthorizationFailed") || has("LinkedAuthorizationFailed") => Some(
            "az role assignment list --assignee \"$(az ad signed-in-user show --query id -o tsv)\" (it needs Owner, or Contributor and User Access Administrator)"
                .to_owned(),
        ),
        ErrorKind::Credentials if told.codes().any(|code| code.contains("Subscription")) => {
            Some("az account list, then az account set --subscription …".to_owned())
        }
        ErrorKind::Credentials => Some("az login".to_owned()),
        ErrorKind::Quota => Some(more_quota(&told.message)),
        _ => None,
    }
}

/// The message of a machine that was refused names the family, the region and the limit that is needed.
fn more_quota(message: &str) -> String {
    let parts = (
        between(message, "exceeding approved ", " Cores quota"),
        between(message, "Location: ", ","),
        between(message, "New Limit Required: ", "."),
    );
    match parts {
        (Some(family), Some(region), Some(limit)) => {
            quota_command("$(az account show --query id -o tsv)", &region, family.trim(), limit.trim())
        }
        _ => "dsctl plan (it names the quota and the command that asks for more)".to_owned(),
    }
}

/// Asks for more of a limit of a region's machines.
pub fn quota_command(subscription: &str, region: &str, name: &str, limit: impl ToString) -> String {
    let scope = format!("/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}");
    let limit = limit.to_string();
    format!(
        "az quota update --resource-name \"{name}\" --scope \"{scope}\" --limit-object value={limit} --resource-type dedicated"
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, HeaderName};
    use serde_json::json;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let header = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.iter().map(header).collect::<HeaderMap>(),
            body: Bytes::from(body.to_owned()),
        }
    }

    fn of(status: u16, code: &str) -> ErrorKind {
        let body = json!({"error": {"code": code, "message": "m"}}).to_string();
        failed("x", &answer(status, &[], &body)).kind
    }

    #[test]
    fn each_code_has_its_meaning() {
        for code in ["SkuNotAvailable", "AllocationFailed", "ZonalAllocationFailed", "OverconstrainedAllocationRequest"]
        {
            assert_eq!(of(409, code), ErrorKind::Capacity, "{code}");
        }
        assert_eq!(of(429, "TooManyRequests"), ErrorKind::Throttled { retry_after: None });
        assert_eq!(of(401, "ExpiredAuthenticationToken"), ErrorKind::Credentials);
        assert_eq!(of(403, "AuthorizationFailed"), ErrorKind::Credentials);
        assert_eq!(of(404, "SubscriptionNotFound"), ErrorKind::Credentials);
        assert_eq!(of(409, "AnotherOperationInProgress"), ErrorKind::NotYet);
        assert_eq!(of(400, "PrincipalNotFound"), ErrorKind::NotYet);
        assert_eq!(of(400, "InUseSubnetCannotBeDeleted"), ErrorKind::NotYet);
        assert_eq!(of(400, "PublicIPAddressCannotBeDeleted"), ErrorKind::NotYet);
        assert_eq!(of(400, "CannotDeleteNatGatewayAssociatedToSubnet"), ErrorKind::NotYet);
        assert_eq!(of(404, "ResourceGroupNotFound"), ErrorKind::NotYet);
        assert_eq!(of(400, "PublicIPCountLimitReached"), ErrorKind::Quota);
        assert_eq!(of(409, "OperationNotAllowed"), ErrorKind::Refused, "no word of a quota");
        assert_eq!(of(403, "RequestDisallowedByPolicy"), ErrorKind::Refused);
        assert_eq!(of(400, "InvalidParameter"), ErrorKind::Refused);
        assert_eq!(of(500, "InternalServerError"), ErrorKind::Ambiguous);
        assert_eq!(of(412, "PreconditionFailed"), ErrorKind::Ambiguous);
        assert_eq!(failed("x", &answer(502, &[], "<html>")).kind, ErrorKind::Ambiguous);
    }

    /// As Microsoft's pages on quota errors and on resource providers show them.
    const OVER_QUOTA: &str = "Operation could not be completed as it results in exceeding approved standardNCADSA100v4Family Cores quota. Additional details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: 0, Current Usage: 0, Additional Required: 24, (Minimum) New Limit Required: 24. Submit a request for Quota increase at https://aka.ms/ProdportalCRP/ by specifying parameters listed in the 'Details' section for deployment to succeed.";
    const UNREGISTERED: &str = "The subscription is not registered to use namespace 'Microsoft.ManagedIdentity'. See https://aka.ms/rps-not-found for how to register subscriptions.";

    #[test]
    fn an_error_names_the_command_that_helps() {
        let of = |status: u16, code: &str, message: &str| {
            failed("x", &answer(status, &[], &json!({"error": {"code": code, "message": message}}).to_string()))
        };
        let quota = of(409, "OperationNotAllowed", OVER_QUOTA);
        assert_eq!(quota.kind, ErrorKind::Quota);
        let next = quota.next().unwrap();
        assert!(next.contains("--resource-name \"standardNCADSA100v4Family\""), "{next}");
        assert!(next.contains("locations/westeurope") && next.contains("value=24"), "{next}");
        let unregistered = of(409, "MissingSubscriptionRegistration", UNREGISTERED);
        assert_eq!(unregistered.kind, ErrorKind::Credentials);
        assert_eq!(unregistered.next(), Some("az provider register --namespace Microsoft.ManagedIdentity --wait"));
        let feature = "The property 'securityProfile.encryptionAtHost' is not valid because the 'Microsoft.Compute/EncryptionAtHost' feature is not enabled for this subscription.";
        assert!(of(400, "InvalidParameter", feature).next().unwrap().starts_with("az feature register"));
        assert_eq!(of(401, "InvalidAuthenticationToken", "m").next(), Some("az login"));
    }

    #[test]
    fn what_lies_beneath_tells_more_than_what_is_on_top() {
        let told = Told::in_json(&json!({"error": {"code": "DeploymentFailed", "message": "at least one failed",
            "details": [{"code": "Conflict", "details": [{"code": "SkuNotAvailable", "message": "m"}]}]}}));
        assert_eq!(operation_failed("x", &told).kind, ErrorKind::Capacity);
        assert_eq!(operation_failed("x", &Told::default()).to_string(), "x: it failed and gave no reason");
    }

    #[test]
    fn blob_storage_says_it_in_a_header() {
        let body = "<?xml version=\"1.0\"?><Error><Code>AuthorizationPermissionMismatch</Code><Message>This request is not authorized to perform this operation using this permission.\nRequestId:1\nTime:2</Message></Error>";
        let error = failed("x", &answer(403, &[("x-ms-error-code", "AuthorizationPermissionMismatch")], body));
        assert_eq!(error.kind, ErrorKind::NotYet);
        assert_eq!(
            error.to_string(),
            "x: This request is not authorized to perform this operation using this permission. (AuthorizationPermissionMismatch)"
        );
        assert_eq!(failed("x", &answer(404, &[], "")).to_string(), "x: it answered 404 and no reason");
    }

    #[test]
    fn how_long_to_wait_is_kept() {
        let body = json!({"error": {"code": "TooManyRequests", "message": "m"}}).to_string();
        let error = failed("x", &answer(429, &[("retry-after", "17")], &body));
        assert_eq!(error.kind, ErrorKind::Throttled { retry_after: Some(std::time::Duration::from_secs(17)) });
    }
}
