//! The gateway as a whole, against scripted upstreams on loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use reqwest::{Client, RequestBuilder, Response};
use rollout::ports::Outcome;
use serde_json::{Value, json};
use spec::id::Variant;
use spec::openai::ErrorBody;
use spec::route::VariantStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::control::Control;
use crate::listen::Transport;
use crate::metrics::OUTCOMES;
use crate::serve::{Gateway, RunError};

mod admin;
mod audit;
mod cache;
mod chain;
mod cost;
mod fallback;
mod guard;
mod keys;
mod live;
mod public;
mod stream;
mod tls;
mod wall;

/// What an upstream does with a request.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    /// Written and flushed one by one.
    pub pieces: Vec<Vec<u8>>,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As HTTP has it.
    Clean,
    /// The connection is closed in the middle.
    Broken,
    /// Nothing more comes, and the connection stays.
    Stall,
    /// The connection stays, and not even a status line comes.
    Mute,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, pieces: vec![body.to_string().into_bytes()], end: End::Clean }
    }

    pub fn ok(name: &str) -> Self {
        Self::json(200, &json!({"object": "chat.completion", "from": name}))
    }

    pub fn error(status: u16) -> Self {
        Self::json(status, &json!({"error": {"message": "scripted", "type": "x", "param": null, "code": null}}))
    }

    pub fn stream(pieces: &[&str]) -> Self {
        let headers = vec![("content-type", "text/event-stream".to_owned())];
        Self {
            status: 200,
            headers,
            pieces: pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect(),
            end: End::Clean,
        }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

/// A request as an upstream saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Request line and headers, lower case.
    pub head: String,
    pub body: String,
}

/// A scripted upstream.
pub struct Mock {
    address: SocketAddr,
    script: Arc<Mutex<Reply>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// One permit for each caller that left a stalled answer.
    left: Arc<Semaphore>,
    accepting: JoinHandle<()>,
}

impl Mock {
    pub async fn new(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (script, seen) = (Arc::new(Mutex::new(reply)), Arc::new(Mutex::new(Vec::new())));
        let left = Arc::new(Semaphore::new(0));
        let (scripted, noted, leaving) = (script.clone(), seen.clone(), left.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(play(stream, scripted.clone(), noted.clone(), leaving.clone()));
            }
        });
        Self { address, script, seen, left, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn play(&self, reply: Reply) {
        *self.script.lock().unwrap() = reply;
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until a caller has left a stalled answer.
    pub async fn until_left(&self) {
        self.left.acquire().await.unwrap().forget();
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn play(mut stream: TcpStream, script: Arc<Mutex<Reply>>, seen: Arc<Mutex<Vec<Seen>>>, left: Arc<Semaphore>) {
    let Some(request) = read_request(&mut stream).await else { return };
    seen.lock().unwrap().push(request);
    let reply = script.lock().unwrap().clone();
    if reply.end != End::Mute && write_reply(&mut stream, &reply).await.is_err() {
        return;
    }
    if matches!(reply.end, End::Stall | End::Mute) {
        let mut nothing = [0; 1];
        let _ = stream.read(&mut nothing).await;
        left.add_permits(1);
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= at + 4 + length {
                return Some(Seen { head, body: String::from_utf8_lossy(&bytes[at + 4..]).into_owned() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn write_reply(stream: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let is_chunked = reply.headers.iter().all(|(name, _)| *name != "content-length");
    head += if is_chunked { "transfer-encoding: chunked\r\n\r\n" } else { "\r\n" };
    stream.write_all(head.as_bytes()).await?;
    for piece in reply.pieces.iter().filter(|piece| !piece.is_empty()) {
        if is_chunked {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        }
        stream.write_all(piece).await?;
        if is_chunked {
            stream.write_all(b"\r\n").await?;
        }
        stream.flush().await?;
    }
    if is_chunked && reply.end == End::Clean {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    stream.flush().await
}

/// An address where nothing listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/v1", listener.local_addr().unwrap())
}

/// A running gateway and its files.
pub struct House {
    pub folder: Arc<tempfile::TempDir>,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub control: Arc<Control>,
    pub client: Client,
    pub stop: CancellationToken,
    pub serving: JoinHandle<()>,
    outcomes_before: Mutex<HashMap<(Variant, &'static str), u64>>,
}

pub const KEY: &str = "client-key";
pub const TOKEN: &str = "admin-token";
pub const UPSTREAM_KEY: &str = "upstream-key";

/// The configuration of a house; all fields can be changed before it is opened.
pub fn config(folder: &std::path::Path, baseline: Option<&str>, candidate: Option<&str>) -> Value {
    for (name, text) in [("keys", KEY), ("token", TOKEN), ("upstream", UPSTREAM_KEY)] {
        std::fs::write(folder.join(name), format!("{text}\n")).unwrap();
    }
    let mut variants = json!({});
    if let Some(url) = baseline {
        variants["baseline"] =
            json!({"base_url": url, "key_file": folder.join("upstream"), "models": {"gpt": "gpt-4"}});
    }
    if let Some(url) = candidate {
        variants["candidate"] = json!({"base_url": url, "default_model": "r1"});
    }
    json!({
        "listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "salt": "salt", "variants": variants,
        "api_keys_file": folder.join("keys"), "admin_token_file": folder.join("token"),
        "limits": {"body_bytes": 10_000, "connect_timeout": "2s", "first_byte_timeout": "20s", "idle_timeout": "20s",
            // Most tests let an upstream fail more often than that.
            "failures_in_a_row": 1_000_000},
    })
}

impl House {
    pub async fn open(baseline: Option<&str>, candidate: Option<&str>) -> Self {
        Self::open_with(baseline, candidate, |_| ()).await
    }

    pub async fn open_with(baseline: Option<&str>, candidate: Option<&str>, change: impl FnOnce(&mut Value)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut config = config(folder.path(), baseline, candidate);
        change(&mut config);
        Self::open_in(folder, &config).await.unwrap()
    }

    pub async fn open_in(folder: Arc<tempfile::TempDir>, config: &Value) -> Result<Self, RunError> {
        Self::open_over(Transport::Plain, folder, config).await
    }

    pub async fn open_over(
        transport: Transport,
        folder: Arc<tempfile::TempDir>,
        config: &Value,
    ) -> Result<Self, RunError> {
        let path = folder.path().join("gateway.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let gateway = Gateway::open(Settings::load(&path, None)?, &path, &folder.path().join("data")).await?;
        let (public, admin) = (gateway.public.local_addr().unwrap(), gateway.admin.local_addr().unwrap());
        let (control, stop) = (gateway.control.clone(), CancellationToken::new());
        let serving = tokio::spawn(gateway.serve(transport, stop.clone()));
        let client = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Ok(Self { folder, public, admin, control, client, stop, serving, outcomes_before: Mutex::default() })
    }

    /// Stops the gateway and waits for its end, as a restart does.
    pub async fn close(self) -> Arc<tempfile::TempDir> {
        self.stop.cancel();
        drop(self.client);
        self.serving.await.unwrap();
        drop(self.control);
        self.folder
    }

    pub fn write_config(&self, config: &Value) {
        std::fs::write(self.config_path(), config.to_string()).unwrap();
    }

    pub fn read_config(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.config_path()).unwrap()).unwrap()
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("gateway.json")
    }

    pub fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.client.post(format!("http://{}{path}", self.public)).bearer_auth(KEY);
        request.header("content-type", "application/json").body(body)
    }

    pub async fn chat(&self) -> Response {
        self.post("/v1/chat/completions", r#"{"model":"gpt","messages":[]}"#).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(format!("http://{}{path}", self.public)).bearer_auth(KEY).send().await.unwrap()
    }

    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.text().await.unwrap()
    }

    pub fn admin(&self, method: &str, path: &str) -> RequestBuilder {
        let request = self.client.request(method.parse().unwrap(), format!("http://{}{path}", self.admin));
        request.bearer_auth(TOKEN)
    }

    /// Sets the candidate's weight by hand.
    pub async fn weigh(&self, candidate: &str) {
        let expected_generation = self.control.plane.table().generation;
        let change = json!({"expected_generation": expected_generation, "candidate": candidate});
        let answer = self.admin("PUT", "/admin/route-table").json(&change).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// How the attempts since the last call ended, those on the candidate first. Read from the metrics: the
    /// observations are the controller's to take.
    pub fn outcomes(&self) -> Vec<(Variant, Outcome)> {
        let text = self.control.plane.metrics.render().unwrap();
        let mut before = self.outcomes_before.lock().unwrap();
        let mut outcomes = Vec::new();
        for variant in [Variant::Candidate, Variant::Baseline] {
            for outcome in OUTCOMES {
                let name = spec::metric::gateway::REQUESTS.name;
                let series = format!("{name}{{outcome=\"{}\",variant=\"{variant}\"}} ", outcome.as_str());
                let count = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap();
                let new = count - before.insert((variant, outcome.as_str()), count).unwrap_or(0);
                outcomes.extend((0..new).map(|_| (variant, outcome)));
            }
        }
        outcomes
    }

    pub fn counts(&self, variant: Variant) -> VariantStatus {
        self.control.plane.observer.status(variant, "")
    }
}

pub fn variant_of(answer: &Response) -> &str {
    answer.headers().get("x-dsctl-variant").map_or("none", |value| value.to_str().unwrap())
}

pub async fn error_of(answer: Response) -> (u16, spec::openai::ErrorObject) {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let body: ErrorBody = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (status, body.error)
}
