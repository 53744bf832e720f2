//! A scripted OpenAI API: it says who it is, counts what it was asked, and fails as it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::http::runtime;

/// What it does with the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    Answer,
    /// This status, with the API's error object.
    Fail(u16),
    /// Answers after this long.
    Slow(Duration),
    /// Streams break off before their end; whole answers before their first byte.
    Cut,
}

#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    last_authorization: Option<String>,
    models: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    script: Mutex<Script>,
    seen: Mutex<Seen>,
}

/// Lives until the process ends: its port is its own.
#[derive(Debug)]
pub struct Mock {
    address: SocketAddr,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mock {
    /// `name` is what its answers say.
    pub fn start(name: &str) -> Self {
        let shared =
            Arc::new(Shared { name: name.to_owned(), script: Mutex::new(Script::Answer), seen: Mutex::default() });
        let router = Router::new()
            .route("/ready", get(ready))
            .route("/v1/chat/completions", post(chat))
            .with_state(Arc::clone(&shared));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener for the runtime");
        let address = listener.local_addr().expect("the mock's address");
        runtime().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("the mock serves");
        });
        Self { address, shared }
    }

    /// Ends in `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn ready_url(&self) -> String {
        format!("http://{}/ready", self.address)
    }

    pub fn play(&self, script: Script) {
        *lock(&self.shared.script) = script;
    }

    pub fn requests(&self) -> u64 {
        lock(&self.shared.seen).requests
    }

    /// The `Authorization` header of the last request.
    pub fn last_authorization(&self) -> Option<String> {
        lock(&self.shared.seen).last_authorization.clone()
    }

    /// The model names that it was asked for, in order.
    pub fn models(&self) -> Vec<String> {
        lock(&self.shared.seen).models.clone()
    }
}

async fn ready(State(mock): State<Arc<Shared>>) -> StatusCode {
    match *lock(&mock.script) {
        Script::Answer | Script::Slow(_) | Script::Cut => StatusCode::OK,
        Script::Fail(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn chat(State(mock): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    note(&mock, &headers, &request);
    let script = *lock(&mock.script);
    let is_stream = request["stream"] == true;
    match script {
        Script::Fail(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return failure(status, "scripted failure");
        }
        Script::Slow(time) => tokio::time::sleep(time).await,
        Script::Answer | Script::Cut => {}
    }
    match (is_stream, script) {
        (true, _) => stream(&mock.name, script == Script::Cut),
        (false, Script::Cut) => broken(Vec::new()),
        (false, _) => whole(&mock.name),
    }
}

fn note(mock: &Shared, headers: &HeaderMap, request: &Value) {
    let mut seen = lock(&mock.seen);
    seen.requests += 1;
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    seen.last_authorization = authorization.map(str::to_owned);
    seen.models.push(request["model"].as_str().unwrap_or_default().to_owned());
}

fn failure(status: StatusCode, message: &str) -> Response {
    let error = json!({"error": {"message": message, "type": "server_error", "param": null, "code": null}});
    (status, axum::Json(error)).into_response()
}

fn whole(name: &str) -> Response {
    let message = json!({"role": "assistant", "content": format!("{name} speaks")});
    axum::Json(json!({
        "id": "chatcmpl-mock", "object": "chat.completion", "created": 0, "model": name,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }))
    .into_response()
}

fn stream(name: &str, is_cut: bool) -> Response {
    let piece = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        let chunk = json!({"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 0, "model": name, "choices": [choice]});
        format!("data: {chunk}\n\n")
    };
    let mut pieces = vec![
        piece(json!({"role": "assistant", "content": name}), Value::Null),
        piece(json!({"content": " speaks"}), Value::Null),
    ];
    if is_cut {
        return broken(pieces);
    }
    pieces.extend([piece(json!({}), json!("stop")), "data: [DONE]\n\n".to_owned()]);
    events(Body::from(pieces.concat()))
}

/// The connection ends where the body should go on.
fn broken(pieces: Vec<String>) -> Response {
    let good = futures::stream::iter(pieces.into_iter().map(|piece| Ok(Bytes::from(piece))));
    let cut = futures::stream::once(async {
        // A cut in the same breath would take the pieces before it along: they are still in the server's buffer.
        tokio::time::sleep(Duration::from_millis(5)).await;
        Err(std::io::Error::other("cut by the script"))
    });
    events(Body::from_stream(good.chain(cut)))
}

fn events(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
