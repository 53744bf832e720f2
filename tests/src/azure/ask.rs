//! A request as Azure understands it, an answer, and a refusal in the words of ARM or of the blob service.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Url;
use serde_json::{Value, json};

use crate::proxy::message;

/// Larger than any artifact of the tests.
const LARGEST_BODY: usize = 256 << 20;

/// A request, whole.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub method: Method,
    /// As it came: path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl From<&message::Asked> for Asked {
    fn from(asked: &message::Asked) -> Self {
        let message::Asked { method, target, headers, body } = asked.clone();
        Self { method, target, headers, body }
    }
}

impl Asked {
    /// None for a client that went away in the middle of it.
    pub async fn read(request: Request) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, LARGEST_BODY).await.ok()?;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Some(Self { method: parts.method, target, headers: parts.headers, body })
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The path's parts, decoded.
    pub fn segments(&self) -> Vec<String> {
        self.path().split('/').filter(|part| !part.is_empty()).map(decoded).collect()
    }

    pub fn query(&self) -> Vec<(String, String)> {
        let encoded = self.target.split_once('?').map_or("", |(_, query)| query);
        let url = Url::parse(&format!("http://loopback/?{encoded}")).expect("a URL of any query");
        url.query_pairs().into_owned().collect()
    }

    /// A query parameter; Azure does not tell the case of their names apart.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query().into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Null for a body that is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The token of who asks.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ").filter(|token| !token.is_empty())
    }

    /// Names and values of `x-ms-meta-…`.
    pub fn metadata(&self) -> Vec<(String, String)> {
        let named = self.headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix("x-ms-meta-")?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        });
        named.collect()
    }
}

/// `%2F` becomes a slash.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let value = hex.filter(|_| *first == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub fn json(status: u16, value: &Value) -> Self {
        let answer = Self { body: value.to_string().into(), ..Self::empty(status) };
        answer.with("content-type", "application/json; charset=utf-8")
    }

    pub fn xml(status: u16, text: &str) -> Self {
        let body = format!("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>{text}");
        Self { body: body.into(), ..Self::empty(status) }.with("content-type", "application/xml")
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        self.headers.insert(name, HeaderValue::from_str(value).expect("a header's value"));
        self
    }

    pub const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }

    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl From<Answer> for message::Answer {
    fn from(answer: Answer) -> Self {
        Self { status: answer.status, headers: answer.headers, body: answer.body }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, self.headers, Body::from(self.body)).into_response()
    }
}

/// An error as Azure says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    /// `error` of ARM's body.
    pub fn error(&self) -> Value {
        json!({"code": self.code, "message": self.message})
    }

    /// In the words of ARM and all that stands behind it.
    pub fn arm(&self) -> Answer {
        let answer = Answer::json(self.status, &json!({"error": self.error()})).with("x-ms-failure-cause", "gateway");
        if self.status == 429 { answer.with("retry-after", "0") } else { answer }
    }

    /// In the words of the blob service.
    pub fn blob(&self) -> Answer {
        let Self { status, code, message } = self;
        let text = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        Answer::xml(*status, &text).with("x-ms-error-code", code)
    }

    /// By who was asked.
    pub fn answer(&self, is_blob: bool, method: &Method) -> Answer {
        let mut answer = if is_blob { self.blob() } else { self.arm() };
        if method == Method::HEAD || self.status == 304 {
            answer.body = Bytes::new();
            answer.headers.remove(header::CONTENT_TYPE);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(decoded("a%2Fb%20c%zz+%25"), "a/b c%zz+%");
    }

    #[test]
    fn refusals_are_written_as_each_service_writes_them() {
        let refusal = Refusal::new(404, "BlobNotFound", "it is not there");
        assert_eq!(refusal.arm().value(), json!({"error": {"code": "BlobNotFound", "message": "it is not there"}}));
        assert_eq!(refusal.blob().headers["x-ms-error-code"], "BlobNotFound");
        assert!(refusal.answer(true, &Method::HEAD).body.is_empty());
    }
}
