//! Streams: every piece at once, and none for a client that has gone away.

use serde_json::json;
use tests::home::Home;
use tests::http::{client, get, runtime, sample, wait};
use tests::wait::until;
use tests::weights;

const TOKENS: u32 = 900;

#[test]
fn a_client_that_goes_away_stops_its_generation() {
    // A response is read, and let go, inside of a runtime.
    let _runtime = runtime().enter();
    let home = Home::alone();
    let endpoint = home.up(&[]);
    let status = home.status();
    let daemon = status.0["gateway"]["variants"]["candidate"]["base_url"].as_str().unwrap().replace("/v1", "/metrics");
    let page = || get(&daemon).has_status(200).body;
    let body = json!({
        "model": weights::MODEL, "max_tokens": TOKENS, "stream": true, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Tell me a story without an end."}],
    });
    let request = client().post(format!("{}/chat/completions", endpoint.url)).bearer_auth(&endpoint.key).json(&body);
    let mut response = wait(request.send()).unwrap();
    let first = wait(response.chunk()).unwrap().expect("a first piece");
    assert!(first.starts_with(b"data: "), "{first:?}");
    assert_eq!(sample(&page(), "vllm:num_requests_running"), 1.0, "the first piece is here, the last is not made yet");
    drop(response);

    until("the generation has stopped", || (sample(&page(), "vllm:num_requests_running") == 0.0).then_some(()));
    let page = page();
    let aborted =
        page.lines().find(|line| line.starts_with("vllm:request_success_total") && line.contains("\"abort\""));
    assert!(aborted.is_some_and(|line| line.ends_with(" 1")), "{page}");
    let made = sample(&page, "vllm:generation_tokens_total");
    assert!(made < f64::from(TOKENS), "{made} tokens for nobody");
    let gateway = get(&endpoint.url.replace("/v1", "/metrics")).body;
    let seen =
        gateway.lines().any(|line| line.starts_with("dsctl_gateway_requests_total") && line.contains("client_abort"));
    assert!(seen, "{gateway}");
}
