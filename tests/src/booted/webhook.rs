//! Somebody on the machine who is told of alerts.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Json, State};
use axum::routing::post;
use serde_json::Value;

use crate::http::runtime;
use crate::proxy::lock;

/// What came so far; listens until the process ends.
#[derive(Debug, Clone, Default)]
pub struct Webhook {
    told: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    pub fn listen(listener: TcpListener) -> Self {
        let webhook = Self::default();
        let router = Router::new().route("/", post(take)).with_state(webhook.clone());
        listener.set_nonblocking(true).expect("a listener for the runtime");
        runtime().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("the webhook serves");
        });
        webhook
    }

    /// Names of the alerts that it was told fire.
    pub fn firing(&self) -> Vec<String> {
        let told = lock(&self.told);
        let alerts = told.iter().flat_map(|message| message["alerts"].as_array().into_iter().flatten());
        let firing = alerts.filter(|alert| alert["status"] == "firing");
        firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect()
    }
}

async fn take(State(webhook): State<Webhook>, Json(message): Json<Value>) {
    lock(&webhook.told).push(message);
}
