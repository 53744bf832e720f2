//! Somebody who is told of alerts.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Json, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;

use crate::http::runtime;
use crate::proxy::lock;

/// What came so far; listens until the process ends.
#[derive(Debug, Clone, Default)]
pub struct Webhook {
    told: Arc<Mutex<Vec<Value>>>,
    /// Messages of Slack's form.
    posted: Arc<Mutex<Vec<Value>>>,
    /// That whoever tells must bear; others are sent away.
    token: String,
}

impl Webhook {
    pub fn listen(listener: TcpListener, token: &str) -> Self {
        let webhook = Self { token: token.to_owned(), ..Self::default() };
        let router =
            Router::new().route("/", post(take)).route("/slack", post(take_posted)).with_state(webhook.clone());
        listener.set_nonblocking(true).expect("a listener for the runtime");
        runtime().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("the webhook serves");
        });
        webhook
    }

    /// Channels that something was posted to.
    pub fn channels(&self) -> Vec<String> {
        lock(&self.posted).iter().filter_map(|message| message["channel"].as_str().map(str::to_owned)).collect()
    }

    /// Names of the alerts that it was told fire.
    pub fn firing(&self) -> Vec<String> {
        let told = lock(&self.told);
        let alerts = told.iter().flat_map(|message| message["alerts"].as_array().into_iter().flatten());
        let firing = alerts.filter(|alert| alert["status"] == "firing");
        firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect()
    }
}

async fn take(State(webhook): State<Webhook>, headers: HeaderMap, Json(message): Json<Value>) -> StatusCode {
    let borne = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if borne != format!("Bearer {}", webhook.token) {
        return StatusCode::UNAUTHORIZED;
    }
    lock(&webhook.told).push(message);
    StatusCode::OK
}

async fn take_posted(State(webhook): State<Webhook>, Json(message): Json<Value>) {
    lock(&webhook.posted).push(message);
}
