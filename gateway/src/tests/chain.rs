//! Several upstreams a variant, the spare between the variants, and who is not asked for a while.

use super::*;

fn with_replicas(config: &mut Value, variant: &str, more: &[&Mock]) {
    config["limits"]["failures_in_a_row"] = 5.into();
    config["variants"][variant]["replicas"] = more.iter().map(|mock| mock.url()).collect();
}

async fn with_spare(baseline: &Mock, candidate: &Mock, spare: &Mock) -> House {
    let house = House::open_with(Some(&baseline.url()), Some(&candidate.url()), |config| {
        config["limits"]["failures_in_a_row"] = 5.into();
        config["spare"] = json!({"base_url": spare.url(), "default_model": "spare-model"});
    })
    .await;
    house.weigh("100%").await;
    house
}

#[tokio::test]
async fn the_least_busy_upstream_of_a_variant_is_asked() {
    let [first, second] = [Mock::new(Reply::ok("").end(End::Mute)).await, Mock::new(Reply::ok("second")).await];
    let house =
        House::open_with(None, Some(&first.url()), |config| with_replicas(config, "candidate", &[&second])).await;
    let busy = tokio::spawn(house.post("/v1/chat/completions", r#"{"model":"gpt"}"#).send());
    while first.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        assert_eq!(house.chat().await.json::<Value>().await.unwrap()["from"], "second");
    }
    assert_eq!((first.seen().len(), second.seen().len()), (1, 3));
    busy.abort();
}

#[tokio::test]
async fn another_upstream_of_the_variant_answers_where_one_fails_and_then_that_is_left_alone() {
    let [first, second] = [Mock::new(Reply::error(500)).await, Mock::new(Reply::ok("second")).await];
    let baseline = Mock::new(Reply::ok("baseline")).await;
    let house = House::open_with(Some(&baseline.url()), Some(&first.url()), |config| {
        with_replicas(config, "candidate", &[&second])
    })
    .await;
    house.weigh("100%").await;
    for _ in 0..12 {
        assert_eq!(variant_of(&house.chat().await), "candidate");
    }
    assert_eq!((first.seen().len(), second.seen().len(), baseline.seen().len()), (5, 12, 0), "five failures in a row");
    // What stays over a reload is not asked again either.
    house.control.reload().await.unwrap();
    house.chat().await;
    assert_eq!(first.seen().len(), 5);
}

#[tokio::test]
async fn the_spare_is_asked_between_candidate_and_baseline_and_is_no_sample_of_either() {
    let [baseline, candidate, spare] =
        [Mock::new(Reply::ok("b")).await, Mock::new(Reply::error(500)).await, Mock::new(Reply::ok("s")).await];
    let house = with_spare(&baseline, &candidate, &spare).await;
    let answer = house.chat().await;
    assert_eq!((variant_of(&answer), answer.status().as_u16()), ("spare", 200));
    assert!(spare.seen()[0].body.contains("spare-model"));
    assert_eq!(house.outcomes(), [(Variant::Candidate, Outcome::UpstreamError)]);
    let page = house.metrics().await;
    for line in [
        "dsctl_gateway_requests_total{outcome=\"ok\",variant=\"spare\"} 1\n",
        "dsctl_gateway_fallbacks_total{from=\"candidate\",to=\"spare\"} 1\n",
        "dsctl_gateway_answers_total{status=\"200\",variant=\"spare\"} 1\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    assert_eq!(house.counts(Variant::Candidate).attempts + house.counts(Variant::Baseline).attempts, 1);
    // What the spare refuses the baseline may still do; and so it may after both failed.
    for reply in [Reply::error(400), Reply::error(401), Reply::error(500)] {
        spare.play(reply);
        assert_eq!(variant_of(&house.chat().await), "baseline");
    }
}

#[tokio::test]
async fn only_the_baseline_tells_what_a_refusal_of_the_candidate_is_worth() {
    let [baseline, candidate, spare] =
        [Mock::new(Reply::ok("b")).await, Mock::new(Reply::error(400)).await, Mock::new(Reply::ok("s")).await];
    let house = with_spare(&baseline, &candidate, &spare).await;
    assert_eq!(variant_of(&house.chat().await), "baseline");
    assert!(spare.seen().is_empty());
    for _ in 0..10 {
        house.chat().await;
    }
    assert_eq!(candidate.seen().len(), 11, "who refuses answers: it is not held back");
}

#[tokio::test]
async fn who_names_a_time_to_wait_is_asked_again_after_it_and_a_rollout_sees_what_was_meant_for_it() {
    let [baseline, candidate] =
        [Mock::new(Reply::ok("b")).await, Mock::new(Reply::error(429).header("retry-after", "1")).await];
    let house = House::open(Some(&baseline.url()), Some(&candidate.url())).await;
    house.weigh("100%").await;
    for _ in 0..4 {
        assert_eq!(variant_of(&house.chat().await), "baseline");
    }
    assert_eq!(candidate.seen().len(), 1);
    let expected =
        [vec![(Variant::Candidate, Outcome::UpstreamError); 4], vec![(Variant::Baseline, Outcome::Ok); 4]].concat();
    assert_eq!(house.outcomes(), expected);
    candidate.play(Reply::ok("c"));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    for _ in 0..2 {
        assert_eq!(variant_of(&house.chat().await), "candidate");
    }
}

#[tokio::test]
async fn while_a_rollout_judges_it_sees_what_really_comes_back() {
    let [baseline, candidate] = [Mock::new(Reply::ok("b")).await, Mock::new(Reply::error(500)).await];
    let house = House::open_with(Some(&baseline.url()), Some(&candidate.url()), |config| {
        config["limits"]["failures_in_a_row"] = 5.into();
    })
    .await;
    house.weigh("100%").await;
    for _ in 0..10 {
        // The controller, which has no rollout to carry, says otherwise once a second.
        house.control.plane.judge(true);
        assert_eq!(variant_of(&house.chat().await), "baseline");
    }
    assert_eq!(candidate.seen().len(), 10);
    house.control.plane.judge(false);
    house.chat().await;
    assert_eq!(candidate.seen().len(), 10);
}

#[tokio::test]
async fn where_all_are_held_back_all_are_asked() {
    let [baseline, candidate] = [Mock::new(Reply::error(500)).await, Mock::new(Reply::error(500)).await];
    let house = House::open_with(Some(&baseline.url()), Some(&candidate.url()), |config| {
        config["limits"]["failures_in_a_row"] = 5.into();
    })
    .await;
    house.weigh("100%").await;
    for _ in 0..8 {
        assert_eq!(house.chat().await.status(), 502);
    }
    assert_eq!((candidate.seen().len(), baseline.seen().len()), (8, 8));
    candidate.play(Reply::ok("c"));
    assert_eq!(variant_of(&house.chat().await), "candidate", "back at once");
}
