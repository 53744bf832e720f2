//! Guards of a deployment file reach the gateway, and a change of them does too.

use reqwest::Method;
use serde_json::json;
use tests::home::{Endpoint, Home};
use tests::http::{Answer, call, get, sample};
use tests::mock::Mock;
use tests::weights;

fn say(endpoint: &Endpoint, text: &str) -> Answer {
    let body = json!({"model": weights::MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": text}]});
    call(Method::POST, &format!("{}/chat/completions", endpoint.url), &endpoint.key, Some(&body))
}

#[test]
fn what_a_deployment_file_says_of_guards_holds_in_its_gateway() {
    let (home, baseline) = (Home::alone(), Mock::start("baseline"));
    let up = |guards: &str| {
        let text = format!("model: {}\nbaseline: {}\nguards: {guards}\n", weights::MODEL, baseline.base_url());
        home.up(&["--file", &home.write("dsctl.yaml", &text)])
    };
    let endpoint = up("{redact: {}, rules: [{name: rivals, words: [acme], action: block}]}");
    say(&endpoint, "mail anna@example.org").has_status(200);
    let refused = say(&endpoint, "what of ACME?").has_status(400).json();
    assert_eq!(refused["error"]["code"], "content_policy", "{refused}");
    assert_eq!(baseline.requests(), 1);
    let page = get(&endpoint.url.replace("/v1", "/metrics")).has_status(200).body;
    let counted = |line: &str| sample(&page, line);
    assert!(counted("dsctl_pii_redactions_total{direction=\"request\",entity=\"EMAIL_ADDRESS\"}") > 0.5, "{page}");
    assert!(
        counted("dsctl_guard_verdicts_total{action=\"block\",direction=\"request\",rule=\"rivals\"}") > 0.5,
        "{page}"
    );

    let endpoint = up("{rules: [{name: rivals, words: [acme], action: flag}]}");
    say(&endpoint, "what of ACME?").has_status(200);
}
