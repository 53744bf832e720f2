//! What clients can ask of an answer besides text: several at once, JSON, calls of tools, reasoning by itself.

use candle_core::quantized::gguf_file;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::http_tests::{LIMITS, Server, chat, completion, parts, with};
use crate::tiny::Tiny;

fn with_template(template: &str) -> Tiny {
    let template = gguf_file::Value::String(template.to_owned());
    Tiny { extra: vec![("tokenizer.chat_template".to_owned(), template)], context: 4096, ..Tiny::default() }
}

/// A template that tells of tools and has reasoning begun.
const FULL: &str = "{{ tools | tojson if tools else '' }}{% for message in messages %}{{ message['content'] }}{% endfor %}{% if open %}<think>\n{% endif %}{# </think> #}";

#[tokio::test]
async fn several_choices_are_answers_of_their_own() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let alone = |seed: i64| completion(json!({"temperature": 1.5, "seed": seed}));
    let mut expected = Vec::new();
    for seed in [5, 6, 7] {
        expected.push(server.ask("/v1/completions", alone(seed)).await["choices"][0]["text"].clone());
    }
    let all = server.ask("/v1/completions", with(alone(5), json!({"n": 3}))).await;
    let texts: Vec<&Value> = (0..3).map(|at| &all["choices"][at]["text"]).collect();
    assert_eq!(texts, expected.iter().collect::<Vec<_>>());
    assert_eq!(all["choices"][2]["index"], 2);
    assert_eq!(all["usage"]["completion_tokens"], 120);
    let options = json!({"n": 3, "stream": true, "stream_options": {"include_usage": true}});
    let parts = parts(server.post("/v1/completions", with(alone(5), options)).await).await;
    let text = |index: usize| -> String {
        let of_choice = parts.iter().filter(|part| part["choices"][0]["index"] == index);
        of_choice.map(|part| part["choices"][0]["text"].as_str().unwrap()).collect()
    };
    assert_eq!(
        (0..3).map(text).collect::<Vec<_>>(),
        expected.iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>()
    );
    assert_eq!(parts.last().unwrap()["usage"]["completion_tokens"], 120);
}

#[tokio::test]
async fn an_answer_can_be_held_to_a_schema() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let schema = json!({"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}, "sure": {"type": "boolean"}},
        "required": ["answer", "sure"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema, "strict": true}});
    let request = chat(json!({"response_format": format, "max_tokens": 400, "temperature": 1, "seed": 3}));
    let answer = server.ask("/v1/chat/completions", request.clone()).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop", "{answer}");
    let content: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
    assert!(["yes", "no"].contains(&content["answer"].as_str().unwrap()) && content["sure"].is_boolean(), "{content}");
    let streamed = parts(server.post("/v1/chat/completions", with(request, json!({"stream": true}))).await).await;
    let text: String = streamed.iter().filter_map(|part| part["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, choice["message"]["content"].as_str().unwrap());
}

#[tokio::test]
async fn a_schema_that_can_t_be_followed_names_its_field() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "octopus"}}});
    let response = server.post("/v1/chat/completions", chat(json!({"response_format": format}))).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["param"], "response_format");
}

fn tool(name: &str) -> Value {
    let parameters = json!({"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"],
        "additionalProperties": false});
    json!({"type": "function", "function": {"name": name, "parameters": parameters}})
}

#[tokio::test]
async fn a_tool_that_must_be_called_is_called() {
    let server = Server::start(with_template(FULL), LIMITS).await;
    let request = chat(json!({"tools": [tool("weather"), tool("time")], "tool_choice": "required", "max_tokens": 400}));
    let answer = server.ask("/v1/chat/completions", with(request.clone(), json!({"temperature": 1, "seed": 1}))).await;
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &json!(null)),
        "{answer}"
    );
    let call = &choice["message"]["tool_calls"][0];
    assert!(["weather", "time"].contains(&call["function"]["name"].as_str().unwrap()), "{call}");
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(["C", "F"].contains(&arguments["unit"].as_str().unwrap()), "{call}");
    let named = json!({"tool_choice": {"type": "function", "function": {"name": "time"}}, "stream": true, "temperature": 1, "seed": 1});
    let streamed = parts(server.post("/v1/chat/completions", with(request, named)).await).await;
    let choices: Vec<&Value> = streamed.iter().map(|part| &part["choices"][0]).collect();
    let call = choices.iter().find_map(|choice| choice["delta"]["tool_calls"].get(0)).unwrap();
    assert_eq!((&call["function"]["name"], &call["index"]), (&json!("time"), &json!(0)));
    assert_eq!(choices.last().unwrap()["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_model_without_tools_says_so() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let response = server.post("/v1/chat/completions", chat(json!({"tools": [tool("weather")]}))).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["param"], "tools");
}

#[tokio::test]
async fn reasoning_is_given_by_itself_unless_it_is_not_wanted() {
    let server = Server::start(with_template(FULL), LIMITS).await;
    let request = chat(json!({"chat_template_kwargs": {"open": true}, "ignore_eos": true}));
    let answer = server.ask("/v1/chat/completions", request.clone()).await;
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], "");
    let reasoning = message["reasoning_content"].as_str().unwrap();
    assert!(!reasoning.is_empty());
    let streamed =
        parts(server.post("/v1/chat/completions", with(request.clone(), json!({"stream": true}))).await).await;
    let deltas = || streamed.iter().map(|part| &part["choices"][0]["delta"]);
    assert_eq!(deltas().filter_map(|delta| delta["reasoning_content"].as_str()).collect::<String>(), reasoning);
    assert!(deltas().all(|delta| delta["content"].as_str().unwrap_or_default().is_empty()));
    let together = server.ask("/v1/chat/completions", with(request, json!({"separate_reasoning": false}))).await;
    let message = &together["choices"][0]["message"];
    assert!(message["content"].as_str().unwrap().ends_with(reasoning) && message.get("reasoning_content").is_none());
}

#[tokio::test]
async fn text_becomes_tokens_and_text_again() {
    let server = Server::start(Tiny::default(), LIMITS).await;
    let tokens = server.ask("/tokenize", json!({"model": "tiny", "prompt": "12 the é<|im_end|>"})).await;
    assert_eq!((&tokens["count"], &tokens["max_model_len"]), (&json!(7), &json!(512)), "{tokens}");
    let text = server.ask("/detokenize", json!({"tokens": tokens["tokens"]})).await;
    assert_eq!(text, json!({"prompt": "12 the é<|im_end|>"}));
    let chat = server.ask("/tokenize", json!({"messages": [{"role": "user", "content": "hello"}]})).await;
    assert_eq!(chat["count"], 24);
    for (path, body, param) in [
        ("/tokenize", json!({"prompt": "a", "more": 1}), "more"),
        ("/detokenize", json!({"tokens": [9999]}), "prompt[0]"),
        ("/detokenize", json!({"tokens": "a"}), "tokens"),
    ] {
        let response = server.post(path, body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["param"], param);
    }
}
