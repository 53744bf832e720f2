//! Tokens and dollars: what an answer says of itself, at its variant's price.

use super::*;

fn priced(config: &mut Value) {
    config["machine_hourly"] = json!(10.49);
    config["variants"]["baseline"]["price"] = json!({"prompt_per_million": 10, "completion_per_million": 40});
}

fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[tokio::test]
async fn whole_answers_and_streams_are_counted_and_priced() {
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 25, "total_tokens": 125});
    let baseline = Mock::new(Reply::json(200, &json!({"object": "chat.completion", "usage": usage}))).await;
    let house = House::open_with(Some(&baseline.url()), None, priced).await;
    assert_eq!(house.chat().await.status(), 200);
    let last = format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
    let pieces = ["data: {\"choices\":[],\"usage\":null}\n\n", &last, "data: [DONE]\n\n"];
    baseline.play(Reply::stream(&pieces));
    assert_eq!(house.chat().await.text().await.unwrap(), pieces.concat());
    let page = house.metrics().await;
    for (series, expected) in [
        ("dsctl_machine_cost_dollars_per_hour", 10.49),
        ("dsctl_gateway_tokens_total{kind=\"prompt\",variant=\"baseline\"}", 200.0),
        ("dsctl_gateway_tokens_total{kind=\"completion\",variant=\"baseline\"}", 50.0),
        ("dsctl_gateway_cost_dollars_total{variant=\"baseline\"}", 0.004),
        ("dsctl_gateway_request_cost_dollars_count{variant=\"baseline\"}", 2.0),
        ("dsctl_gateway_answers_without_usage_total{variant=\"baseline\"}", 0.0),
    ] {
        let found = value(&page, series).unwrap_or_else(|| panic!("{series} in {page}"));
        assert!((found - expected).abs() < 1e-9, "{series} {found}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_and_one_that_does_not_say_are_missed_aloud_and_a_refusal_is_not() {
    let candidate = Mock::new(Reply::stream(&["data: {}\n\n", "data: [DONE]\n\n"])).await;
    let house = House::open(None, Some(&candidate.url())).await;
    house.chat().await.text().await.unwrap();
    candidate.play(Reply::stream(&["data: {}\n\n"]).end(End::Broken));
    house.chat().await.text().await.unwrap();
    for status in [400, 500] {
        candidate.play(Reply::error(status));
        house.chat().await;
    }
    let page = house.metrics().await;
    assert_eq!(value(&page, "dsctl_gateway_answers_without_usage_total{variant=\"candidate\"}"), Some(2.0));
    assert_eq!(value(&page, "dsctl_gateway_tokens_total{kind=\"prompt\",variant=\"candidate\"}"), Some(0.0));
}

#[tokio::test]
async fn a_price_that_is_not_known_is_absent_and_one_that_is_taken_away_goes() {
    let baseline = Mock::new(Reply::ok("baseline")).await;
    let house = House::open_with(Some(&baseline.url()), None, priced).await;
    let page = house.metrics().await;
    assert_eq!(value(&page, "dsctl_gateway_cost_dollars_total{variant=\"baseline\"}"), Some(0.0));
    assert!(!page.contains("cost_dollars_total{variant=\"candidate\"}"), "{page}");
    let mut config = house.read_config();
    config.as_object_mut().unwrap().remove("machine_hourly");
    house.write_config(&config);
    assert_eq!(house.admin("POST", "/admin/reload").send().await.unwrap().status(), 200);
    assert_eq!(value(&house.metrics().await, "dsctl_machine_cost_dollars_per_hour"), None);
}
