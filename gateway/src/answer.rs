//! Answers of the gateway's own: JSON values and the API's error object; and bodies of requests, read to the limit.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use spec::openai::ErrorKind;

use crate::keys::Admission;

/// Marks an answer whose request writes its own log line and is counted already.
#[derive(Debug, Clone, Copy)]
pub struct Routed;

pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response(),
        Err(error) => refusal(ErrorKind::Server, error.to_string(), None, None),
    }
}

/// An error object with the status of its kind.
pub fn refusal(kind: ErrorKind, message: impl Into<String>, param: Option<&str>, code: Option<&str>) -> Response {
    let status = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    refusal_with(status, kind, message, param, code)
}

/// An error object with a status that no kind has: 409 and 422 of the admin API.
pub fn refusal_with(
    status: StatusCode,
    kind: ErrorKind,
    message: impl Into<String>,
    param: Option<&str>,
    code: Option<&str>,
) -> Response {
    json(status, &kind.body(message, param, code))
}

/// The answer to a request without the right key; `what` names the key that is meant.
pub fn unauthorized(admission: Admission, what: &str) -> Option<Response> {
    let message = match admission {
        Admission::Accepted => return None,
        Admission::Missing => format!("no {what} given: send it as \"Authorization: Bearer KEY\""),
        Admission::Wrong => format!("the {what} given is not valid"),
        Admission::Expired => format!("the {what} given has expired"),
    };
    let mut response = refusal(ErrorKind::Authentication, message, None, Some("invalid_api_key"));
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Some(response)
}

/// Reads a request's body up to a limit.
pub async fn read_body(body: Body, limit: u64) -> Result<Bytes, Response> {
    match Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX)).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(refusal(ErrorKind::TooLarge, format!("the body is larger than {limit} bytes"), None, None))
        }
        Err(_) => Err(refusal(ErrorKind::InvalidRequest, "the body broke off before its end", None, None)),
    }
}

pub async fn unknown_path(uri: http::Uri) -> Response {
    refusal(ErrorKind::NotFound, format!("there is nothing at {}", uri.path()), None, Some("unknown_path"))
}

pub async fn wrong_method(method: http::Method, uri: http::Uri) -> Response {
    let message = format!("{} does not take {method}", uri.path());
    refusal(ErrorKind::MethodNotAllowed, message, None, Some("wrong_method"))
}
