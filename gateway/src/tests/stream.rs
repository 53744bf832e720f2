//! Streams: passed on at once, and ended in exactly one of two ways.

use rollout::ports::Outcome;

use super::*;

const GOLDEN: &str = "data: {\"id\":\"1\",\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"h\u{e9}\"}}]}\n\n\
                      data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                      data: [DONE]\n\n";

fn observed(house: &House) -> Vec<Outcome> {
    house.outcomes().into_iter().map(|(_, outcome)| outcome).collect()
}

async fn chat_text(house: &House) -> (u16, String) {
    let answer = house.chat().await;
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// All whole events, then either `[DONE]` or an error event.
fn assert_ends_once(text: &str) {
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert!(text.ends_with("\n\n"), "{text}");
    let ends = |event: &&str| *event == "data: [DONE]" || event.starts_with("data: {\"error\"");
    assert_eq!(events.iter().filter(|event| ends(event)).count(), 1, "{text}");
    assert!(events.last().is_some_and(ends), "{text}");
}

#[tokio::test]
async fn a_whole_stream_passes_byte_for_byte() {
    let candidate = Mock::new(Reply::stream(&[GOLDEN])).await;
    let house = House::open(None, Some(&candidate.url())).await;
    let answer = house.chat().await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(variant_of(&answer), "candidate");
    assert_eq!(answer.text().await.unwrap(), GOLDEN);
    assert_eq!(observed(&house), [Outcome::Ok]);
}

#[tokio::test]
async fn nothing_after_the_end_mark_reaches_the_client() {
    for more in ["data: [DONE]\n\n", "data: {}\n\n", ": bye\n\n"] {
        let candidate = Mock::new(Reply::stream(&[GOLDEN, more])).await;
        let house = House::open(None, Some(&candidate.url())).await;
        assert_eq!(chat_text(&house).await, (200, GOLDEN.to_owned()));
        assert_eq!(observed(&house), [Outcome::Ok]);
    }
}

#[tokio::test]
async fn a_cut_anywhere_shows_in_the_stream() {
    let candidate = Mock::new(Reply::stream(&[])).await;
    let house = House::open(None, Some(&candidate.url())).await;
    let first_event = GOLDEN.find("\n\n").unwrap() + 2;
    let done = GOLDEN.find("[DONE]").unwrap() + "[DONE]".len();
    for end in [End::Clean, End::Broken] {
        for at in 0..=GOLDEN.len() {
            let mut reply = Reply::stream(&[]).end(end);
            reply.pieces = vec![GOLDEN.as_bytes()[..at].to_vec()];
            candidate.play(reply);
            let (status, text) = chat_text(&house).await;
            if at < first_event {
                assert_eq!(status, 502, "{end:?} at {at}: {text}");
                assert_eq!(observed(&house), [Outcome::UpstreamError], "{end:?} at {at}");
                continue;
            }
            assert_eq!(status, 200, "{end:?} at {at}");
            assert_ends_once(&text);
            if at < done {
                let whole = text.rfind("data: {\"error\"").unwrap();
                let expected = GOLDEN.as_bytes()[..at].windows(2).rposition(|pair| pair == b"\n\n").unwrap() + 2;
                assert_eq!(&text[..whole], &GOLDEN[..expected], "{end:?} at {at}");
                assert_eq!(observed(&house), [Outcome::Truncated], "{end:?} at {at}");
            } else {
                assert_eq!(text, GOLDEN, "{end:?} at {at}");
                assert_eq!(observed(&house), [Outcome::Ok], "{end:?} at {at}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_event_falls_back() {
    let baseline = Mock::new(Reply::stream(&[GOLDEN])).await;
    let candidate = Mock::new(Reply::stream(&[])).await;
    let house = House::open(Some(&baseline.url()), Some(&candidate.url())).await;
    house.weigh("100%").await;
    let first_event = GOLDEN.find("\n\n").unwrap() + 2;
    let mut replies: Vec<Reply> = vec![
        Reply::stream(&["data: {\"error\":{\"message\":\"out of memory\"}}\n\n", GOLDEN]),
        Reply::stream(&["event: error\ndata: {}\n\n"]),
        Reply::stream(&["data: {\"choices\":\n\n", GOLDEN]),
        Reply::stream(&[": waiting\n\n"]).end(End::Broken),
        Reply::stream(&["data: [DONE]\n\n"]),
        Reply::stream(&[GOLDEN]).header("content-encoding", "gzip"),
    ];
    for at in (0..first_event).step_by(7) {
        replies.push(Reply::stream(&[&GOLDEN[..at]]).end(End::Broken));
    }
    for reply in replies {
        candidate.play(reply.clone());
        let answer = house.chat().await;
        assert_eq!(variant_of(&answer), "baseline", "{reply:?}");
        assert_eq!(answer.text().await.unwrap(), GOLDEN, "{reply:?}");
        assert_eq!(observed(&house), [Outcome::UpstreamError, Outcome::Ok], "{reply:?}");
    }
}

#[tokio::test]
async fn a_stall_before_the_first_event_falls_back_and_one_after_it_shows() {
    let baseline = Mock::new(Reply::stream(&[GOLDEN])).await;
    let first_event = &GOLDEN[..GOLDEN.find("\n\n").unwrap() + 2];
    let candidate = Mock::new(Reply::stream(&[": waiting\n\n"]).end(End::Stall)).await;
    let house = House::open_with(Some(&baseline.url()), Some(&candidate.url()), |config| {
        config["limits"]["first_byte_timeout"] = "300ms".into();
        config["limits"]["idle_timeout"] = "50ms".into();
    })
    .await;
    house.weigh("100%").await;
    for reply in [Reply::stream(&[": waiting\n\n"]).end(End::Stall), Reply::ok("").end(End::Mute)] {
        candidate.play(reply);
        let answer = house.chat().await;
        assert_eq!(variant_of(&answer), "baseline");
        assert_eq!(answer.text().await.unwrap(), GOLDEN);
        candidate.until_left().await;
        assert_eq!(observed(&house), [Outcome::UpstreamError, Outcome::Ok]);
    }
    candidate.play(Reply::stream(&[first_event, "data: {\"half"]).end(End::Stall));
    let (status, text) = chat_text(&house).await;
    assert_eq!(status, 200);
    assert_ends_once(&text);
    assert!(text.starts_with(first_event) && text.contains("stalled for 50ms"), "{text}");
    candidate.until_left().await;
    assert_eq!(observed(&house), [Outcome::Truncated]);
}

#[tokio::test]
async fn an_error_in_mid_stream_is_the_end_and_counts() {
    let error = "data: {\"error\":{\"message\":\"x\"}}\n\n";
    let candidate = Mock::new(Reply::stream(&["data: {}\n\n", error, "data: [DONE]\n\n"])).await;
    let house = House::open(None, Some(&candidate.url())).await;
    assert_eq!(chat_text(&house).await, (200, format!("data: {{}}\n\n{error}")));
    assert_eq!(observed(&house), [Outcome::Truncated]);
}

#[tokio::test]
async fn one_unreadable_event_does_not_end_a_stream_but_shows_at_its_end() {
    let candidate =
        Mock::new(Reply::stream(&["data: {}\n\n", "data: {\"a\":\n\n", "data: {}\n\ndata: [DONE]\n\n"])).await;
    let house = House::open(None, Some(&candidate.url())).await;
    let (_, text) = chat_text(&house).await;
    assert_ends_once(&text);
    assert!(text.starts_with("data: {}\n\n: ") && text.contains("\n\ndata: {}\n\ndata: {\"error\""), "{text}");
    assert!(text.contains("stream_truncated") && text.contains("was left out") && !text.contains("[DONE]"), "{text}");
    assert_eq!(observed(&house), [Outcome::Truncated]);
}

#[tokio::test]
async fn each_event_arrives_while_the_next_is_not_even_made() {
    let candidate = Mock::new(Reply::stream(&["data: {\"n\":1}\n\n", ": alive\n"]).end(End::Stall)).await;
    let house = House::open(None, Some(&candidate.url())).await;
    let mut answer = house.chat().await;
    let mut text = String::new();
    while !text.ends_with(": alive\n") {
        text += std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert_eq!(text, "data: {\"n\":1}\n\n: alive\n");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_upstream_request() {
    let first = Reply::stream(&["data: {}\n\n"]).end(End::Stall);
    for reply in [first, Reply::ok("").end(End::Mute), Reply::stream(&[]).end(End::Stall)] {
        let candidate = Mock::new(reply.clone()).await;
        let house = House::open(None, Some(&candidate.url())).await;
        let mut client = TcpStream::connect(house.public).await.unwrap();
        let body = r#"{"model":"x","stream":true}"#;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.write_all(request.as_bytes()).await.unwrap();
        while candidate.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        if !reply.pieces.is_empty() && reply.end == End::Stall {
            let mut bytes = Vec::new();
            while !String::from_utf8_lossy(&bytes).contains("data: {}") {
                client.read_buf(&mut bytes).await.unwrap();
            }
        }
        drop(client);
        candidate.until_left().await;
        while house.counts(Variant::Candidate).in_flight > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(observed(&house), [Outcome::ClientAbort], "{reply:?}");
        assert_eq!(house.counts(Variant::Candidate).failures, 0);
    }
}
