//! The API that clients use.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use spec::metric::gateway;
use spec::openai::ErrorKind;
use tokio::time::Instant;

use crate::answer::{self, Routed, refusal};
use crate::body::RequestBody;
use crate::entry::{Entry, Findings, Recorded};
use crate::headers;
use crate::keys::ClientKey;
use crate::metrics::NO_VARIANT;
use crate::plane::DataPlane;
use crate::proxy::{self, Caller, ClientRequest, Endpoint};
use crate::recorder::Unrecorded;

/// The address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

pub fn router(plane: Arc<DataPlane>) -> Router {
    let pass = |endpoint: Endpoint| {
        post(move |State(plane): State<Arc<DataPlane>>, request: Request| async move {
            pass_on(&plane, endpoint, request).await
        })
    };
    let keyed = Router::new()
        .route(Endpoint::ChatCompletions.path(), pass(Endpoint::ChatCompletions))
        .route(Endpoint::Completions.path(), pass(Endpoint::Completions))
        .route(Endpoint::Embeddings.path(), pass(Endpoint::Embeddings))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&plane), require_key));
    Router::new()
        .merge(keyed)
        .merge(open())
        .fallback(answer::unknown_path)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&plane), account))
        .with_state(plane)
}

/// What needs no key: how the gateway is.
fn open() -> Router<Arc<DataPlane>> {
    Router::new().route("/health", get(health)).route("/ready", get(ready)).route("/metrics", get(metrics))
}

/// The same for whoever is on this machine.
pub fn signs<S: Clone + Send + Sync + 'static>(plane: Arc<DataPlane>) -> Router<S> {
    open().with_state(plane)
}

/// Counts and logs what the gateway answered by itself.
async fn account(State(plane): State<Arc<DataPlane>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let address = address(&request);
    let response = next.run(request).await;
    if response.extensions().get::<Routed>().is_some() {
        return response;
    }
    let response = record_refusal(&plane, &path, address, response).await;
    let status = response.status();
    plane.metrics.count(&gateway::ANSWERS, &[NO_VARIANT, status.as_str()], 1);
    let duration_ms = began.elapsed().as_millis() as u64;
    if status.is_success() && !path.starts_with("/v1/") {
        tracing::debug!(%method, path, status = status.as_u16(), duration_ms, "request");
    } else {
        tracing::info!(%method, path, status = status.as_u16(), duration_ms, "request");
    }
    response
}

/// Who was turned away at the door stands in the audit log too.
async fn record_refusal(plane: &DataPlane, path: &str, address: Option<SocketAddr>, response: Response) -> Response {
    let is_recorded = response.extensions().get::<Recorded>().is_some();
    match &plane.recorder {
        // While nothing can be written, what comes to nothing is not held for it.
        Some(recorder)
            if !recorder.refuses() && !is_recorded && path.starts_with("/v1/") && !response.status().is_success() =>
        {
            let caller = Caller { key: response.extensions().get().cloned(), address };
            let entry = Entry::begin(recorder, caller.asking(path), None, Findings::default());
            proxy::turn_away(response, "refused", Some(entry)).await
        }
        _ => response,
    }
}

fn address(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}

async fn require_key(State(plane): State<Arc<DataPlane>>, mut request: Request, next: Next) -> Response {
    let settings = plane.settings();
    if let Some(refused) = answer::unauthorized(settings.api_keys.admit(request.headers()), "API key") {
        return refused;
    }
    let Some(key) = settings.api_keys.find(request.headers()) else { return next.run(request).await };
    request.extensions_mut().insert(key.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(key);
    response
}

async fn pass_on(plane: &Arc<DataPlane>, endpoint: Endpoint, request: Request) -> Response {
    if plane.recorder.as_ref().is_some_and(|recorder| recorder.refuses()) {
        return proxy::keep_back(Unrecorded);
    }
    let (parts, body) = request.into_parts();
    let caller =
        Caller { key: parts.extensions.get().cloned(), address: parts.extensions.get::<Peer>().map(|peer| peer.0) };
    if let Some(refused) = refuse_content_type(&parts.headers) {
        return refused;
    }
    let bytes = match answer::read_body(body, plane.settings().config.limits.body_bytes).await {
        Ok(bytes) => bytes,
        Err(refused) => return refused,
    };
    match RequestBody::parse(bytes) {
        Ok(body) => proxy::answer(plane, ClientRequest { endpoint, caller, headers: parts.headers, body }).await,
        Err(error) => refusal(ErrorKind::InvalidRequest, error.to_string(), error.param(), None),
    }
}

/// A client that names no type is taken to mean JSON.
fn refuse_content_type(headers: &HeaderMap) -> Option<Response> {
    let given = headers.get(CONTENT_TYPE)?;
    let media_type = headers::media_type(headers).unwrap_or_default();
    if media_type.eq_ignore_ascii_case("application/json") {
        return None;
    }
    let given = String::from_utf8_lossy(given.as_bytes()).into_owned();
    let message = format!("the content type must be application/json, not {given}");
    Some(refusal(ErrorKind::UnsupportedMediaType, message, None, None))
}

async fn models(State(plane): State<Arc<DataPlane>>, Extension(key): Extension<ClientKey>) -> Response {
    let mut names = plane.settings().model_names();
    names.retain(|name| key.0.may_use(name));
    let list = json!({"object": "list", "data": names.iter().map(|name| entry(name)).collect::<Vec<_>>()});
    answer::json(StatusCode::OK, &list)
}

/// One model; its name may contain slashes.
async fn model(
    State(plane): State<Arc<DataPlane>>,
    Extension(key): Extension<ClientKey>,
    Path(name): Path<String>,
) -> Response {
    if plane.settings().takes_model(&name) && key.0.may_use(&name) {
        return answer::json(StatusCode::OK, &entry(&name));
    }
    let message = format!("there is no model {name:?}: GET /v1/models lists those there are");
    refusal(ErrorKind::NotFound, message, Some("model"), Some("model_not_found"))
}

fn entry(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "dsctl"})
}

/// The process lives.
async fn health() -> Response {
    answer::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// New requests are wanted: there is always a variant, since no configuration without one is put in force.
async fn ready(State(plane): State<Arc<DataPlane>>) -> Response {
    if plane.is_draining() {
        return refusal(ErrorKind::Unavailable, "the gateway is shutting down", None, Some("draining"));
    }
    answer::json(StatusCode::OK, &json!({"status": "ready"}))
}

/// Open to this machine, where Prometheus is; from elsewhere with an API key.
async fn metrics(State(plane): State<Arc<DataPlane>>, request: Request) -> Response {
    let is_local = request.extensions().get::<Peer>().is_some_and(|peer| peer.0.ip().to_canonical().is_loopback());
    if !is_local {
        let admission = plane.settings().api_keys.admit(request.headers());
        if let Some(refused) = answer::unauthorized(admission, "API key") {
            return refused;
        }
    }
    match plane.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))], text)
            .into_response(),
        Err(error) => refusal(ErrorKind::Server, format!("metrics can't be shown: {error}"), None, None),
    }
}
