//! The fault wall: for each way in which an upstream can go wrong what the client saw, what was counted, where the next
//! request went. Each in front of a baseline that answers, streamed.

use super::*;

const GOLDEN: [&str; 5] = [
    "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"reasoning_content\":\"hm\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"caf\u{e9} \"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n",
    "data: [DONE]\n\n",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saw {
    /// The baseline's answer, and nothing of the fault.
    Baseline,
    /// The golden stream.
    Whole,
    /// Whole events, then an error in the stream and no end mark.
    Error,
}

async fn house(baseline: &Mock, candidate: &Mock, change: impl FnOnce(&mut Value)) -> House {
    let house = House::open_with(Some(&baseline.url()), Some(&candidate.url()), |config| {
        config["limits"]["first_byte_timeout"] = "150ms".into();
        config["limits"]["idle_timeout"] = "40ms".into();
        change(config);
    })
    .await;
    house.weigh("100%").await;
    house
}

fn saw(text: &str) -> Saw {
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    let errors = events.iter().filter(|event| event.starts_with("data: {\"error\"")).count();
    let ends = events.iter().filter(|event| **event == "data: [DONE]").count();
    match (errors, ends, text == GOLDEN.concat(), text.contains("baseline")) {
        (0, 1, true, false) => Saw::Whole,
        (1, 0, false, false) if events.last().is_some_and(|event| event.starts_with("data: {\"error\"")) => Saw::Error,
        (0, 1, false, true) => Saw::Baseline,
        _ => panic!("neither one nor the other: {text}"),
    }
}

fn baseline_stream() -> Reply {
    Reply::stream(&[
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"from the baseline\"}}]}\n\ndata: [DONE]\n\n",
    ])
}

/// The golden stream up to an event, and then something else.
fn after(events: usize, more: &[&str], end: End) -> Reply {
    Reply::stream(&[&GOLDEN[..events], more].concat()).end(end)
}

fn counted(saw: Saw) -> Vec<(Variant, Outcome)> {
    match saw {
        Saw::Baseline => vec![(Variant::Candidate, Outcome::UpstreamError), (Variant::Baseline, Outcome::Ok)],
        Saw::Whole => vec![(Variant::Candidate, Outcome::Ok)],
        Saw::Error => vec![(Variant::Candidate, Outcome::Truncated)],
    }
}

/// Plays each fault once, and a good answer after it.
async fn climb(house: &House, candidate: &Mock, wall: Vec<(String, Reply, Saw)>) {
    for (name, reply, expected) in wall {
        candidate.play(reply);
        let answer = house.chat().await;
        let (status, label) = (answer.status(), variant_of(&answer).to_owned());
        let text = answer.text().await.unwrap();
        assert_eq!((status.as_u16(), saw(&text)), (200, expected), "{name}: {text}");
        assert_eq!(label, if expected == Saw::Baseline { "baseline" } else { "candidate" }, "{name}");
        assert_eq!(house.outcomes(), counted(expected), "{name}");
        candidate.play(Reply::stream(&GOLDEN));
        let next = house.chat().await;
        assert_eq!(variant_of(&next), "candidate", "the next after {name}");
        assert_eq!(saw(&next.text().await.unwrap()), Saw::Whole, "the next after {name}");
        assert_eq!(house.outcomes(), counted(Saw::Whole));
    }
}

#[tokio::test]
async fn every_fault_of_a_stream_is_seen_counted_and_left_behind() {
    let (baseline, candidate) = (Mock::new(baseline_stream()).await, Mock::new(Reply::stream(&GOLDEN)).await);
    let house = house(&baseline, &candidate, |_| ()).await;
    let mut wall = Vec::new();
    let mut add = |name: &str, reply: Reply, saw: Saw| wall.push((name.to_owned(), reply, saw));
    for events in 0..GOLDEN.len() {
        let late = if events == 0 { Saw::Baseline } else { Saw::Error };
        add(&format!("a cut before event {events}"), after(events, &[], End::Clean), late);
        add(&format!("a broken connection before event {events}"), after(events, &["data: {"], End::Broken), late);
        add(&format!("a stall before event {events}"), after(events, &[], End::Stall), late);
        let mut bad = GOLDEN.to_vec();
        bad.insert(events, "data: {\"choices\": [\n\n");
        add(&format!("bad JSON before event {events}"), Reply::stream(&bad), late);
        let error = "data: {\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n";
        add(&format!("an error before event {events}"), after(events, &[error, "data: [DONE]\n\n"], End::Clean), late);
    }
    add("two end marks", after(5, &["data: [DONE]\n\n"], End::Clean), Saw::Whole);
    add("more after the end mark", after(5, &["data: {\"choices\":[]}\n\n"], End::Broken), Saw::Whole);
    add("a stall after the end mark", after(5, &[], End::Stall), Saw::Whole);
    add("an end mark without its blank line", after(4, &["data: [DONE]"], End::Clean), Saw::Whole);
    let bytes = GOLDEN.concat().into_bytes();
    add(
        "one byte at a time",
        Reply { pieces: bytes.iter().map(|byte| vec![*byte]).collect(), ..Reply::stream(&[]) },
        Saw::Whole,
    );
    climb(&house, &candidate, wall).await;
}

#[tokio::test]
async fn every_fault_before_a_stream_goes_to_the_baseline() {
    let (baseline, candidate) = (Mock::new(baseline_stream()).await, Mock::new(Reply::stream(&GOLDEN)).await);
    let house = house(&baseline, &candidate, |_| ()).await;
    let body = |body: &str| Reply { pieces: vec![body.as_bytes().to_vec()], ..Reply::ok("") };
    let wall = [
        ("no status line", Reply::ok("").end(End::Mute)),
        ("a success that is an error", Reply::json(200, &json!({"error": {"message": "x"}}))),
        ("a success without a body", body("")),
        ("a list", body("[]")),
        ("half an object", body("{\"choices\":")),
        ("a page", body("<html>busy</html>")),
        ("a compressed stream", Reply::stream(&["\u{1f}\u{8b}"]).header("content-encoding", "gzip").end(End::Broken)),
        ("too many requests", Reply::error(429)),
        ("an overload", Reply::error(529)),
        ("a key that is refused", Reply::error(401)),
        ("a redirect", Reply::error(307).header("location", "http://127.0.0.1:1/")),
        ("a body that is cut", Reply::ok("x").header("content-length", "4000").end(End::Broken)),
    ];
    let wall = wall.map(|(name, reply)| (name.to_owned(), reply, Saw::Baseline));
    climb(&house, &candidate, wall.to_vec()).await;
}

/// With guards each event is written anew: a cut at any byte must still show as one.
#[tokio::test]
async fn a_cut_at_any_byte_shows_behind_guards_too() {
    let (baseline, candidate) = (Mock::new(baseline_stream()).await, Mock::new(Reply::stream(&GOLDEN)).await);
    let house = house(&baseline, &candidate, |config| config["guards"] = json!({"redact": {}})).await;
    let golden = GOLDEN.concat();
    let (first, done) = (GOLDEN[0].len(), golden.find("[DONE]").unwrap() + "[DONE]".len());
    for at in (0..=golden.len()).step_by(3) {
        let end = if at % 2 == 0 { End::Clean } else { End::Broken };
        candidate.play(Reply { pieces: vec![golden.as_bytes()[..at].to_vec()], ..Reply::stream(&[]) }.end(end));
        let text = house.chat().await.text().await.unwrap();
        let expected = if at < first {
            Saw::Baseline
        } else if at < done {
            Saw::Error
        } else {
            Saw::Whole
        };
        let is_whole = text.ends_with("data: [DONE]\n\n") && !text.contains("\"error\"") && text.contains("caf\u{e9} ");
        let seen = if is_whole { Saw::Whole } else { saw(&text) };
        assert_eq!(seen, expected, "at {at}: {text}");
        assert_eq!(house.outcomes(), counted(expected), "at {at}");
    }
}
