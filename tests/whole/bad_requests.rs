//! Bad requests to both servers, and bad rollouts to the controller: the right status, the API's error object, the field.

use reqwest::Method;
use serde_json::{Value, json};
use tests::home::{Endpoint, Home};
use tests::http::{Answer, ask, call, client};
use tests::mock::Mock;
use tests::weights;

const CHAT: &str = "/chat/completions";

struct Server {
    name: &'static str,
    /// Ends in `/v1`.
    url: String,
    key: String,
}

impl Server {
    fn post(&self, path: &str, body: &Value) -> Answer {
        call(Method::POST, &format!("{}{path}", self.url), &self.key, Some(body))
    }

    /// A body as it is, with a type of its own.
    fn post_text(&self, content_type: &str, body: &str) -> Answer {
        let request = client().post(format!("{}{CHAT}", self.url)).bearer_auth(&self.key);
        ask(request.header("content-type", content_type).body(body.to_owned()))
    }

    /// What is wrong with a refusal; a table is gone through to its end.
    fn complaint(&self, answer: &Answer, status: u16, hint: &str) -> Option<String> {
        let error = serde_json::from_str::<Value>(&answer.body).unwrap_or_default()["error"].clone();
        let has_form = error["type"].is_string() && error.get("param").is_some() && error.get("code").is_some();
        let is_named = error["message"].as_str().is_some_and(|message| message.contains(hint));
        let text = format!("{}: wanted {status} naming {hint:?}: {answer:?}", self.name);
        (answer.status != status || !is_named || !has_form).then_some(text)
    }
}

fn servers(home: &Home, endpoint: &Endpoint) -> [Server; 2] {
    let status = home.dsctl(&["status", "--json"]).exits(0).json();
    let daemon = status["gateway"]["variants"]["candidate"]["base_url"].as_str().unwrap().to_owned();
    let key = std::fs::read_to_string(home.deployment().bucket().secrets().join("daemon-key")).unwrap();
    [
        Server { name: "dsgate", url: endpoint.url.clone(), key: endpoint.key.clone() },
        Server { name: "dsserve", url: daemon, key: key.trim().to_owned() },
    ]
}

fn chat(more: Value) -> Value {
    let mut body = json!({"model": weights::MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// Bodies of a chat, the status they are answered with, and what the message names.
fn bad_chats() -> Vec<(Value, u16, &'static str)> {
    vec![
        (chat(json!({"model": "gpt-9"})), 404, "gpt-9"),
        (chat(json!({"model": 7})), 400, "model"),
        (chat(json!({"model": null})), 400, "model"),
        (chat(json!({"messages": []})), 400, "messages"),
        (chat(json!({"messages": "Hi"})), 400, "messages"),
        (chat(json!({"messages": [{"role": "king", "content": "x"}]})), 400, "king"),
        (chat(json!({"messages": [{"role": "user"}]})), 400, "messages[0].content"),
        (chat(json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})), 400, "image_url"),
        (chat(json!({"temperature": "hot"})), 400, "temperature"),
        (chat(json!({"temperature": 3})), 400, "temperature"),
        (chat(json!({"top_p": -1})), 400, "top_p"),
        (chat(json!({"max_tokens": 0})), 400, "max_tokens"),
        (chat(json!({"max_tokens": 1.5})), 400, "max_tokens"),
        (chat(json!({"max_tokens": 100_000})), 400, "max_tokens"),
        (chat(json!({"n": 17})), 400, "n: "),
        (chat(json!({"stop": ["a", "b", "c", "d", "e"]})), 400, "stop"),
        (chat(json!({"stop": [""]})), 400, "stop"),
        (chat(json!({"stream": "yes"})), 400, "stream"),
        (chat(json!({"stream_options": {"include_usage": true}})), 400, "stream_options"),
        (chat(json!({"top_logprobs": 2})), 400, "logprobs"),
        (chat(json!({"logprobs": true, "top_logprobs": 99})), 400, "top_logprobs"),
        (chat(json!({"tools": [{"type": "function"}]})), 400, "tools"),
        (chat(json!({"response_format": {"type": "xml"}})), 400, "response_format"),
        (chat(json!({"tempreature": 1})), 400, "tempreature"),
        (chat(json!({"messages": [{"role": "user", "content": "word ".repeat(3000)}]})), 400, "1024"),
        (json!([1, 2]), 400, "object"),
    ]
}

#[test]
fn requests_that_can_not_be_meant_get_the_api_s_own_error() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    let mut verdicts = Vec::new();
    for server in servers(&home, &endpoint) {
        for (body, status, hint) in bad_chats() {
            verdicts.push(server.complaint(&server.post(CHAT, &body), status, hint));
        }
        verdicts.extend(what_is_no_request(&server));
        verdicts.extend(what_is_no_completion(&server));
    }
    println!("{} cases of bad requests", verdicts.len());
    let complaints: Vec<String> = verdicts.into_iter().flatten().collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
    // After all that, both still answer.
    for server in servers(&home, &endpoint) {
        server.post(CHAT, &chat(json!({}))).has_status(200);
    }
    assert_eq!(home.status().summary(), "ready");
}

fn what_is_no_request(server: &Server) -> Vec<Option<String>> {
    let url = format!("{}{CHAT}", server.url);
    let body = chat(json!({}));
    let elsewhere = format!("{}/nothing", server.url);
    let answers = [
        (server.post_text("application/json", "{\"model\": "), 400, "JSON"),
        (server.post_text("application/json", ""), 400, "JSON"),
        (server.post_text("text/plain", &body.to_string()), 415, "text/plain"),
        (server.post_text("application/json", &" ".repeat(5 << 20)), 413, "larger"),
        (call(Method::POST, &url, "wrong", Some(&body)), 401, "API key"),
        (ask(client().post(&url).json(&body)), 401, "API key"),
        (call(Method::GET, &url, &server.key, None), 405, "GET"),
        (call(Method::POST, &elsewhere, &server.key, Some(&body)), 404, "/v1/nothing"),
    ];
    answers.iter().map(|(answer, status, hint)| server.complaint(answer, *status, hint)).collect()
}

fn what_is_no_completion(server: &Server) -> Vec<Option<String>> {
    let cases = [
        (json!({"model": weights::MODEL}), "prompt"),
        (json!({"model": weights::MODEL, "prompt": ["a", "b"]}), "prompt"),
        (json!({"model": weights::MODEL, "prompt": [-1]}), "prompt"),
        (json!({"model": weights::MODEL, "prompt": "x", "echo": true}), "echo"),
        (json!({"model": weights::MODEL, "prompt": "x", "logprobs": 99}), "logprobs"),
    ];
    cases.iter().map(|(body, hint)| server.complaint(&server.post("/completions", body), 400, hint)).collect()
}

#[test]
fn rollouts_that_can_not_be_meant() {
    let (home, mock) = (Home::alone(), Mock::start("baseline"));
    home.up(&["--baseline", &mock.base_url()]);
    let cases = [
        ("stages: [10%, 5%, 100%]", "stages[1]: 5% does not go up"),
        ("stages: [10%, 60%]", "stages[1]: the last stage is 60%"),
        ("stages: []", "stages: at least one"),
        ("stages: [100%]\ngates: []", "gates: at least one"),
        ("stages: [100%]\ngates: [error_ratio<5%, error_ratio<6%]", "gates[1]"),
        ("stages: [100%]\ngates: [eror_ratio<5%]", "did you mean error_ratio"),
        ("stages: [100%]\nalpha: 2", "alpha"),
        ("stages: [100%]\nmin_requests: 0", "min_requests"),
        ("stages: [100%]\ntick: 1ms", "tick"),
        ("stages: [100%]\nbake: long", "bake"),
        ("stages: [100%]\nbaek: 1s", "did you mean \"bake\"?"),
        ("stages: 100%", "stages"),
    ];
    for (text, hint) in cases {
        let file = home.write("rollout.yaml", text);
        home.dsctl(&["rollout", "start", "-f", &file]).exits(2).says(hint);
    }
    println!("{} cases of bad rollouts", cases.len());
    the_admin_api_refuses(&home);
    home.dsctl(&["rollout", "status"]).exits(1).says("no rollout");
}

fn the_admin_api_refuses(home: &Home) {
    let stale = json!({"expected_generation": 99, "candidate": "50%"});
    for (method, path, body, status, hint) in [
        (Method::PUT, "/admin/route-table", stale, 409, "99"),
        (Method::PUT, "/admin/route-table", json!({"expected_generation": 1, "candidate": "150%"}), 400, "candidate"),
        (Method::PUT, "/admin/route-table", json!({"candidate": "50%"}), 400, "expected_generation"),
        (Method::POST, "/admin/rollout", json!({"stages": ["50%"]}), 400, "stages[0]"),
        (Method::POST, "/admin/rollout", json!({"stages": ["100%"], "gate": 1}), 400, "gate"),
        (Method::POST, "/admin/rollout/redo", json!({}), 404, "/admin/rollout/redo"),
        (Method::POST, "/admin/rollout/undo", json!({}), 404, "there was no rollout yet"),
        (Method::DELETE, "/admin/rollout", json!({}), 405, "DELETE"),
    ] {
        let answer = home.admin(method, path, Some(&body)).has_status(status);
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(hint), "{hint:?} is not named: {message}");
    }
}
