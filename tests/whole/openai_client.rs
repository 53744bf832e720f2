//! The official OpenAI client, through the gateway, against the real model.

use tests::home::Home;
use tests::python;

#[test]
fn the_official_client_finds_what_it_expects() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    let checks = python::script("openai_client.py", &endpoint).exits(0);
    let passed: Vec<&str> = checks.stdout.lines().collect();
    let expected = [
        "models",
        "chat",
        "chat_streamed",
        "completion",
        "completion_streamed",
        "logprobs",
        "stop",
        "max_tokens",
        "seed",
        "choices",
        "json_schema",
        "errors",
    ];
    assert_eq!(passed, expected, "{}", checks.transcript());
}
