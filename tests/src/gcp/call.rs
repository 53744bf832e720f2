//! A call as a method of Google's, and what is said to it: an answer, or a refusal in Google's words.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::contract::Found;

/// Larger than any artifact of the tests.
const LARGEST_BODY: usize = 256 << 20;

/// A request, whole.
#[derive(Debug)]
pub(super) struct Asked {
    pub verb: Method,
    /// As it came, encoded.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    /// None for a client that went away in the middle of it.
    pub async fn read(request: Request) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, LARGEST_BODY).await.ok()?;
        let query = pairs(parts.uri.query().unwrap_or_default());
        Some(Self { verb: parts.method, path: parts.uri.path().to_owned(), query, headers: parts.headers, body })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn pairs(encoded: &str) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!("http://loopback/?{encoded}")).expect("a URL of any query");
    url.query_pairs().into_owned().collect()
}

/// Content that came along with what is told of it.
#[derive(Debug, Clone)]
pub(super) struct Media {
    pub kind: String,
    pub bytes: Bytes,
}

/// A request that the contract knows.
#[derive(Debug)]
pub(super) struct Call {
    /// `compute.instances.insert`.
    pub method: &'static str,
    path: BTreeMap<String, String>,
    query: Vec<(String, String)>,
    /// Null without one.
    pub body: Value,
    pub media: Option<Media>,
    range: Option<String>,
}

impl Call {
    pub fn new(found: &Found, asked: &Asked, body: Value, media: Option<Media>) -> Self {
        let range = asked.header(header::RANGE.as_str()).map(str::to_owned);
        Self { method: found.id(), path: found.path.clone(), query: asked.query.clone(), body, media, range }
    }

    /// Collection and verb of a method: `("instances", "insert")`.
    pub fn act(&self) -> (&'static str, &'static str) {
        let mut parts = self.method.rsplit('.');
        let verb = parts.next().unwrap_or_default();
        (parts.next().unwrap_or_default(), verb)
    }

    /// What stands in a gap of the path; empty where the path has none of that name.
    pub fn path(&self, gap: &str) -> &str {
        self.path.get(gap).map_or("", String::as_str)
    }

    /// Of the query; an empty one counts as none.
    pub fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.query(name).and_then(|value| value.parse().ok())
    }

    /// Text of the body, empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        text(&self.body[field])
    }

    /// The header `range`.
    pub fn range(&self) -> Option<&str> {
        self.range.as_deref()
    }
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a list; of anything else none.
pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What a method says when it does what was asked.
#[derive(Debug)]
pub(super) enum Reply {
    Json(Value),
    Nothing,
    /// Content, with headers of its own.
    Content {
        status: u16,
        headers: Vec<(&'static str, String)>,
        bytes: Bytes,
    },
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Json(value) => axum::Json(value).into_response(),
            Self::Nothing => StatusCode::NO_CONTENT.into_response(),
            Self::Content { status, headers, bytes } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = (status, Body::from(bytes)).into_response();
                for (name, value) in headers {
                    response.headers_mut().insert(name, value.parse().expect("a header's value"));
                }
                response
            }
        }
    }
}

/// An error as Google says it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub status: u16,
    pub reason: String,
    pub message: String,
    details: Vec<Value>,
}

impl Refusal {
    pub fn new(status: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into(), details: Vec::new() }
    }

    pub fn with_detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// A field that cannot be what it is.
    pub fn invalid(field: &str, value: &Value, why: &str) -> Self {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Self::new(400, "invalid", format!("Invalid value for field '{field}': '{value}'. {why}"))
    }

    /// What Google serves and this fake does not: a mistake of the test kit, never of the caller.
    pub fn unserved(what: impl std::fmt::Display) -> Self {
        Self::new(501, "notImplemented", format!("the fake does not serve {what}"))
    }

    pub const fn is_unserved(&self) -> bool {
        self.status == 501
    }

    /// The body. Storage says no `status`, and of Compute only what stands before it: who is asking, how often, for how much.
    pub fn body(&self, method: &str) -> Value {
        let Self { status, reason, message, details } = self;
        let domain =
            if reason.starts_with("quota") || reason.ends_with("LimitExceeded") { "usageLimits" } else { "global" };
        let mut error = json!({
            "code": status, "message": message,
            "errors": [{"message": message, "domain": domain, "reason": reason}],
        });
        let is_plain = method.starts_with("compute.") && matches!(status, 400 | 404 | 409 | 412);
        if !method.starts_with("storage.") && !is_plain {
            error["status"] = json!(status_name(*status, reason));
        }
        if !details.is_empty() {
            error["details"] = json!(details);
        }
        json!({"error": error})
    }

    pub fn answer(&self, method: &str) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self.body(method))).into_response()
    }
}

/// Of `google.rpc.Code`.
fn status_name(status: u16, reason: &str) -> &'static str {
    match (status, reason) {
        (400, _) => "INVALID_ARGUMENT",
        (401, _) => "UNAUTHENTICATED",
        (403, "quotaExceeded") | (429, _) => "RESOURCE_EXHAUSTED",
        (403, _) => "PERMISSION_DENIED",
        (404, _) => "NOT_FOUND",
        (409, "alreadyExists") => "ALREADY_EXISTS",
        (409, _) => "ABORTED",
        (412, _) => "FAILED_PRECONDITION",
        (501, _) => "UNIMPLEMENTED",
        (503, _) => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}
