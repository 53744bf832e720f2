//! The server as clients see it: a tiny model, real sockets, no sleeps.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::auth::ApiKeys;
use crate::chat_template::ChatTemplate;
use crate::engine::{EngineHandle, Limits};
use crate::metrics::Metrics;
use crate::model::{LoadError, ModelFile};
use crate::prompt::Language;
use crate::serve::{App, Loaded, Phase, ServeError, Service, serve};
use crate::tiny::{Tiny, VOCABULARY};
use crate::tokenizer::Tokenizer;

pub const LIMITS: Limits = Limits { max_sequences: 2, max_queue: 8, blocks: 4096 };
/// A context that no test fills: whoever is not cancelled runs on.
const ENDLESS: u32 = 1 << 20;

fn load(tiny: &Tiny, limits: Limits, metrics: Arc<Metrics>) -> Loaded {
    let opened = tiny.file();
    let file = ModelFile::open(&[opened.path()]).unwrap();
    let tokenizer = Arc::new(Tokenizer::from_metadata(&file.metadata()).unwrap());
    let template = ChatTemplate::from_metadata(&file.metadata(), &tokenizer).unwrap();
    let context = tiny.context as usize;
    let model = file.load(limits.blocks, 2).unwrap();
    let (engine, engine_ended) = EngineHandle::start(model, tokenizer.clone(), limits, metrics).unwrap();
    Loaded { service: Service { engine, language: Language::new(tokenizer, template, context) }, engine_ended }
}

pub struct Server {
    url: String,
    app: Arc<App>,
    stop: mpsc::Sender<()>,
    task: JoinHandle<Result<(), ServeError<LoadError>>>,
    client: reqwest::Client,
}

impl Server {
    async fn bind(
        keys: Option<ApiKeys>,
        timeout: Duration,
        load: impl FnOnce(Arc<Metrics>) -> Result<Loaded, LoadError> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metrics = Arc::new(Metrics::new("tiny").unwrap());
        let app = Arc::new(App::new("tiny", keys, metrics.clone()));
        let (stop, stopped) = mpsc::channel(2);
        let task = tokio::spawn(serve(listener, app.clone(), move || load(metrics), stopped, timeout));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, app, stop, task, client }
    }

    pub async fn start(tiny: Tiny, limits: Limits) -> Self {
        Self::start_with(tiny, limits, None, Duration::from_secs(600)).await
    }

    async fn start_with(tiny: Tiny, limits: Limits, keys: Option<ApiKeys>, timeout: Duration) -> Self {
        let server = Self::bind(keys, timeout, move |metrics| Ok(load(&tiny, limits, metrics))).await;
        server.reach("ready").await;
        server
    }

    async fn reach(&self, phase: &str) {
        self.app.watch_phase().wait_for(|now| now.name() == phase).await.unwrap();
    }

    fn in_flight(&self) -> watch::Receiver<usize> {
        match self.app.phase() {
            Phase::Ready(service) => service.engine.in_flight(),
            other => panic!("{}", other.name()),
        }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        self.client.post(format!("{}{path}", self.url)).json(&body).send().await.unwrap()
    }

    pub async fn ask(&self, path: &str, body: Value) -> Value {
        let response = self.post(path, body).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    async fn metric(&self, line: &str) -> f64 {
        let text = self.get("/metrics").await.text().await.unwrap();
        let found = text.lines().find_map(|candidate| candidate.strip_prefix(line));
        found.unwrap_or_else(|| panic!("{line} is not in {text}")).trim().parse().unwrap()
    }
}

pub fn chat(changes: Value) -> Value {
    with(
        json!({"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 40}),
        changes,
    )
}

pub fn completion(changes: Value) -> Value {
    with(json!({"model": "tiny", "prompt": "hello", "temperature": 0, "max_tokens": 40, "ignore_eos": true}), changes)
}

/// A request that does not end by itself.
fn endless(changes: Value) -> Value {
    with(
        json!({"model": "tiny", "prompt": "hello", "max_tokens": ENDLESS / 2, "ignore_eos": true, "stream": true}),
        changes,
    )
}

pub fn with(mut body: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// The parts of a streamed answer; the last one must be `[DONE]`.
pub async fn parts(response: Response) -> Vec<Value> {
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = response.text().await.unwrap();
    let mut events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events.pop(), Some("data: [DONE]"), "{text}");
    events.into_iter().map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_whole_chat_answer_has_every_field() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let answer = server.ask("/v1/chat/completions", chat(json!({"ignore_eos": true}))).await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "tiny");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-") && answer["created"].is_i64());
    let choice = &answer["choices"][0];
    assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("length")));
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(choice["message"]["content"].is_string());
    // <|im_start|> u s e r \n h e l l o <|im_end|> \n <|im_start|> a s s i s t a n t \n
    let usage = json!({"prompt_tokens": 24, "completion_tokens": 40, "total_tokens": 64,
        "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(answer["usage"], usage);
    assert_eq!(server.metric("vllm:prompt_tokens_total{model_name=\"tiny\"}").await, 24.0);
    assert_eq!(server.metric("vllm:generation_tokens_total{model_name=\"tiny\"}").await, 40.0);
    assert_eq!(server.metric("vllm:time_to_first_token_seconds_count{model_name=\"tiny\"}").await, 1.0);
    assert_eq!(server.metric("vllm:inter_token_latency_seconds_count{model_name=\"tiny\"}").await, 39.0);
}

#[tokio::test]
async fn a_streamed_answer_is_the_whole_one_in_parts() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    for (path, request, text) in [
        ("/v1/chat/completions", chat(json!({"ignore_eos": true})), ["message", "delta"]),
        ("/v1/completions", completion(json!({})), ["", ""]),
    ] {
        let content = |choice: &Value, key: &str| match key {
            "" => choice["text"].as_str().unwrap_or_default().to_owned(),
            key => choice[key]["content"].as_str().unwrap_or_default().to_owned(),
        };
        server.ask(path, request.clone()).await;
        let whole = server.ask(path, request.clone()).await;
        let options = json!({"stream": true, "stream_options": {"include_usage": true}});
        let mut parts = parts(server.post(path, with(request.clone(), options)).await).await;
        let usage = parts.pop().unwrap();
        assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
        assert!(parts.iter().all(|part| part["usage"].is_null() && part["id"] == usage["id"]));
        let streamed: String = parts.iter().map(|part| content(&part["choices"][0], text[1])).collect();
        assert_eq!(streamed, content(&whole["choices"][0], text[0]));
        let reasons: Vec<&Value> = parts.iter().map(|part| &part["choices"][0]["finish_reason"]).collect();
        assert!(reasons[..reasons.len() - 1].iter().all(|reason| reason.is_null()));
        assert_eq!(reasons.last(), Some(&&json!("length")));
        let plain = self::parts(server.post(path, with(request, json!({"stream": true}))).await).await;
        assert!(plain.iter().all(|part| part.get("usage").is_none()));
    }
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_before_it() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let full = server.ask("/v1/completions", completion(json!({"max_tokens": 80}))).await;
    let text = full["choices"][0]["text"].as_str().unwrap().to_owned();
    let characters: Vec<char> = text.chars().collect();
    let stop: String = characters[characters.len() / 2..characters.len() / 2 + 3].iter().collect();
    let expected = &text[..text.find(&stop).unwrap()];
    let request = completion(json!({"max_tokens": 80, "stop": ["never in there", stop], "logprobs": 0}));
    let stopped = server.ask("/v1/completions", request.clone()).await;
    let choice = &stopped["choices"][0];
    assert_eq!((choice["text"].as_str(), &choice["finish_reason"]), (Some(expected), &json!("stop")));
    let streamed = parts(server.post("/v1/completions", with(request, json!({"stream": true}))).await).await;
    let streamed: String = streamed.iter().map(|part| part["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(streamed, expected);
}

#[tokio::test]
async fn a_seed_fixes_the_answer() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let ask = async |seed: i64| {
        let request = completion(json!({"temperature": 1.5, "top_p": 0.95, "seed": seed}));
        server.ask("/v1/completions", request).await["choices"][0]["text"].clone()
    };
    let one = ask(1).await;
    assert_eq!(ask(1).await, one);
    assert_ne!(ask(2).await, one);
}

#[tokio::test]
async fn answers_do_not_depend_on_who_else_is_served() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let request = |at: usize| completion(json!({"prompt": "the ".repeat(1 + at * 9), "max_tokens": 30}));
    let mut alone = Vec::new();
    for at in 0..8 {
        alone.push(server.ask("/v1/completions", request(at)).await["choices"].clone());
    }
    let together = futures::future::join_all((0..8).map(|at| server.ask("/v1/completions", request(at)))).await;
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!(alone, &together["choices"]);
    }
}

#[tokio::test]
async fn a_prompt_seen_before_is_found_and_answered_the_same() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let request = completion(json!({"prompt": "the ".repeat(40)}));
    let first = server.ask("/v1/completions", request.clone()).await;
    let second = server.ask("/v1/completions", request).await;
    assert_eq!(first["choices"], second["choices"]);
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let prompt = first["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!((cached(&first), cached(&second)), (0, (prompt - 1) / 16 * 16));
    let hits = server.metric("vllm:prefix_cache_hits_total{model_name=\"tiny\"}").await;
    let queries = server.metric("vllm:prefix_cache_queries_total{model_name=\"tiny\"}").await;
    assert_eq!((hits, queries), (cached(&second) as f64, 2.0 * prompt as f64));
}

#[tokio::test]
async fn sequences_that_do_not_fit_together_take_turns_and_lose_nothing() {
    let request = |at: usize| completion(json!({"prompt": format!("{at}{}", "the ".repeat(30)), "max_tokens": 100}));
    let roomy = Server::start(Tiny::default(), LIMITS).await;
    let tight = Server::start(Tiny::default(), Limits { max_sequences: 6, blocks: 32, ..LIMITS }).await;
    let alone = async |at: usize| roomy.ask("/v1/completions", request(at)).await;
    let together = futures::future::join_all((0..6).map(|at| tight.ask("/v1/completions", request(at)))).await;
    for (at, together) in together.iter().enumerate() {
        assert_eq!(alone(at).await["choices"], together["choices"]);
    }
    assert!(tight.metric("vllm:num_preemptions_total{model_name=\"tiny\"}").await > 0.0);
    assert_eq!(tight.metric("vllm:gpu_cache_usage_perc{model_name=\"tiny\"}").await, 0.0);
}

#[tokio::test]
async fn logprobs_are_reported_for_every_token() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let request = chat(json!({"logprobs": true, "top_logprobs": 3, "max_tokens": 12, "ignore_eos": true}));
    let answer = server.ask("/v1/chat/completions", request.clone()).await;
    let entries = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(entries.len(), 12);
    for entry in entries {
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!((&top[0]["logprob"], &top[0]["token"]), (&entry["logprob"], &entry["token"]));
        assert!(entry["logprob"].as_f64().unwrap() <= 0.0 && entry["bytes"].is_array());
    }
    let streamed = parts(server.post("/v1/chat/completions", with(request, json!({"stream": true}))).await).await;
    let reported = |part: &Value| part["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap_or_default();
    assert_eq!(&streamed.iter().flat_map(reported).collect::<Vec<_>>(), entries);

    let answer = server.ask("/v1/completions", completion(json!({"logprobs": 2, "max_tokens": 5}))).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), 5, "{list}");
    }
}

#[tokio::test]
async fn prompts_of_tokens_and_of_text_are_the_same() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let text = server.ask("/v1/completions", completion(json!({"prompt": ["abc"]}))).await;
    let tokens = server.ask("/v1/completions", completion(json!({"prompt": [97, 98, 99]}))).await;
    assert_eq!(text["choices"], tokens["choices"]);
}

#[tokio::test]
async fn models_are_listed_and_shown() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let list: Value = server.get("/v1/models").await.json().await.unwrap();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("tiny")));
    let model: Value = server.get("/v1/models/tiny").await.json().await.unwrap();
    assert_eq!(model, list["data"][0]);
    let missing = server.get("/v1/models/org/other").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    let error: Value = missing.json().await.unwrap();
    assert_eq!(error["error"]["code"], "model_not_found");
}

/// Path, body, content type; then status, `param`, `code`, and a word of the message.
type BadCase<'a> = (&'a str, Vec<u8>, &'a str, u16, Option<&'a str>, Option<&'a str>, &'a str);

#[tokio::test]
async fn bad_requests_get_the_right_status_and_error() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let json_type = "application/json; charset=utf-8";
    let body = |value: Value| value.to_string().into_bytes();
    let long = "x".repeat(600);
    // More bytes than a context of the longest pieces holds.
    let hopeless = "x".repeat(100_000);
    let chat_path = "/v1/chat/completions";
    let text_path = "/v1/completions";
    let too_long = Some("context_length_exceeded");
    let cases: Vec<BadCase<'_>> = vec![
        (chat_path, b"{".to_vec(), json_type, 400, None, None, "not valid JSON"),
        (chat_path, body(chat(json!({}))), "text/plain", 415, None, None, "application/json"),
        (
            chat_path,
            body(chat(json!({"model": "other"}))),
            json_type,
            404,
            Some("model"),
            Some("model_not_found"),
            "other",
        ),
        (chat_path, body(chat(json!({"messages": []}))), json_type, 400, Some("messages"), None, "at least one"),
        (
            chat_path,
            body(chat(json!({"messages": [{"role": "user", "content": 1}]}))),
            json_type,
            400,
            Some("messages[0].content"),
            None,
            "got a number",
        ),
        (text_path, body(completion(json!({"prompt": long}))), json_type, 400, Some("prompt"), too_long, "600"),
        (
            text_path,
            body(completion(json!({"prompt": hopeless}))),
            json_type,
            400,
            Some("prompt"),
            too_long,
            "at least",
        ),
        (
            chat_path,
            body(chat(json!({"messages": [{"role": "user", "content": hopeless}]}))),
            json_type,
            400,
            Some("messages"),
            too_long,
            "at least",
        ),
        (text_path, body(completion(json!({"max_tokens": 508}))), json_type, 400, Some("max_tokens"), too_long, "512"),
        (text_path, body(completion(json!({"prompt": ""}))), json_type, 400, Some("prompt"), None, "must not be empty"),
        (
            text_path,
            body(completion(json!({"prompt": [VOCABULARY]}))),
            json_type,
            400,
            Some("prompt[0]"),
            None,
            "does not exist",
        ),
        (chat_path, vec![b' '; (4 << 20) + 1], json_type, 413, None, None, "4 MiB"),
        ("/v1/embeddings", body(json!({})), json_type, 404, None, Some("unknown_path"), "/v1/embeddings"),
        ("/v1/models", body(json!({})), json_type, 405, None, None, "POST"),
    ];
    for (path, body, kind, status, param, code, word) in cases {
        let request = server.client.post(format!("{}{path}", server.url)).header("content-type", kind).body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path} {word}");
        let error: Value = response.json().await.unwrap();
        let error = &error["error"];
        assert_eq!((error["param"].as_str(), error["code"].as_str()), (param, code), "{error}");
        assert!(error["message"].as_str().unwrap().contains(word) && error["type"].is_string(), "{error}");
    }
    assert_eq!(server.get("/v1/chat/completions").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(server.metric("dsctl_requests_rejected_total{model_name=\"tiny\",reason=\"invalid\"}").await, 12.0);
}

#[tokio::test]
async fn keys_are_asked_for_except_by_probes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret-one\nsecret-two\n").unwrap();
    let keys = ApiKeys::read(file.path()).unwrap();
    let server = Server::start_with(Tiny::default(), LIMITS, Some(keys), Duration::from_secs(600)).await;
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(server.get(path).await.status(), StatusCode::OK, "{path}");
    }
    for path in ["/v1/models", "/nothing"] {
        let response = server.get(path).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], "invalid_api_key");
    }
    let with_key = |key: &'static str| server.client.get(format!("{}/v1/models", server.url)).bearer_auth(key).send();
    assert_eq!(with_key("wrong").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(with_key("secret-two").await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.metric("dsctl_requests_rejected_total{model_name=\"tiny\",reason=\"unauthorized\"}").await, 3.0);
}

#[tokio::test]
async fn a_full_queue_is_429_and_a_client_that_leaves_makes_room() {
    let tiny = Tiny { context: ENDLESS, ..Tiny::default() };
    let server = Server::start(tiny, Limits { max_sequences: 1, max_queue: 1, ..LIMITS }).await;
    let mut in_flight = server.in_flight();
    let running = server.post("/v1/completions", endless(json!({}))).await;
    let waiting = tokio::spawn({
        let request = server.client.post(format!("{}/v1/completions", server.url)).json(&endless(json!({})));
        async move { request.send().await }
    });
    in_flight.wait_for(|count| *count == 2).await.unwrap();
    let refused = server.post("/v1/completions", endless(json!({}))).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let error: Value = refused.json().await.unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["type"]), (&json!("queue_full"), &json!("rate_limit_error")));
    drop(running);
    in_flight.wait_for(|count| *count == 1).await.unwrap();
    let now_running = waiting.await.unwrap().unwrap();
    assert_eq!(now_running.status(), StatusCode::OK);
    drop(now_running);
    in_flight.wait_for(|count| *count == 0).await.unwrap();
    assert_eq!(server.metric("vllm:request_success_total{finished_reason=\"abort\",model_name=\"tiny\"}").await, 2.0);
    assert_eq!(server.metric("dsctl_requests_rejected_total{model_name=\"tiny\",reason=\"queue_full\"}").await, 1.0);
}

#[tokio::test]
async fn a_client_that_leaves_an_unstreamed_request_stops_it() {
    let server = Server::start(Tiny { context: ENDLESS, ..Tiny::default() }, LIMITS).await;
    let mut in_flight = server.in_flight();
    let request = server.client.post(format!("{}/v1/completions", server.url)).json(&endless(json!({"stream": false})));
    let client = tokio::spawn(request.send());
    in_flight.wait_for(|count| *count == 1).await.unwrap();
    client.abort();
    in_flight.wait_for(|count| *count == 0).await.unwrap();
    assert_eq!(server.metric("vllm:request_success_total{finished_reason=\"abort\",model_name=\"tiny\"}").await, 1.0);
    assert!(server.metric("vllm:generation_tokens_total{model_name=\"tiny\"}").await < f64::from(ENDLESS / 2));
}

#[tokio::test]
async fn a_loading_server_is_alive_and_not_ready() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let server = Server::bind(None, Duration::ZERO, move |metrics| {
        wait.recv().unwrap();
        Ok(load(&Tiny::default(), LIMITS, metrics))
    })
    .await;
    assert_eq!(server.get("/health").await.status(), StatusCode::OK);
    let ready = server.get("/ready").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json::<Value>().await.unwrap(), json!({"status": "loading"}));
    let refused = server.post("/v1/chat/completions", chat(json!({}))).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    go.send(()).unwrap();
    server.reach("ready").await;
    assert_eq!(server.get("/ready").await.json::<Value>().await.unwrap(), json!({"status": "ready"}));
}

#[tokio::test]
async fn a_failed_load_ends_the_server() {
    let server = Server::bind(None, Duration::ZERO, |_| Err(LoadError::Architecture("mamba".to_owned()))).await;
    let error = server.task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("architecture mamba"), "{error}");
}

#[tokio::test]
async fn draining_refuses_the_new_and_finishes_the_old() {
    let server = Server::start(Tiny { context: ENDLESS, ..Tiny::default() }, LIMITS).await;
    let endless_one = server.post("/v1/completions", endless(json!({}))).await;
    let request = completion(json!({"stream": true, "max_tokens": 200}));
    let finishing = server.post("/v1/completions", request).await;
    server.stop.send(()).await.unwrap();
    server.reach("draining").await;
    let ready = server.get("/ready").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json::<Value>().await.unwrap(), json!({"status": "draining"}));
    let refused = server.post("/v1/completions", completion(json!({}))).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.get("/health").await.status(), StatusCode::OK);
    let parts = parts(finishing).await;
    assert_eq!(parts.last().unwrap()["choices"][0]["finish_reason"], "length");
    drop(endless_one);
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_ended_with_an_error() {
    let tiny = Tiny { context: ENDLESS, ..Tiny::default() };
    let server = Server::start_with(tiny, LIMITS, None, Duration::ZERO).await;
    let streamed = server.post("/v1/completions", endless(json!({}))).await;
    let whole = server.client.post(format!("{}/v1/completions", server.url)).json(&endless(json!({"stream": false})));
    let mut in_flight = server.in_flight();
    let whole = tokio::spawn(whole.send());
    in_flight.wait_for(|count| *count == 2).await.unwrap();
    server.stop.send(()).await.unwrap();
    let mut last = String::new();
    let mut body = streamed.bytes_stream();
    while let Some(chunk) = body.next().await {
        last = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
    }
    let error: Value = serde_json::from_str(last.trim().rsplit("data: ").next().unwrap()).unwrap();
    assert_eq!(error["error"]["message"], "the server is shutting down");
    let whole = whole.await.unwrap().unwrap();
    assert_eq!(whole.status(), StatusCode::SERVICE_UNAVAILABLE);
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_second_stop_does_not_wait() {
    let server = Server::start(Tiny { context: ENDLESS, ..Tiny::default() }, LIMITS).await;
    let running = server.post("/v1/completions", endless(json!({}))).await;
    server.stop.send(()).await.unwrap();
    server.stop.send(()).await.unwrap();
    let text = running.text().await.unwrap();
    assert!(text.trim_end().ends_with('}') && text.contains("shutting down"));
    server.task.await.unwrap().unwrap();
}
