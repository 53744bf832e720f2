//! Asking over HTTP, and the runtime that mocks and loads live on.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A limit for the hopeless.
const LIMIT: Duration = Duration::from_secs(120);

/// Shared by all tests of a process; tests themselves are plain functions.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// A client that asks loopback directly, whatever proxy the environment names, and never reuses a connection: a killed
/// server must not be told from a living one by a stale socket.
pub fn client() -> Client {
    let plain = Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(LIMIT);
    plain.build().expect("an HTTP client")
}

/// Waits for a future from a plain function.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// The variant that answered, as the gateway says.
    pub variant: Option<String>,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON: {error}\n{self:?}"),
        }
    }

    /// Itself, if the status is the expected one.
    #[track_caller]
    pub fn has_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The text of a whole answer to a chat.
    #[track_caller]
    pub fn chat_text(&self) -> String {
        let json = self.json();
        let text = json["choices"][0]["message"]["content"].as_str();
        text.unwrap_or_else(|| panic!("no text in {json}")).to_owned()
    }
}

/// Sends a request; the error is a connection that could not be had or broke.
pub async fn send(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let variant = response.headers().get("x-dsctl-variant").and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Answer { status, variant, body: response.text().await? })
}

/// A request that must be answered, whatever the status.
#[track_caller]
pub fn ask(request: RequestBuilder) -> Answer {
    wait(send(request)).unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

#[track_caller]
pub fn get(url: &str) -> Answer {
    ask(client().get(url))
}

/// With a key or token and perhaps a JSON body.
#[track_caller]
pub fn call(method: Method, url: &str, key: &str, body: Option<&Value>) -> Answer {
    let request = client().request(method, url).bearer_auth(key);
    ask(match body {
        Some(body) => request.json(body),
        None => request,
    })
}

/// The value of a metric's sample whose line begins like this; 0 for one that is not there yet.
#[track_caller]
pub fn sample(page: &str, begins: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(begins));
    let value = line.and_then(|line| line.rsplit(' ').next()).map(str::parse);
    value.map_or(0.0, |value| value.unwrap_or_else(|error| panic!("{begins}: {error}\n{page}")))
}

/// A chat of one short question with an answer that can be told beforehand as far as a model's can.
pub fn question(model: &str, max_tokens: u32) -> Value {
    json!({
        "model": model, "max_tokens": max_tokens, "temperature": 0,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    })
}
