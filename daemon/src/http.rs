//! The HTTP side: routes, the order in which a request is checked, and refusals.
//!
//! key -> readiness -> content type -> size -> JSON and fields -> model name -> context -> queue

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::BytesMut;
use futures::StreamExt;
use serde_json::{Value, json};
use spec::openai::{ErrorBody, ErrorKind};
use tokio::sync::Semaphore;

use crate::answer::{self, Form};
use crate::engine::SubmitError;
use crate::generate::generate;
use crate::metrics::Rejection;
use crate::request_fields::RequestError;
use crate::serve::{App, Phase, Service};
use crate::tokens;

const LARGEST_BODY: usize = 4 << 20;
/// A body that is too large is still read this far, so that the client gets to the answer instead of a broken pipe.
const LARGEST_DISCARDED: usize = 64 << 20;
/// What a client is told to wait for while the model loads.
const LOADING_RETRY: Duration = Duration::from_secs(5);

/// Prompts that are split into tokens at a time, in this process: that comes before the queue, whose limit does not hold
/// it, and must leave the machine to the model.
static SPLITTING: Semaphore = Semaphore::const_new(2);

pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(async || Json(json!({"status": "ok"}))))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/models", get(list_models))
        .route("/v1/models/{*name}", get(show_model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), authorize))
        .layer(from_fn_with_state(app.clone(), log))
        .with_state(app)
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let status = app.phase().name();
    match app.phase() {
        Phase::Ready(_) => Json(json!({"status": status})).into_response(),
        Phase::Loading | Phase::Draining => {
            let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": status}))).into_response();
            set_retry_after(&mut response, LOADING_RETRY);
            response
        }
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => failure(&RequestError::new(ErrorKind::Server, error.to_string())),
    }
}

async fn list_models(State(app): State<Arc<App>>) -> Json<Value> {
    Json(answer::models(&app.model_name, app.created))
}

async fn show_model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match check_model(&app, &name) {
        Ok(()) => Json(answer::model(&app.model_name, app.created)).into_response(),
        Err(error) => failure(&error),
    }
}

async fn chat(State(app): State<Arc<App>>, request: Request) -> Response {
    generate(&app, Form::Chat, request).await.unwrap_or_else(|refusal| refusal.into_response(&app))
}

async fn completion(State(app): State<Arc<App>>, request: Request) -> Response {
    generate(&app, Form::Completion, request).await.unwrap_or_else(|refusal| refusal.into_response(&app))
}

async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Response {
    tokens::tokenize(&app, request).await.unwrap_or_else(|refusal| refusal.into_response(&app))
}

async fn detokenize(State(app): State<Arc<App>>, request: Request) -> Response {
    tokens::detokenize(&app, request).await.unwrap_or_else(|refusal| refusal.into_response(&app))
}

/// Why a request was not answered, and what to count it as.
#[derive(Debug)]
pub struct Refusal {
    pub error: RequestError,
    reason: Option<Rejection>,
    retry_after: Option<Duration>,
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self { error, reason: Some(Rejection::Invalid), retry_after: None }
    }
}

impl Refusal {
    fn not_ready(message: &str) -> Self {
        let error = RequestError::new(ErrorKind::Unavailable, message);
        Self { error, reason: Some(Rejection::NotReady), retry_after: Some(LOADING_RETRY) }
    }

    /// After the request ran.
    pub fn failed(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { error: RequestError::new(kind, message), reason: None, retry_after: None }
    }

    fn into_response(self, app: &App) -> Response {
        if let Some(reason) = self.reason {
            app.metrics.reject(reason);
        }
        let mut response = failure(&self.error);
        if let Some(after) = self.retry_after {
            set_retry_after(&mut response, after);
        }
        response
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        match error {
            SubmitError::QueueFull { retry_after } => Self {
                error: RequestError::new(ErrorKind::RateLimit, message).with_code("queue_full"),
                reason: Some(Rejection::QueueFull),
                retry_after: Some(retry_after),
            },
            SubmitError::Stopped => Self::failed(ErrorKind::Server, message),
        }
    }
}

/// The service, once it is ready.
pub fn service(app: &App) -> Result<Arc<Service>, Refusal> {
    match app.phase() {
        Phase::Ready(service) => Ok(service),
        Phase::Loading => Err(Refusal::not_ready("the model is still loading")),
        Phase::Draining => Err(Refusal::not_ready("the server is shutting down")),
    }
}

/// The whole body of a request that says that it is JSON.
pub async fn json_body(request: Request) -> Result<Bytes, RequestError> {
    check_content_type(request.headers())?;
    read_body(request).await
}

/// Runs what splits text: that takes a while for a long one, so not on a thread that serves connections, and not many at
/// a time. It goes on if the client leaves, so its permit goes with it.
pub async fn splitting<T: Send + 'static>(
    split: impl FnOnce() -> Result<T, RequestError> + Send + 'static,
) -> Result<T, Refusal> {
    let permit = SPLITTING.acquire().await.map_err(|error| Refusal::failed(ErrorKind::Server, error.to_string()))?;
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        split()
    });
    Ok(done.await.map_err(|error| Refusal::failed(ErrorKind::Server, error.to_string()))??)
}

fn check_content_type(headers: &HeaderMap) -> Result<(), RequestError> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = format!("the content type must be application/json, got {value:?}");
    Err(RequestError::new(ErrorKind::UnsupportedMediaType, message))
}

async fn read_body(request: Request) -> Result<Bytes, RequestError> {
    let too_large = || {
        let message = format!("the request body is larger than {} MiB", LARGEST_BODY >> 20);
        RequestError::new(ErrorKind::TooLarge, message)
    };
    let mut stream = request.into_body().into_data_stream();
    let mut body = BytesMut::new();
    let mut length = 0usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            RequestError::new(ErrorKind::InvalidRequest, format!("the request body can't be read: {error}"))
        })?;
        length += chunk.len();
        if length <= LARGEST_BODY {
            body.extend_from_slice(&chunk);
        } else if length > LARGEST_DISCARDED {
            break;
        }
    }
    if length > LARGEST_BODY { Err(too_large()) } else { Ok(body.freeze()) }
}

pub fn check_model(app: &App, name: &str) -> Result<(), RequestError> {
    if name == app.model_name {
        return Ok(());
    }
    let message = format!("the model {name:?} does not exist: this server serves {:?}", app.model_name);
    let error = RequestError::new(ErrorKind::NotFound, message).with_code("model_not_found");
    Err(RequestError { param: Some("model".to_owned()), ..error })
}

async fn unknown_path(request: Request) -> Response {
    let message = format!("no such path: {} {}", request.method(), request.uri().path());
    failure(&RequestError::new(ErrorKind::NotFound, message).with_code("unknown_path"))
}

async fn wrong_method(request: Request) -> Response {
    let message = format!("{} is not allowed on {}", request.method(), request.uri().path());
    failure(&RequestError::new(ErrorKind::MethodNotAllowed, message))
}

/// Probes and scrapes need no key; everything else does, also what does not exist.
async fn authorize(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_open = matches!(request.uri().path(), "/health" | "/ready" | "/metrics");
    let Some(keys) = app.keys.as_ref().filter(|_| !is_open) else { return next.run(request).await };
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if keys.accept(header) {
        return next.run(request).await;
    }
    app.metrics.reject(Rejection::Unauthorized);
    let message = match header {
        None => "an API key is required: send it as `Authorization: Bearer KEY`",
        Some(_) => "the API key is not accepted",
    };
    let mut response = failure(&RequestError::new(ErrorKind::Authentication, message).with_code("invalid_api_key"));
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// One line a request, without its text.
async fn log(State(_): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (method, path, begin) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).await;
    let (status, seconds) = (response.status().as_u16(), begin.elapsed().as_secs_f64());
    if path.starts_with("/v1/") {
        tracing::info!(%method, path, status, seconds, "http");
    } else {
        tracing::debug!(%method, path, status, seconds, "http");
    }
    response
}

fn failure(error: &RequestError) -> Response {
    let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json::<ErrorBody>(error.body())).into_response()
}

fn set_retry_after(response: &mut Response, after: Duration) {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
}
