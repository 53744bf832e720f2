//! Acts on Compute Engine: a call begins an operation, and the operation is waited for until it has ended.
//!
//! ```text
//! call -> refused | operation -> ... -> DONE -> its error, which the poller alone does not report
//! ```
//! Each is sent once. An insert carries a request id made from its intent's token, so that Google gives the same operation
//! back when it comes twice; after an operation that failed it carries another one, or Google would give the failure back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use engine::provider::{ErrorKind, ProviderError, Token};
use google_cloud_compute_v1::model::Operation;
use google_cloud_gax::error::Error;
use google_cloud_gax::polling_error_policy::PollingErrorPolicy;
use google_cloud_gax::polling_state::PollingState;
use google_cloud_gax::retry_result::RetryResult;
use google_cloud_lro::{Poller, PollingResult};
use sha2::{Digest, Sha256};

use super::error::{Denied, Why, failed};
use super::fault::Fault;

/// Machines take minutes; nothing of ours takes longer.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A call that is sent once, whatever becomes of it.
macro_rules! once {
    ($call:expr) => {{
        use google_cloud_gax::options::RequestOptionsBuilder as _;
        $call.with_retry_policy(google_cloud_gax::retry_policy::NeverRetry).poller()
    }};
}
pub(super) use once;

/// Sends an act and waits until it is done.
macro_rules! act {
    ($what:expr, $call:expr) => {
        $crate::gcp::operation::finished($what, $crate::gcp::operation::once!($call))
    };
}
pub(super) use act;

/// Sends the one call that makes something, and waits until it is done.
macro_rules! insert {
    ($gcp:expr, $making:expr, $call:expr) => {
        $crate::gcp::operation::inserted(&$gcp.spent, $making.token, &$making.desired.address, |id| {
            $crate::gcp::operation::once!($call.set_request_id(id))
        })
    };
}
pub(super) use insert;

/// How often an operation of a token has failed.
#[derive(Debug, Default)]
pub struct Spent(Mutex<BTreeMap<Token, u32>>);

impl Spent {
    fn times(&self, token: &Token) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token).copied().unwrap_or_default()
    }

    fn add(&self, token: &Token) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(token.clone()).or_default() += 1;
    }
}

/// Why an act is not done.
enum Undone {
    /// The call itself was turned down, or what became of it is not known.
    Call(Denied),
    /// The operation was seen to run, and ended with an error.
    Failed(Denied),
    /// It had ended with an error when it was first heard of.
    HadFailed(Denied),
}

impl From<Undone> for Denied {
    fn from(undone: Undone) -> Self {
        let (Undone::Call(denied) | Undone::Failed(denied) | Undone::HadFailed(denied)) = undone;
        denied
    }
}

/// Waits for an act that [`act`] sends.
pub async fn finished(what: impl ToString, poller: impl Poller<Operation, Operation>) -> Result<(), Denied> {
    run(&what.to_string(), poller).await.map_err(Denied::from)
}

/// Waits for what [`insert`] sends.
pub async fn inserted<P: Poller<Operation, Operation>>(
    spent: &Spent,
    token: &Token,
    what: impl ToString,
    begun: impl FnOnce(String) -> P,
) -> Result<(), Denied> {
    let times = spent.times(token);
    match run(&what.to_string(), begun(request_id(token, times))).await {
        Ok(()) => Ok(()),
        Err(Undone::Call(denied)) => Err(denied),
        // Of an earlier run of dsctl with the same token: nothing of this call has happened.
        Err(Undone::HadFailed(Denied { error, .. })) if times == 0 => {
            spent.add(token);
            let error = ProviderError { kind: ErrorKind::NotYet, ..error };
            Err(Denied { why: Why::Other, error })
        }
        Err(undone) => {
            spent.add(token);
            Err(undone.into())
        }
    }
}

async fn run(what: &str, poller: impl Poller<Operation, Operation>) -> Result<(), Undone> {
    match tokio::time::timeout(LIMIT, watched(what, poller)).await {
        Ok(ended) => ended,
        Err(_) => Err(Undone::Call(riddle(what, format!("it is not done after {} s", LIMIT.as_secs())))),
    }
}

async fn watched(what: &str, mut poller: impl Poller<Operation, Operation>) -> Result<(), Undone> {
    match poller.poll().await {
        Some(PollingResult::Completed(Err(error))) => return Err(Undone::Call(failed(what)(error))),
        Some(PollingResult::Completed(Ok(operation))) => {
            let ended = operation.to_result();
            return ended.map(drop).map_err(|error| Undone::HadFailed(Denied::new(what, &Fault::of_operation(error))));
        }
        Some(PollingResult::InProgress(_) | PollingResult::PollingError(_)) | None => {}
    }
    // What was begun goes on, whether it can be looked at or not.
    let lost = |error: Error| Undone::Call(riddle(what, Fault::of_call(&error).message));
    let ended = poller.until_done().await.map_err(lost)?.to_result();
    ended.map(drop).map_err(|error| Undone::Failed(Denied::new(what, &Fault::of_operation(error))))
}

fn riddle(what: &str, message: String) -> Denied {
    Denied { why: Why::Other, error: ProviderError::new(ErrorKind::Ambiguous, what, message) }
}

/// A UUID (RFC 9562, its bits taken from a digest as those of version 5 are), another for each time that one has failed.
fn request_id(token: &Token, times: u32) -> String {
    let seed = if times == 0 { token.0.clone() } else { format!("{} {times}", token.0) };
    let digest = hex::encode(Sha256::digest(seed));
    let variant = match digest.as_bytes()[16] {
        b'0'..=b'3' => '8',
        b'4'..=b'7' => '9',
        b'8' | b'9' | b'a' | b'b' => 'a',
        _ => 'b',
    };
    format!("{}-{}-5{}-{variant}{}-{}", &digest[..8], &digest[8..12], &digest[13..16], &digest[17..20], &digest[20..32])
}

/// Looks at an operation until it is seen: only a refusal that would come again ends it.
#[derive(Debug)]
pub struct Watchful;

impl PollingErrorPolicy for Watchful {
    fn on_error(&self, _state: &PollingState, error: Error) -> RetryResult {
        match error.http_status_code() {
            Some(400..=407 | 409..=428) => RetryResult::Permanent(error),
            _ if error.is_deserialization() => RetryResult::Permanent(error),
            _ => RetryResult::Continue(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};
    use std::sync::Arc;

    use google_cloud_compute_v1::client::Networks;
    use google_cloud_compute_v1::model::global_operations::GetRequest;
    use google_cloud_compute_v1::model::networks::InsertRequest;
    use google_cloud_compute_v1::stub;
    use google_cloud_gax::options::RequestOptions;
    use google_cloud_gax::response::Response;
    use serde_json::json;

    use super::*;

    /// The sources of this cloud, but this line's own file.
    fn sources() -> Vec<(String, String)> {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gcp")];
        let mut sources = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                    sources.push((path.display().to_string(), text));
                }
            }
        }
        assert!(sources.len() > 20, "{sources:?}");
        sources
    }

    /// `until_done` gives Ok for an operation that failed.
    #[test]
    fn no_operation_is_taken_for_done_without_a_look_at_its_error() {
        for (file, text) in sources() {
            for (at, _) in text.match_indices("until_done(") {
                let statement = text[at..].split(';').next().unwrap_or_default();
                assert!(statement.contains(".to_result()"), "{file}: {statement}");
            }
            if !file.ends_with("operation.rs") {
                assert!(!text.contains(".poller()"), "{file}: acts go through act! and insert!");
            }
        }
    }

    #[test]
    fn a_request_id_is_the_tokens_and_a_uuid() {
        let token = Token("00ff00ff00ff00ff".to_owned());
        let id = request_id(&token, 0);
        assert_eq!(id, request_id(&token, 0));
        assert_ne!(id, request_id(&token, 1), "one that failed is not asked for again");
        assert_ne!(id, request_id(&Token("1".to_owned()), 0));
        for times in 0..64 {
            let id = request_id(&token, times);
            let parts: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
            assert!(id.as_bytes()[14] == b'5' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }

    #[test]
    fn a_look_that_is_refused_ends_the_watch_and_one_that_is_lost_does_not() {
        let on = |error| Watchful.on_error(&PollingState::default(), error);
        let http = |status| Error::http(status, reqwest::header::HeaderMap::new(), bytes::Bytes::new());
        for error in [Error::io("cut"), Error::timeout("slow"), http(429), http(503), http(408)] {
            assert!(on(error).is_continue());
        }
        for error in [http(403), http(404), Error::deser("no JSON")] {
            assert!(on(error).is_permanent());
        }
    }

    /// Answers in turn: to inserts, and to looks at the operation.
    #[derive(Debug, Default)]
    struct Scripted {
        inserts: Mutex<VecDeque<Result<Operation, Error>>>,
        looks: Mutex<VecDeque<Result<Operation, Error>>>,
        request_ids: Mutex<Vec<String>>,
    }

    impl stub::Networks for Scripted {
        async fn insert(&self, asked: InsertRequest, _: RequestOptions) -> Result<Response<Operation>, Error> {
            self.request_ids.lock().unwrap().push(asked.request_id.unwrap());
            self.inserts.lock().unwrap().pop_front().unwrap().map(Response::from)
        }

        async fn get_operation(&self, _: GetRequest, _: RequestOptions) -> Result<Response<Operation>, Error> {
            self.looks.lock().unwrap().pop_front().unwrap().map(Response::from)
        }
    }

    fn operation(status: &str, code: Option<&str>) -> Result<Operation, Error> {
        let mut told = json!({"name": "operation-1", "status": status});
        if let Some(code) = code {
            told["error"] = json!({"errors": [{"code": code, "message": "m"}]});
            told["httpErrorStatusCode"] = json!(503);
        }
        Ok(serde_json::from_value(told).unwrap())
    }

    fn scripted(
        inserts: impl IntoIterator<Item = Result<Operation, Error>>,
        looks: impl IntoIterator<Item = Result<Operation, Error>>,
    ) -> Arc<Scripted> {
        let (inserts, looks) = (inserts.into_iter().collect(), looks.into_iter().collect());
        Arc::new(Scripted { inserts: Mutex::new(inserts), looks: Mutex::new(looks), ..Scripted::default() })
    }

    async fn insert(script: &Arc<Scripted>, spent: &Spent) -> Result<(), Denied> {
        let call = Networks::from_stub::<Scripted>(Arc::clone(script)).insert().set_project("p");
        let token = Token("t".to_owned());
        inserted(spent, &token, "network.main", |id| once!(call.set_request_id(id))).await
    }

    fn kind(answer: Result<(), Denied>) -> ErrorKind {
        answer.unwrap_err().error.kind
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_is_waited_for_and_a_failure_at_its_end_is_one() {
        let spent = Spent::default();
        let well = scripted([operation("RUNNING", None)], [operation("RUNNING", None), operation("DONE", None)]);
        insert(&well, &spent).await.unwrap();
        let stockout = Some("ZONE_RESOURCE_POOL_EXHAUSTED");
        let ill = scripted([operation("RUNNING", None)], [operation("DONE", stockout)]);
        assert_eq!(kind(insert(&ill, &spent).await), ErrorKind::Capacity);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_and_is_lost_sight_of_is_a_riddle() {
        let denied = Error::http(403, reqwest::header::HeaderMap::new(), bytes::Bytes::new());
        let script = scripted([operation("RUNNING", None)], [Err(Error::io("cut")), Err(denied)]);
        assert_eq!(kind(insert(&script, &Spent::default()).await), ErrorKind::Ambiguous);
        let script = scripted([Err(Error::io("cut"))], []);
        assert_eq!(kind(insert(&script, &Spent::default()).await), ErrorKind::Ambiguous);
        assert_eq!(script.request_ids.lock().unwrap().len(), 1, "sent once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_from_before_is_asked_for_anew_and_one_of_now_is_told() {
        let spent = Spent::default();
        let quota = Some("QUOTA_EXCEEDED");
        let script = scripted(
            [operation("DONE", quota), operation("RUNNING", None), operation("DONE", None)],
            [operation("DONE", quota)],
        );
        assert_eq!(kind(insert(&script, &spent).await), ErrorKind::NotYet, "another run's: nothing happened");
        assert_eq!(kind(insert(&script, &spent).await), ErrorKind::Quota);
        insert(&script, &spent).await.unwrap();
        let ids: BTreeSet<String> = script.request_ids.lock().unwrap().iter().cloned().collect();
        assert_eq!(ids.len(), 3, "{ids:?}");
    }
}
