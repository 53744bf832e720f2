//! Answers that are given again: only where it is asked for, to whom they were given, and nothing that was flagged.

use super::*;

async fn house(candidate: &Mock, guards: Value) -> House {
    House::open_with(None, Some(&candidate.url()), |config| {
        config["cache"] = json!({"max_mib": 1, "keep_for": "10m"});
        config["guards"] = guards;
        let folder = PathBuf::from(config["api_keys_file"].as_str().unwrap());
        std::fs::write(folder, format!("{KEY}\nother\n")).unwrap();
    })
    .await
}

fn is_cached(answer: &Response) -> bool {
    answer.headers().get("x-dsctl-cache").is_some_and(|value| value == "hit")
}

async fn ask(house: &House, key: &str, body: &str) -> Response {
    let url = format!("http://{}/v1/chat/completions", house.public);
    house.client.post(url).bearer_auth(key).body(body.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn the_same_request_of_the_same_key_is_answered_without_an_upstream() {
    let candidate = Mock::new(Reply::ok("x").header("x-request-id", "r-1")).await;
    let house = house(&candidate, Value::Null).await;
    let body = r#"{"model":"gpt","messages":[]}"#;
    assert!(!is_cached(&ask(&house, KEY, body).await));
    let again = ask(&house, KEY, body).await;
    assert!(
        is_cached(&again) && variant_of(&again) == "candidate" && again.headers()["content-type"] == "application/json"
    );
    assert_eq!(again.json::<Value>().await.unwrap()["from"], "x");
    for (key, body) in [("other", body), (KEY, r#"{"model":"gpt","messages":[] }"#)] {
        assert!(!is_cached(&ask(&house, key, body).await), "{key} {body}");
    }
    assert_eq!((candidate.seen().len(), house.counts(Variant::Candidate).attempts), (3, 3), "a hit is no attempt");
    let page = house.metrics().await;
    assert!(page.contains("dsctl_gateway_cache_lookups_total{result=\"hit\"} 1\n"), "{page}");
    // Other settings, other answers.
    house.control.reload().await.unwrap();
    assert!(!is_cached(&ask(&house, KEY, body).await));
}

#[tokio::test]
async fn failures_streams_and_what_was_flagged_are_not_kept() {
    let golden = "data: {\"choices\":[]}\n\ndata: [DONE]\n\n";
    let candidate = Mock::new(Reply::ok("x")).await;
    let guards = json!({"rules": [{"name": "watched", "words": ["acme"], "action": "flag"}], "redact": {"entities": ["EMAIL_ADDRESS"]}});
    let house = house(&candidate, guards).await;
    for (reply, text) in [
        (Reply::error(422), "a"),
        (Reply::stream(&[golden]), "b"),
        (Reply::ok("x"), "of acme"),
        (Reply::ok("x"), "to anna@example.org"),
        (Reply::ok("acme"), "c"),
    ] {
        candidate.play(reply);
        let body = json!({"model": "gpt", "messages": [{"role": "user", "content": text}]}).to_string();
        for _ in 0..2 {
            let answer = ask(&house, KEY, &body).await;
            assert!(!is_cached(&answer), "{text}");
            answer.text().await.unwrap();
        }
    }
    assert_eq!(candidate.seen().len(), 10);
}
