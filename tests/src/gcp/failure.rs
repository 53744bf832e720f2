//! How an operation of Compute's may end other than well.

use serde_json::{Value, json};

/// An error inside an operation, with the HTTP status that goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    code: String,
    message: String,
    status: u16,
    details: Vec<Value>,
}

impl Failure {
    pub fn new(code: &str, status: u16, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), status, details: Vec::new() }
    }

    /// No such machine to be had in the zone just now.
    pub fn exhausted(project: &str, zone: &str) -> Self {
        let message = format!(
            "The zone 'projects/{project}/zones/{zone}' does not have enough resources available to fulfill the request.  \
             Try a different zone, or try again later."
        );
        Self::new("ZONE_RESOURCE_POOL_EXHAUSTED", 503, message)
    }

    /// The same as Google says it when it knows what was missing.
    pub fn exhausted_with_details(project: &str, zone: &str) -> Self {
        let message = format!(
            "The zone 'projects/{project}/zones/{zone}' does not have enough resources available to fulfill the request.  \
             '(resource type:compute)'."
        );
        Self::new("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", 503, message)
    }

    /// `place` is `global` or a region.
    pub fn quota(metric: &str, limit: f64, place: &str) -> Self {
        let mut failure = Self::new("QUOTA_EXCEEDED", 403, quota_message(metric, limit, place));
        let name = metric.replace('_', "-");
        let (suffix, scope) =
            if place == "global" { ("per-project", "global") } else { ("per-project-region", "region") };
        failure.details.push(json!({"quotaInfo": {
            "metricName": format!("compute.googleapis.com/{}", metric.to_lowercase()),
            "limitName": format!("{name}-{suffix}"), "limit": limit, "dimensions": {scope: place},
        }}));
        failure
    }

    /// Something broke at Google's.
    pub fn internal() -> Self {
        Self::new(
            "INTERNAL_ERROR",
            500,
            "Internal error. Please try again or contact Google Support. (Code: '6034C7B3')",
        )
    }

    /// `error` of an operation.
    pub(super) fn error(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if !self.details.is_empty() {
            error["errorDetails"] = json!(self.details);
        }
        json!({"errors": [error]})
    }

    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// As the status line of HTTP says it, in capitals.
    pub(super) const fn status_text(&self) -> &'static str {
        match self.status {
            400 => "BAD REQUEST",
            403 => "FORBIDDEN",
            404 => "NOT FOUND",
            409 => "CONFLICT",
            503 => "SERVICE UNAVAILABLE",
            _ => "INTERNAL SERVER ERROR",
        }
    }
}

pub(super) fn quota_message(metric: &str, limit: f64, place: &str) -> String {
    let of = if place == "global" { "globally".to_owned() } else { format!("in region {place}") };
    format!("Quota '{metric}' exceeded.  Limit: {limit:.1} {of}.")
}
