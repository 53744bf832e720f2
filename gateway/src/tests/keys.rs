//! Keys with a name: what they may do is held, on every path, and what they spent outlives a restart.

use sha2::{Digest, Sha256};

use super::*;

fn line(key: &str, limits: Value) -> String {
    let mut limits = limits;
    limits["made_at"] = json!("2026-01-01T00:00:00Z");
    format!("sha256:{} {limits}\n", hex::encode(Sha256::digest(key)))
}

/// With keys `k-NAME` beside the one that has no limits.
async fn house(baseline: Option<&Mock>, candidate: &Mock, keys: &[Value]) -> House {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut config = config(folder.path(), baseline.map(Mock::url).as_deref(), Some(&candidate.url()));
    let lines: String =
        keys.iter().map(|key| line(&format!("k-{}", key["name"].as_str().unwrap()), key.clone())).collect();
    std::fs::write(folder.path().join("keys"), format!("{KEY}\n{lines}")).unwrap();
    for variant in config["variants"].as_object_mut().unwrap().values_mut() {
        variant["price"] = json!({"prompt_per_million": "1000", "completion_per_million": "1000"});
    }
    House::open_in(folder, &config).await.unwrap()
}

async fn ask(house: &House, key: &str, body: Value) -> Response {
    let url = format!("http://{}/v1/chat/completions", house.public);
    house.client.post(url).bearer_auth(key).json(&body).send().await.unwrap()
}

fn used(prompt: u64, completion: u64) -> Reply {
    Reply::json(200, &json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}))
}

fn small() -> Value {
    json!({"model": "gpt", "max_tokens": 10})
}

#[tokio::test]
async fn a_key_with_a_name_has_its_models_and_its_time() {
    let candidate = Mock::new(used(1, 1)).await;
    let keys = [json!({"name": "a", "models": ["gpt"]}), json!({"name": "old", "expires": "2026-01-02T00:00:00Z"})];
    let house = house(None, &candidate, &keys).await;
    assert_eq!(ask(&house, "k-a", small()).await.status(), 200);
    let (status, error) = error_of(ask(&house, "k-a", json!({"model": "r1"})).await).await;
    assert_eq!((status, error.code.as_deref()), (404, Some("model_not_found")));
    assert!(error.message.contains("may not use the model \"r1\""), "{error:?}");
    let (status, error) = error_of(ask(&house, "k-old", small()).await).await;
    assert_eq!((status, error.message.as_str()), (401, "the API key given has expired"));
    let url = format!("http://{}/v1/models", house.public);
    let list: Value = house.client.get(&url).bearer_auth("k-a").send().await.unwrap().json().await.unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 0, "of r1, which it may not use, it learns nothing: {list}");
    assert_eq!(candidate.seen().len(), 1);
    assert!(house.metrics().await.contains("dsctl_key_tokens_total{key=\"a\",kind=\"prompt\"} 1\n"));
}

#[tokio::test]
async fn rates_are_held_and_the_client_is_told_when_to_come_again() {
    let candidate = Mock::new(used(5, 5)).await;
    let keys = [json!({"name": "r", "requests_per_minute": 3}), json!({"name": "t", "tokens_per_minute": 40})];
    let house = house(None, &candidate, &keys).await;
    for _ in 0..3 {
        assert_eq!(ask(&house, "k-r", small()).await.status(), 200);
    }
    let answer = ask(&house, "k-r", small()).await;
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((15..=20).contains(&wait), "{wait}");
    let (status, error) = error_of(answer).await;
    assert_eq!(
        (status, error.kind.as_str(), error.code.as_deref()),
        (429, "rate_limit_error", Some("rate_limit_exceeded"))
    );
    // What was reserved and not used is given back: 10 of some 20 each time.
    for _ in 0..3 {
        assert_eq!(ask(&house, "k-t", small()).await.status(), 200);
    }
    let (status, error) = error_of(ask(&house, "k-t", small()).await).await;
    assert_eq!((status, error.code.as_deref()), (429, Some("rate_limit_exceeded")), "{error:?}");
    assert!(error.message.contains("40 tokens a minute"), "{error:?}");
    assert_eq!(ask(&house, KEY, small()).await.status(), 200, "others are not held");
    let page = house.metrics().await;
    assert!(page.contains("dsctl_key_requests_refused_total{key=\"r\",limit=\"requests\"} 1\n"), "{page}");
}

#[tokio::test]
async fn a_budget_counts_fallbacks_streams_and_what_does_not_say_and_survives_a_restart() {
    let golden = "data: {\"choices\":[]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":50}}\n\ndata: [DONE]\n\n";
    let candidate = Mock::new(Reply::error(500)).await;
    let baseline = Mock::new(used(100, 100)).await;
    let first =
        house(Some(&baseline), &candidate, &[json!({"name": "b", "budget": {"dollars": 0.5, "per": "month"}})]).await;
    first.weigh("100%").await;
    // 20 cents by a fallback.
    assert_eq!(variant_of(&ask(&first, "k-b", small()).await), "baseline");
    // 10 cents in a stream.
    candidate.play(Reply::stream(&[golden]));
    ask(&first, "k-b", small()).await.text().await.unwrap();
    let config = first.read_config();
    let second = House::open_in(first.close().await, &config).await.unwrap();
    let page = |house: &House| house.control.plane.metrics.render().unwrap();
    // What says nothing of its tokens is taken to have had all that it might: 100 tokens and the prompt.
    candidate.play(Reply::stream(&["data: {\"choices\":[]}\n\ndata: [DONE]\n\n"]));
    ask(&second, "k-b", json!({"model": "gpt", "max_tokens": 100})).await.text().await.unwrap();
    assert!(page(&second).contains("dsctl_key_tokens_total{key=\"b\",kind=\"completion\"} 100\n"), "{}", page(&second));
    let answer = ask(&second, "k-b", json!({"model": "gpt", "max_tokens": 100})).await;
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=31 * 86_400).contains(&wait), "{wait}");
    let (status, error) = error_of(answer).await;
    assert_eq!((status, error.code.as_deref()), (429, Some("insufficient_quota")));
    assert!(error.message.contains("$0.50/month"), "{error:?}");
    // What fails costs nothing, and leaves nothing reserved.
    candidate.play(Reply::error(500));
    baseline.play(Reply::error(500));
    for _ in 0..20 {
        assert_eq!(ask(&second, "k-b", small()).await.status(), 502);
    }
}

#[tokio::test]
async fn what_came_at_once_does_not_pass_a_limit_together() {
    let candidate = Mock::new(used(5, 5)).await;
    let house = house(None, &candidate, &[json!({"name": "r", "requests_per_minute": 5})]).await;
    let answers = futures::future::join_all((0..20).map(|_| ask(&house, "k-r", small()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status() == 200).count(), 5);
    assert_eq!(candidate.seen().len(), 5);
}
