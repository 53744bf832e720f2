//! From a connection to the world and back.
//!
//! ```text
//! arrive -> note (number, name, rule) -> play (the rule's fault, if any) -> perform -> contract -> arm | blobs -> contract
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::ask::{Answer, Asked, Refusal};
use super::calls::{Fault, Ledger, Moment, refusal};
use super::contract::{Contract, Matched};
use super::world::World;
use super::{actions, arm, blobs, check, operations, prices};
use crate::process;
use crate::proxy::lock;

/// How long a client waits for the answer that never comes.
const HELD: Duration = Duration::from_millis(200);
/// From an answer to the end of who got it: time enough to write it down.
const AFTER_ANSWER: Duration = Duration::from_millis(100);
/// From a call that kills to the number of the process that made it.
const TARGET_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Shared {
    pub world: Mutex<World>,
    pub ledger: Mutex<Ledger>,
    pub violations: Mutex<Vec<String>>,
    pub target: Mutex<Option<u32>>,
    killing: watch::Sender<bool>,
    pub in_flight: AtomicU64,
}

/// What a request is, as far as it can be said before anything is done.
enum Sort<'a> {
    /// Of Microsoft's contract.
    Known(Matched<'a>),
    /// How far something is, under an address that an answer gave.
    Poll,
    Prices,
    /// What a machine wrote on its console.
    Console(String),
    Unknown,
}

impl Shared {
    pub fn new(origin: &str) -> Self {
        Self {
            world: Mutex::new(World::new(origin)),
            ledger: Mutex::default(),
            violations: Mutex::default(),
            target: Mutex::default(),
            killing: watch::Sender::new(false),
            in_flight: AtomicU64::new(0),
        }
    }
}

/// Recorded, and failed on order.
pub(super) async fn arrive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Some(asked) = Asked::read(request).await else { return closed() };
    if *shared.killing.borrow() {
        let _ = shared.killing.subscribe().wait_for(|killing| !killing).await;
        return closed();
    }
    shared.in_flight.fetch_add(1, Ordering::SeqCst);
    // In a task of its own: a client that dies would take it along, and what it began would go unseen.
    let played = tokio::spawn(handle(shared, asked)).await;
    played.ok().flatten().map_or_else(closed, Answer::into_response)
}

/// By somebody else: neither recorded nor failed.
pub(super) async fn arrive_unseen(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Some(asked) = Asked::read(request).await else { return closed() };
    shared.perform(&asked, &sort(&asked)).into_response()
}

/// None closes the connection.
async fn handle(shared: Arc<Shared>, asked: Asked) -> Option<Answer> {
    let call = lock(&shared.ledger).note(&asked, name(&asked, &sort(&asked)).as_str());
    let answer = play(&shared, &asked, call.fault.as_ref()).await;
    lock(&shared.ledger).answered(call.number, answer.as_ref().map(|answer| answer.status));
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    answer
}

async fn play(shared: &Arc<Shared>, asked: &Asked, fault: Option<&Fault>) -> Option<Answer> {
    let sort = sort(asked);
    if let Some(refusal) = fault.and_then(|fault| refusal(asked, fault)) {
        return Some(refusal.answer(is_blob(asked), &asked.method));
    }
    if fault == Some(&Fault::Kill(Moment::BeforeSent)) {
        shared.kill().await;
        return None;
    }
    if let Some(Fault::Capacity(shortage)) = fault {
        lock(&shared.world).shortage = Some(*shortage);
    }
    let answer = shared.perform(asked, &sort);
    lock(&shared.world).shortage = None;
    after(shared, asked, fault, answer).await
}

/// What becomes of an answer.
async fn after(shared: &Arc<Shared>, asked: &Asked, fault: Option<&Fault>, answer: Answer) -> Option<Answer> {
    match fault {
        Some(Fault::Kill(Moment::AfterAnswered)) => shared.kill_soon(),
        Some(Fault::Kill(_)) => {
            shared.kill().await;
            return None;
        }
        Some(Fault::KillUnseen { looks }) => {
            lock(&shared.world).hide(asked, *looks);
            shared.kill().await;
            return None;
        }
        Some(Fault::TimeoutAfterSuccess) => {
            tokio::time::sleep(HELD).await;
            return None;
        }
        Some(Fault::ErrorAfterSuccess(status)) => {
            let refusal = Refusal::new(*status, "InternalServerError", "Encountered internal server error.");
            return Some(refusal.answer(is_blob(asked), &asked.method));
        }
        Some(Fault::Unseen { looks }) => lock(&shared.world).hide(asked, *looks),
        _ => {}
    }
    Some(answer)
}

/// The body ends before its first byte, so that not even the status is sent.
fn closed() -> Response {
    let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("closed by a rule")) });
    (StatusCode::OK, Body::from_stream(cut)).into_response()
}

/// Everything else is ARM's.
fn is_blob(asked: &Asked) -> bool {
    let first = asked.segments().first().map(|part| part.to_ascii_lowercase()).unwrap_or_default();
    !["", "subscriptions", "providers", "api", "console"].contains(&first.as_str())
}

fn sort(asked: &Asked) -> Sort<'static> {
    let segments = asked.segments();
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["api", "retail", "prices"] => return Sort::Prices,
        ["console", machine, _] => return Sort::Console((*machine).to_owned()),
        _ => {}
    }
    let is_blob = is_blob(asked);
    if !is_blob && operations::asked_for(asked).is_some() {
        return Sort::Poll;
    }
    Contract::get().find(asked, is_blob).map_or(Sort::Unknown, Sort::Known)
}

fn name(asked: &Asked, sort: &Sort<'_>) -> String {
    match sort {
        Sort::Known(matched) => matched.operation.name.clone(),
        Sort::Poll => "Operations_Get".to_owned(),
        Sort::Prices => "RetailPrices_List".to_owned(),
        Sort::Console(_) => "Console_Get".to_owned(),
        Sort::Unknown => format!("{} {}", asked.method, asked.path()),
    }
}

impl Shared {
    /// One request, checked on its way in and out.
    fn perform(&self, asked: &Asked, sort: &Sort<'_>) -> Answer {
        let mut world = lock(&self.world);
        match sort {
            Sort::Prices => prices::answer(&world, asked),
            Sort::Console(machine) => actions::console_log(&world, machine),
            Sort::Poll => arm::answer(&mut world, asked),
            Sort::Unknown => self.violated(asked, vec!["there is no such operation".to_owned()]),
            Sort::Known(matched) => self.checked(&mut world, asked, matched),
        }
    }

    fn checked(&self, world: &mut World, asked: &Asked, matched: &Matched<'_>) -> Answer {
        let wrong = check::request(asked, matched);
        if !wrong.is_empty() {
            return self.violated(asked, wrong);
        }
        let operation = matched.operation;
        let answer =
            if operation.is_blob { blobs::answer(world, asked, &operation.name) } else { arm::answer(world, asked) };
        let mut wrong = check::answer(&answer, &asked.method, operation);
        if answer.status == 501 {
            wrong.push(format!("the fake does not serve {}", operation.name));
        }
        if !wrong.is_empty() {
            self.violated(asked, wrong);
        }
        answer
    }

    /// The request is refused, and the test that made it fails in the end.
    fn violated(&self, asked: &Asked, wrong: Vec<String>) -> Answer {
        let told = wrong.join("; ");
        lock(&self.violations).push(format!("{} {}: {told}", asked.method, asked.target));
        Refusal::new(400, "ContractViolated", told).answer(is_blob(asked), &asked.method)
    }

    async fn kill(&self) {
        self.killing.send_replace(true);
        self.end_target().await;
        self.killing.send_replace(false);
    }

    fn kill_soon(self: &Arc<Self>) {
        self.killing.send_replace(true);
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(AFTER_ANSWER).await;
            shared.kill().await;
        });
    }

    /// The test may not have said yet which process it is.
    async fn end_target(&self) {
        let looked = async {
            loop {
                // Apart, so that the lock is not held while waiting.
                let target = *lock(&self.target);
                match target {
                    Some(pid) => break pid,
                    None => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        let pid = tokio::time::timeout(TARGET_LIMIT, looked).await.expect("a target that a rule can kill");
        process::kill(pid);
        while process::is_alive(pid) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        *lock(&self.target) = None;
    }
}
