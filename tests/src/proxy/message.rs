//! A request and an answer, whole.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Client;
use serde_json::Value;

/// Larger than a program for a host, from a debug build.
const LARGEST_BODY: usize = 256 << 20;

#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    /// As it came: `/bucket/key?tagging`.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
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

    pub fn query_text(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub fn query(&self) -> Vec<(String, String)> {
        pairs(self.query_text())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The first value of a form's field.
pub fn field<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

pub fn pairs(encoded: &str) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!("http://loopback/?{encoded}")).expect("a URL of any query");
    url.query_pairs().into_owned().collect()
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn new(status: u16, kind: &'static str, body: String) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        Self { status, headers, body: body.into() }
    }

    pub const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, self.headers, Body::from(self.body)).into_response()
    }
}

/// Asks the cloud itself; the error says that it is away.
pub async fn pass_on(client: &Client, base: &str, asked: &Asked) -> Result<Answer, String> {
    let mut headers = asked.headers.clone();
    for own in [header::CONNECTION, header::EXPECT, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        headers.remove(own);
    }
    let request = client.request(asked.method.clone(), format!("{base}{}", asked.target));
    let answered = async {
        let response = request.headers(headers).body(asked.body.clone()).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let headers = passed(headers, asked);
        Ok::<_, reqwest::Error>(Answer { status, headers, body: response.bytes().await? })
    };
    answered.await.map_err(|error| format!("{error:?}"))
}

/// The headers of an answer that go on to the client.
fn passed(mut headers: HeaderMap, asked: &Asked) -> HeaderMap {
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    // Of a HEAD it is the length of what a GET would give.
    if asked.method != "HEAD" {
        headers.remove(header::CONTENT_LENGTH);
    }
    headers
}
