//! Which failures go to the other variant, and what the client is told when there is none left.

use rollout::ports::Outcome;

use super::*;

async fn from(answer: Response) -> String {
    let body: Value = answer.json().await.unwrap();
    body["from"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_variant_that_fails_is_covered_by_the_other() {
    let baseline = Mock::new(Reply::ok("baseline")).await;
    let candidate = Mock::new(Reply::ok("candidate")).await;
    let house = House::open(Some(&baseline.url()), Some(&candidate.url())).await;
    house.weigh("100%").await;
    let cut = Reply::ok("candidate").header("content-length", "4000").end(End::Broken);
    let mut chunked_cut = Reply::ok("candidate");
    chunked_cut.end = End::Broken;
    let html = Reply { pieces: vec![b"<html>".to_vec()], ..Reply::ok("") };
    let array = Reply { pieces: vec![b"[]".to_vec()], ..Reply::ok("") };
    let empty = Reply { pieces: vec![], ..Reply::ok("") };
    let redirect = Reply::error(302).header("location", "http://127.0.0.1:1/");
    let statuses = [400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 501, 502, 503, 504, 529];
    let replies = statuses.into_iter().map(Reply::error);
    let odd = [cut, chunked_cut, html, array, empty, redirect, Reply::json(200, &json!({"error": {"message": "x"}}))];
    let mut count = 0;
    for reply in replies.chain(odd) {
        candidate.play(reply.clone());
        let answer = house.chat().await;
        assert_eq!((answer.status().as_u16(), variant_of(&answer)), (200, "baseline"), "{reply:?}");
        assert_eq!(from(answer).await, "baseline");
        let expected = [(Variant::Candidate, Outcome::UpstreamError), (Variant::Baseline, Outcome::Ok)];
        assert_eq!(house.outcomes(), expected, "{reply:?}");
        count += 1;
    }
    let text = house.metrics().await;
    let line = format!("dsctl_gateway_fallbacks_total{{from=\"candidate\",to=\"baseline\"}} {count}");
    assert!(text.contains(&line), "{text}");
    // Each got its own name for the model, the baseline its key, and neither the client's.
    assert!(candidate.seen().iter().all(|seen| seen.body.contains("\"r1\"") && !seen.head.contains("authorization")));
    let head = format!("authorization: bearer {UPSTREAM_KEY}");
    assert!(baseline.seen().iter().all(|seen| seen.body.contains("\"gpt-4\"") && seen.head.contains(&head)));
}

#[tokio::test]
async fn the_baseline_is_covered_by_the_candidate_too() {
    let candidate = Mock::new(Reply::ok("candidate")).await;
    let house = House::open(Some(&nobody().await), Some(&candidate.url())).await;
    let answer = house.chat().await;
    assert_eq!(variant_of(&answer), "candidate");
    assert_eq!(house.outcomes(), [(Variant::Candidate, Outcome::Ok), (Variant::Baseline, Outcome::UpstreamError)]);
}

#[tokio::test]
async fn the_clients_own_fault_stays_the_clients() {
    let baseline = Mock::new(Reply::ok("baseline")).await;
    let candidate = Mock::new(Reply::ok("candidate")).await;
    let house = House::open(Some(&baseline.url()), Some(&candidate.url())).await;
    house.weigh("100%").await;
    // What both refuse: the client gets the first answer.
    baseline.play(Reply::error(418));
    for status in [400, 409, 413, 415, 422] {
        candidate.play(Reply::error(status));
        let answer = house.chat().await;
        assert_eq!(variant_of(&answer), "candidate");
        let (given, error) = error_of(answer).await;
        assert_eq!((given, error.message.as_str()), (status, "scripted"));
        let both = [(Variant::Candidate, Outcome::ClientError), (Variant::Baseline, Outcome::ClientError)];
        assert_eq!(house.outcomes(), both);
    }
    // A variant that can't tell leaves the first answer, and is down all the same.
    baseline.play(Reply::error(500));
    let answer = house.chat().await;
    assert_eq!((answer.status().as_u16(), variant_of(&answer)), (422, "candidate"));
    let outcomes = [(Variant::Candidate, Outcome::ClientError), (Variant::Baseline, Outcome::UpstreamError)];
    assert_eq!(house.outcomes(), outcomes);
    let fallbacks = "dsctl_gateway_fallbacks_total{from=\"candidate\",to=\"baseline\"} 0";
    assert!(house.metrics().await.contains(fallbacks), "no answer came from a fallback");
    // What the baseline refuses is not offered to the candidate. A name that no variant maps is the client's; a 404
    // that is not the API's is not.
    house.weigh("0%").await;
    baseline.play(Reply::error(404));
    let asked = candidate.seen().len();
    let ask = || house.post("/v1/completions", r#"{"model":"typo"}"#).send();
    let answer = ask().await.unwrap();
    assert_eq!((answer.status().as_u16(), variant_of(&answer)), (404, "baseline"));
    assert_eq!(house.outcomes(), [(Variant::Baseline, Outcome::ClientError)]);
    assert_eq!(candidate.seen().len(), asked);
    baseline.play(Reply { pieces: vec![b"nginx".to_vec()], ..Reply::error(404) });
    candidate.play(Reply::ok("candidate"));
    assert_eq!(variant_of(&ask().await.unwrap()), "candidate");
}

#[tokio::test]
async fn alone_a_candidates_refusal_is_the_answer_and_a_timeout_is_a_failure() {
    let candidate = Mock::new(Reply::error(400)).await;
    let house = House::open(None, Some(&candidate.url())).await;
    assert_eq!(error_of(house.chat().await).await.0, 400);
    assert_eq!(house.outcomes(), [(Variant::Candidate, Outcome::ClientError)]);
    candidate.play(Reply::error(408));
    assert_eq!(error_of(house.chat().await).await.0, 504);
    assert_eq!(house.outcomes(), [(Variant::Candidate, Outcome::UpstreamError)]);
}

#[tokio::test]
async fn a_stream_covers_what_the_candidate_refuses() {
    let events = "data: {}\n\ndata: [DONE]\n\n";
    let baseline = Mock::new(Reply::stream(&[events])).await;
    let candidate = Mock::new(Reply::error(400)).await;
    let house = House::open(Some(&baseline.url()), Some(&candidate.url())).await;
    house.weigh("100%").await;
    let answer = house.chat().await;
    assert_eq!((answer.status().as_u16(), variant_of(&answer)), (200, "baseline"));
    assert_eq!(answer.text().await.unwrap(), events);
    assert_eq!(house.outcomes(), [(Variant::Candidate, Outcome::UpstreamError), (Variant::Baseline, Outcome::Ok)]);
}

#[tokio::test]
async fn when_both_fail_both_are_named_and_no_secret_is() {
    let baseline = Mock::new(Reply::error(500)).await;
    let candidate = Mock::new(Reply::error(500)).await;
    let house = House::open_with(Some(&baseline.url()), Some(&candidate.url()), |config| {
        config["limits"]["first_byte_timeout"] = "100ms".into();
    })
    .await;
    house.weigh("100%").await;
    let busy = |wait: &str| Reply::error(429).header("retry-after", wait);
    for (one, other, status, hints, wait) in [
        (Reply::error(500), Reply::error(401), 502, ["candidate answered 500", "baseline refused"], None),
        (busy("9"), busy("4"), 503, ["candidate answered 429", "baseline answered 429"], Some("4")),
        (busy("9"), Reply::error(503), 503, ["candidate answered 429", "baseline answered 503"], None),
        (
            Reply::ok("").end(End::Mute),
            Reply::ok("").end(End::Mute),
            504,
            ["candidate gave no", "baseline gave no"],
            None,
        ),
        (Reply::ok("").end(End::Mute), busy("4"), 502, ["candidate gave no", "baseline answered 429"], None),
    ] {
        candidate.play(one);
        baseline.play(other);
        let answer = house.chat().await;
        assert_eq!(variant_of(&answer), "none");
        assert_eq!(answer.headers().get("retry-after").map(|value| value.to_str().unwrap()), wait);
        let (given, error) = error_of(answer).await;
        assert_eq!(given, status, "{error:?}");
        assert!(hints.iter().all(|hint| error.message.contains(hint)), "{error:?}");
        assert!(![UPSTREAM_KEY, KEY, "127.0.0.1"].iter().any(|secret| error.message.contains(secret)), "{error:?}");
    }
    assert!(house.metrics().await.contains("dsctl_gateway_answers_total{status=\"504\",variant=\"none\"} 1"));
}

#[tokio::test]
async fn a_single_variant_that_is_away_is_named() {
    let house = House::open(None, Some(&nobody().await)).await;
    let (status, error) = error_of(house.chat().await).await;
    assert_eq!((status, error.code.as_deref()), (503, Some("no_variant_available")));
    assert!(error.message.contains("candidate could not be reached"), "{error:?}");
}

#[tokio::test]
async fn a_long_answer_passes_whole_and_a_cut_one_breaks_off() {
    let long = vec![b'x'; 9 << 20];
    let reply = Reply { pieces: vec![long.clone()], ..Reply::ok("") }.header("content-length", &long.len().to_string());
    let candidate = Mock::new(reply.clone()).await;
    let house = House::open(None, Some(&candidate.url())).await;
    let answer = house.chat().await;
    assert_eq!(answer.content_length(), Some(long.len() as u64));
    assert!(answer.bytes().await.unwrap() == long);
    assert_eq!(house.outcomes(), [(Variant::Candidate, Outcome::Ok)]);

    candidate.play(Reply { pieces: vec![long[..long.len() - 1].to_vec()], end: End::Broken, ..reply });
    let answer = house.chat().await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
    assert_eq!(house.outcomes(), [(Variant::Candidate, Outcome::Truncated)]);
}
