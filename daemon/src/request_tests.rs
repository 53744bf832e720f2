//! Every bad request has an error that names its field.

use super::*;
use crate::request_messages::Role;
use serde_json::json;

/// A chat request with one field changed; `null` takes it away.
fn chat_with(field: &str, value: Value) -> Result<ValidRequest, RequestError> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body[field] = value;
    ValidRequest::chat(body.to_string().as_bytes())
}

fn completion_with(field: &str, value: Value) -> Result<ValidRequest, RequestError> {
    let mut body = json!({"model": "m", "prompt": "hi"});
    body[field] = value;
    ValidRequest::completion(body.to_string().as_bytes())
}

#[test]
fn bad_chat_requests_name_their_field() {
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let cases = [
        ("model", json!(null), "model", "is required"),
        ("model", json!(""), "model", "is required"),
        ("model", json!(7), "model", "must be a string, got a number"),
        ("messages", json!(null), "messages", "is required"),
        ("messages", json!("hi"), "messages", "must be an array, got a string"),
        ("messages", json!([]), "messages", "must hold at least one message"),
        ("messages", json!(["hi"]), "messages[0]", "must be an object, got a string"),
        ("messages", json!([{"content": "hi"}]), "messages[0].role", "is required"),
        ("messages", json!([{"role": "user"}]), "messages[0].content", "is required"),
        ("messages", json!([{"role": "wizard", "content": "x"}]), "messages[0].role", "got \"wizard\""),
        ("messages", json!([{"role": "tool"}]), "messages[0].content", "is required"),
        (
            "messages",
            json!([{"role": "assistant", "tool_calls": [{}]}]),
            "messages[0].tool_calls[0].function",
            "is required",
        ),
        ("messages", json!([{"role": 1, "content": "x"}]), "messages[0].role", "must be a string, got a number"),
        ("messages", user(json!(5)), "messages[0].content", "must be a string or an array of parts, got a number"),
        ("messages", user(json!([{"type": "text"}])), "messages[0].content[0].text", "is required"),
        ("messages", user(json!([{"text": "x"}])), "messages[0].content[0].type", "is required"),
        (
            "messages",
            user(json!([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "x"}}])),
            "messages[0].content[1].type",
            "reads text only",
        ),
        ("messages", json!([{"role": "user", "content": "x", "extra": 1}]), "messages[0].extra", "is not a field"),
        ("temperature", json!(2.1), "temperature", "must be from 0 to 2, got 2.1"),
        ("temperature", json!(-0.1), "temperature", "must be from 0 to 2"),
        ("temperature", json!("hot"), "temperature", "must be a number, got a string"),
        ("top_p", json!(1.5), "top_p", "must be from 0 to 1"),
        ("max_tokens", json!(0), "max_tokens", "must be at least 1, got 0"),
        ("max_tokens", json!(-3), "max_tokens", "must be at least 1"),
        ("max_tokens", json!(1.5), "max_tokens", "must be a whole number"),
        ("max_tokens", json!("9"), "max_tokens", "must be a whole number, got a string"),
        ("max_completion_tokens", json!(0), "max_completion_tokens", "must be at least 1"),
        ("n", json!(17), "n", "must be at most 16"),
        ("n", json!(0), "n", "must be at least 1"),
        ("seed", json!("x"), "seed", "must be a whole number"),
        ("frequency_penalty", json!(3), "frequency_penalty", "must be from -2 to 2"),
        ("presence_penalty", json!(-3), "presence_penalty", "must be from -2 to 2"),
        ("stop", json!(5), "stop", "must be a string or an array of strings, got a number"),
        ("stop", json!(["a", 5]), "stop[1]", "must be a string, got a number"),
        ("stop", json!(["a", "b", "c", "d", "e"]), "stop", "must be at most 4 strings, got 5"),
        ("stop", json!(""), "stop", "must not hold an empty string"),
        ("stream", json!("yes"), "stream", "must be true or false, got a string"),
        ("stream_options", json!({"include_usage": true}), "stream_options", "needs stream to be true"),
        ("logprobs", json!(3), "logprobs", "must be true or false, got a number"),
        ("top_logprobs", json!(3), "top_logprobs", "needs logprobs to be true"),
        ("top_logprobs", json!(21), "top_logprobs", "must be at most 20, got 21"),
        ("tools", json!([{"type": "function"}]), "tools[0].function", "is required"),
        ("tools", json!([{"type": "search"}]), "tools[0].type", "must be \"function\""),
        ("tools", json!([{"type": "function", "function": {"name": ""}}]), "tools[0].function.name", "1 to 64"),
        ("tool_choice", json!("required"), "tool_choice", "not among tools"),
        ("tool_choice", json!("maybe"), "tool_choice", "got \"maybe\""),
        ("response_format", json!({"type": "xml"}), "response_format.type", "json_schema"),
        ("response_format", json!({"type": "json_schema"}), "response_format.json_schema", "is required"),
        ("chat_template_kwargs", json!(5), "chat_template_kwargs", "must be an object"),
        ("logit_bias", json!({"5": 101}), "logit_bias.5", "from -100 to 100"),
        ("logit_bias", json!({"the": 1}), "logit_bias.the", "number of a token"),
        ("min_p", json!(2), "min_p", "must be from 0 to 1"),
        ("store", json!(true), "store", "is not supported"),
        ("reasoning_effort", json!("high"), "reasoning_effort", "is not supported"),
        ("top_k", json!(-2), "top_k", "must be at least -1"),
        ("top_a", json!(40), "top_a", "is not a field of this request"),
    ];
    for (field, value, param, problem) in cases {
        let error = chat_with(field, value.clone()).expect_err(&format!("{field}: {value} was accepted"));
        assert_eq!(error.param.as_deref(), Some(param), "{field}: {value} gave {error}");
        assert!(error.message.contains(problem), "{field}: {value} gave {error}");
        assert_eq!(error.kind.status(), 400);
    }
}

#[test]
fn bad_completion_requests_name_their_field() {
    let cases = [
        ("prompt", json!(null), "prompt", "is required"),
        ("prompt", json!([]), "prompt", "must not be empty"),
        ("prompt", json!({"text": "x"}), "prompt", "must be a string, an array of one string"),
        ("prompt", json!(["a", "b"]), "prompt", "more than one prompt"),
        ("prompt", json!([1, -2]), "prompt[1]", "must be a token"),
        ("prompt", json!([[1, "x"]]), "prompt[0][1]", "must be a token"),
        ("echo", json!(true), "echo", "is not supported"),
        ("best_of", json!(3), "best_of", "is not supported"),
        ("suffix", json!("end"), "suffix", "is not supported"),
        ("logprobs", json!(6), "logprobs", "must be at most 5"),
        ("logprobs", json!(true), "logprobs", "must be a whole number, got a boolean"),
        ("messages", json!([]), "messages", "is not a field of this request"),
    ];
    for (field, value, param, problem) in cases {
        let error = completion_with(field, value.clone()).expect_err(&format!("{field}: {value} was accepted"));
        assert_eq!(error.param.as_deref(), Some(param), "{field}: {value} gave {error}");
        assert!(error.message.contains(problem), "{field}: {value} gave {error}");
    }
}

#[test]
fn a_body_that_is_no_json_object_is_refused() {
    for (body, problem) in
        [("", "not valid JSON"), ("{\"model\":", "line 1 column"), ("[]", "got an array"), ("\u{1}", "JSON")]
    {
        let error = ValidRequest::chat(body.as_bytes()).unwrap_err();
        assert!(error.message.contains(problem), "{body:?} gave {error}");
        assert_eq!(error.kind, ErrorKind::InvalidRequest);
    }
}

#[test]
fn a_full_chat_request_is_read() {
    let body = json!({
        "model": "m", "stream": true, "stream_options": {"include_usage": true}, "temperature": 0, "top_p": 0.5,
        "seed": -1, "stop": ["a"], "max_completion_tokens": 5, "max_tokens": 5, "logprobs": true, "top_logprobs": 2,
        "n": 1.0, "user": "u", "metadata": {"k": "v"}, "store": false, "tools": [], "response_format": {"type": "text"},
        "tool_choice": "none", "logit_bias": {}, "frequency_penalty": 1, "presence_penalty": null,
        "messages": [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "x"},
        ],
    });
    let request = ValidRequest::chat(body.to_string().as_bytes()).unwrap();
    assert_eq!(request.delivery, Delivery::Streamed { include_usage: true });
    assert_eq!((request.max_tokens, request.stop), (Some(5), vec!["a".to_owned()]));
    let sampling = request.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.logprobs), (0.0, 0.5, Some(2)));
    assert_eq!((sampling.seed, sampling.frequency_penalty), (Some(u64::MAX), 1.0));
    let expected = [(Role::System, "be kind"), (Role::User, "ab")];
    let expected = expected.map(|(role, content)| ChatMessage::text(role, content));
    assert_eq!(request.input, Input::Chat(expected.to_vec()));
}

#[test]
fn prompts_come_in_four_forms() {
    let input = |prompt: Value| completion_with("prompt", prompt).unwrap().input;
    assert_eq!(input(json!("a")), Input::Text("a".to_owned()));
    assert_eq!(input(json!(["a"])), Input::Text("a".to_owned()));
    assert_eq!(input(json!([1, 2])), Input::Tokens(vec![1, 2]));
    assert_eq!(input(json!([[1, 2]])), Input::Tokens(vec![1, 2]));
    assert_eq!(completion_with("user", json!("u")).unwrap().max_tokens, Some(COMPLETION_TOKENS));
}
