//! Replicas and a spare of a deployment file, with their keys, reach the gateway.

use reqwest::Method;
use serde_json::json;
use tests::home::Home;
use tests::http::{Answer, call, get, sample};
use tests::mock::{Mock, Script};
use tests::weights;

#[test]
fn a_spare_answers_where_baseline_and_candidate_do_not() {
    let [old, replica, spare] = ["old", "replica", "spare"].map(Mock::start);
    let home = Home::alone().variable("SPARE_API_KEY", "sk-spare");
    let text = format!(
        "model: {}\nbaseline: {{url: '{}', replicas: ['{}'], model: old-model}}\n\
         spare: {{url: '{}', model: spare-model, key_env: SPARE_API_KEY}}\n",
        weights::MODEL,
        old.base_url(),
        replica.base_url(),
        spare.base_url()
    );
    let endpoint = home.up(&["--file", &home.write("dsctl.yaml", &text)]);
    let ask = || -> Answer {
        let body = json!({"model": "gpt-4", "max_tokens": 2, "messages": [{"role": "user", "content": "x"}]});
        call(Method::POST, &format!("{}/chat/completions", endpoint.url), &endpoint.key, Some(&body))
    };
    old.play(Script::Fail(500));
    ask().has_status(200);
    assert_eq!((old.requests(), replica.requests()), (1, 1), "a replica answers where one fails");
    home.dsctl(&["host", "drain", "--yes"]).exits(0);
    replica.play(Script::Cut);
    ask().has_status(200);
    assert_eq!(
        (spare.models(), spare.last_authorization()),
        (vec!["spare-model".to_owned()], Some("Bearer sk-spare".to_owned()))
    );
    let page = get(&endpoint.url.replace("/v1", "/metrics")).has_status(200).body;
    assert!(sample(&page, "dsctl_gateway_answers_total{status=\"200\",variant=\"spare\"}") > 0.5, "{page}");
    for file in ["dsctl.yaml", "state/state.json"] {
        let text = std::fs::read_to_string(home.deployment().root().join(file)).unwrap();
        assert!(!text.contains("sk-spare"), "a key in {file}");
    }
}
