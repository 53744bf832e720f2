//! The audit log beside real traffic: one record a request, whatever becomes of it.

use ::audit::{Event, Identified, Keys, Reader, RequestRecord, Summary, verify};
use sha2::{Digest, Sha256};

use super::*;

const MAIL: &str = "anna.schmidt@example.de";
const SECRET: &str = "dsk-0123456789abcdef0123456789abcdef";

fn with_audit(config: &mut Value, folder: &std::path::Path, policy: &Value) {
    std::fs::write(folder.join("audit-key"), SECRET).unwrap();
    config["audit"] = json!({"key_file": folder.join("audit-key"), "policy": policy});
}

async fn house(baseline: Option<&Mock>, candidate: &Mock, policy: Value, guards: Value) -> House {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut config = config(folder.path(), baseline.map(Mock::url).as_deref(), Some(&candidate.url()));
    with_audit(&mut config, folder.path(), &policy);
    config["guards"] = guards;
    config["variants"]["candidate"]["price"] = json!({"prompt_per_million": "1", "completion_per_million": "4"});
    House::open_in(folder, &config).await.unwrap()
}

fn strict() -> Value {
    json!({"sync": "answer", "when_full": "refuse", "rotate_mib": 1})
}

fn log(house: &House) -> PathBuf {
    house.folder.path().join("data/audit")
}

fn check(house: &House) -> Summary {
    verify(&log(house), &Keys::from_secret(SECRET).unwrap(), None).unwrap()
}

fn records(house: &House) -> Vec<Identified> {
    Reader::open(&log(house)).unwrap().records().unwrap().map(Result::unwrap).collect()
}

fn request(record: &Identified) -> &RequestRecord {
    match &record.record.event {
        Event::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

/// Waits until there are so many: what a client left alone is written without anybody waiting for it.
async fn until_recorded(house: &House, count: usize) -> Vec<Identified> {
    loop {
        let records = records(house);
        if records.len() >= count {
            return records;
        }
        tokio::task::yield_now().await;
    }
}

fn ask(house: &House, text: &str) -> RequestBuilder {
    let body = json!({"model": "gpt", "user": MAIL, "messages": [{"role": "user", "content": text}]});
    house.post("/v1/chat/completions", body.to_string())
}

#[tokio::test]
async fn a_record_tells_who_asked_what_of_whom_and_holds_no_text() {
    let candidate = Mock::new(Reply::json(
        200,
        &json!({"choices": [{"message": {"content": "the answer"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}),
    ))
    .await;
    let house = house(None, &candidate, strict(), json!({"redact": {"entities": ["EMAIL_ADDRESS"]}})).await;
    let answer = ask(&house, &format!("a secret of {MAIL}")).send().await.unwrap();
    let id = answer.headers()["x-dsctl-request-id"].to_str().unwrap().to_owned();
    let body = answer.bytes().await.unwrap();
    let records = records(&house);
    let record = request(&records[0]);
    assert_eq!((record.id.as_str(), record.outcome.as_str(), record.status), (id.as_str(), "ok", Some(200)));
    assert_eq!((record.model.as_deref(), record.variant.as_deref()), (Some("gpt"), Some("candidate")));
    assert_eq!((record.prompt_tokens, record.completion_tokens), (Some(5), Some(7)));
    assert!((record.cost_dollars.unwrap() - 33e-6).abs() < 1e-12, "{record:?}");
    let key: String = hex::encode(Sha256::digest(KEY))[..12].to_owned();
    assert_eq!(record.key.as_deref(), Some(format!("key-{key}").as_str()));
    let verdict = &record.guards[0];
    // In the text and in `user`.
    assert_eq!((verdict.rule.as_str(), verdict.direction.as_str(), verdict.times), ("EMAIL_ADDRESS", "request", 2));
    let person = records[0].person.clone().unwrap();
    assert_eq!((person.user.as_str(), person.client.as_deref()), (MAIL, Some("127.0.0.1")));
    let plain = hex::encode(Sha256::digest(&body));
    assert!(record.prompt.is_some() && record.answer.is_some() && record.answer.as_deref() != Some(&plain), "keyed");
    let text: String = std::fs::read_to_string(log(&house).join("records-000000000001.jsonl")).unwrap();
    for held in [MAIL, "secret", "the answer", "127.0.0.1"] {
        assert!(!text.contains(held), "{held} in {text}");
    }
}

#[tokio::test]
async fn every_way_that_a_request_can_end_has_its_record() {
    let golden = "data: {\"choices\":[]}\n\n";
    let whole = format!("{golden}data: [DONE]\n\n");
    let candidate = Mock::new(Reply::ok("x")).await;
    let guards = json!({"rules": [{"name": "no", "words": ["forbidden"], "action": "block"}]});
    let house = house(None, &candidate, strict(), guards).await;
    let mut expected = vec![("ok", Some(200))];
    house.chat().await;
    for (reply, outcome, status) in [
        (Reply::error(422), "client_error", 422),
        (Reply::error(500), "upstream_error", 502),
        (Reply::stream(&[&whole]), "ok", 200),
        (Reply::stream(&[golden]), "truncated", 200),
        (Reply::ok("forbidden"), "blocked", 400),
        (
            Reply::stream(&[&golden.replace("[]", "[{\"index\":0,\"delta\":{\"content\":\"forbidden, all of it\"}}]")]),
            "blocked",
            200,
        ),
    ] {
        candidate.play(reply);
        house.chat().await.text().await.unwrap();
        expected.push((outcome, Some(status)));
    }
    ask(&house, "forbidden").send().await.unwrap();
    house.post("/v1/chat/completions", "{}").send().await.unwrap();
    house.client.post(format!("http://{}/v1/completions", house.public)).bearer_auth("wrong").send().await.unwrap();
    expected.extend([("blocked", Some(400)), ("refused", Some(400)), ("refused", Some(401))]);
    candidate.play(Reply::stream(&[golden]).end(End::Stall));
    drop(house.chat().await);
    candidate.until_left().await;
    expected.push(("client_abort", Some(200)));
    let records = until_recorded(&house, expected.len()).await;
    let told: Vec<_> = records.iter().map(request).map(|record| (record.outcome.as_str(), record.status)).collect();
    assert_eq!(told, expected);
    assert!(
        records.iter().map(request).filter(|record| record.outcome == "refused").all(|record| record.client.is_some())
    );
    assert!(check(&house).is_whole());
    // Counted when it is on disk, a moment after it can be read there.
    let line = format!("dsctl_audit_records_total {}\n", expected.len());
    while !house.metrics().await.contains(&line) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_log_goes_on_after_a_restart_and_can_not_be_turned_off_in_flight() {
    let candidate = Mock::new(Reply::ok("x")).await;
    let first =
        house(None, &candidate, json!({"sync": "grouped", "when_full": "refuse", "rotate_mib": 1}), Value::Null).await;
    for _ in 0..3 {
        first.chat().await;
    }
    let mut config = first.read_config();
    let folder = first.close().await;
    let second = House::open_in(folder, &config).await.unwrap();
    second.chat().await;
    until_recorded(&second, 4).await;
    let summary = check(&second);
    assert!(summary.is_whole() && summary.records == 4 && summary.files == 1, "{summary:?}");
    config.as_object_mut().unwrap().remove("audit");
    second.write_config(&config);
    let error = crate::describe(&second.control.reload().await.unwrap_err());
    assert!(error.contains("audit: changing it needs a restart"), "{error}");
}

/// A folder in whose place a file lies is as good as a full disk: nothing can be written.
fn break_disk(house: &House) {
    let log = log(house);
    std::fs::rename(&log, log.with_extension("away")).unwrap();
    std::fs::write(&log, "in the way").unwrap();
}

fn mend_disk(house: &House) {
    let log = log(house);
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(log.with_extension("away"), &log).unwrap();
}

#[tokio::test]
async fn without_a_log_nothing_is_answered_if_the_policy_says_so() {
    let golden = "data: {\"choices\":[]}\n\n";
    let candidate = Mock::new(Reply::stream(&[golden]).end(End::Stall)).await;
    let house =
        house(None, &candidate, json!({"sync": "answer", "when_full": "refuse", "rotate_mib": 1}), Value::Null).await;
    break_disk(&house);
    // A user without a key yet, which can't be written either.
    let (status, error) = {
        candidate.play(Reply::stream(&[&format!("{golden}data: [DONE]\n\n")]));
        let text = ask(&house, "x").send().await.unwrap().text().await.unwrap();
        assert!(text.starts_with(golden) && text.contains("audit_unavailable") && !text.contains("[DONE]"), "{text}");
        candidate.play(Reply::ok("x"));
        error_of(ask(&house, "x").send().await.unwrap()).await
    };
    assert_eq!((status, error.code.as_deref()), (503, Some("audit_unavailable")));
    assert_eq!(candidate.seen().len(), 1, "once it is known, no upstream is asked");
    assert!(house.metrics().await.contains("dsctl_audit_failing 1\n"));
    mend_disk(&house);
    while house.metrics().await.contains("dsctl_audit_failing 1\n") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(ask(&house, "x").send().await.unwrap().status(), 200);
    let records = records(&house);
    assert_eq!(records.len(), 2, "what the client got in part is recorded later");
    assert!(check(&house).is_whole());
}

#[tokio::test]
async fn without_a_log_answers_go_on_if_the_policy_says_so_and_are_recorded_later() {
    let candidate = Mock::new(Reply::ok("x")).await;
    let house =
        house(None, &candidate, json!({"sync": "answer", "when_full": "degrade", "rotate_mib": 1}), Value::Null).await;
    break_disk(&house);
    for _ in 0..3 {
        assert_eq!(ask(&house, "x").send().await.unwrap().status(), 200);
    }
    let page = house.metrics().await;
    assert!(page.contains("dsctl_audit_failing 1\n") && page.contains("dsctl_audit_records_waiting 3\n"), "{page}");
    mend_disk(&house);
    while house.metrics().await.contains("dsctl_audit_failing 1\n") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let summary = check(&house);
    assert!(summary.is_whole() && (summary.records, summary.lost) == (3, 0), "{summary:?}");
}
