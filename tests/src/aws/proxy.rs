//! Between a client and moto: it records every call, adds what moto leaves out, and fails as it is told to.
//!
//! ```text
//! arrive -> note (number, name, rule) -> play (the rule's fault, if any) -> forward -> moto, or overlay by service
//!                                                                             |
//!                                           once (client tokens)   world (pending and unseen, in EC2's answers)
//! ```
//! Added: the same `ClientToken` gives the same answer again; machines and NAT gateways are pending for a while.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

pub use super::moto::Looks;
use super::moto::World;
use super::{Answer, Asked, Protocol, Refusal, field, is_mutating, lock, protocol, serve};
use crate::process;

/// How long a client waits for the answer that never comes.
const HELD: Duration = Duration::from_millis(200);
/// From an answer to the end of who got it: time enough to write it down.
const AFTER_ANSWER: Duration = Duration::from_millis(100);
/// From a call that kills to the number of the process that made it.
const TARGET_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Larger bodies are recorded by their length alone.
const LARGEST_RECORDED: usize = 1 << 20;

/// A call as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// From 1, in order of arrival.
    pub number: u64,
    /// From 1, among the calls of its operation.
    pub nth: u64,
    pub service: String,
    pub region: String,
    pub operation: String,
    /// Of S3: bucket and key.
    pub path: String,
    pub mutating: bool,
    /// `ClientToken`; without one the tag `dsctl:token`.
    pub token: Option<String>,
    /// None while it goes on, and if the connection was closed instead.
    pub status: Option<u16>,
    pub fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The call arrived and goes no further.
    BeforeSent,
    /// It was done; nobody heard of it.
    AfterSent,
    /// The answer was given, and a moment to write it down.
    AfterAnswered,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process of [`Proxy::set_target`] is killed. What else it asks meanwhile is neither recorded nor done.
    Kill(Moment),
    /// As after sending, and what was made does not show in so many looks at it.
    KillUnseen {
        looks: u32,
    },
    /// Done; the connection is closed without an answer.
    TimeoutAfterSuccess,
    /// Done; the answer is an internal error with this status.
    ErrorAfterSuccess(u16),
    /// This call and the next ones of its operation, so many in all, are refused and not done.
    Throttle {
        times: u32,
    },
    /// No such machines in the zone.
    Capacity,
    /// No more vCPUs for the account.
    Quota,
    /// What the call makes does not show in so many looks at it.
    Unseen {
        looks: u32,
    },
    Denied,
}

/// Which call a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Call(u64),
    /// The nth of an operation, from 1.
    Nth(String, u64),
    /// The nth of those that change something, from 1.
    Mutating(u64),
}

/// Holds for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub at: Which,
    pub fault: Fault,
}

impl Rule {
    pub const fn call(number: u64, fault: Fault) -> Self {
        Self { at: Which::Call(number), fault }
    }

    pub fn nth(operation: &str, nth: u64, fault: Fault) -> Self {
        Self { at: Which::Nth(operation.to_owned(), nth), fault }
    }

    pub const fn mutating(nth: u64, fault: Fault) -> Self {
        Self { at: Which::Mutating(nth), fault }
    }
}

/// Lives until the process ends.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    moto: String,
    /// Services that somebody else answers for.
    routes: Mutex<BTreeMap<String, String>>,
    ledger: Mutex<Ledger>,
    world: Mutex<World>,
    /// Held while a call with a token is made, so that its twin waits for the answer.
    replays: tokio::sync::Mutex<BTreeMap<[String; 3], Replay>>,
    target: Mutex<Option<u32>>,
    killing: watch::Sender<bool>,
    in_flight: AtomicU64,
}

#[derive(Debug, Default)]
struct Ledger {
    calls: Vec<Call>,
    rules: Vec<Rule>,
    throttled: BTreeMap<String, u32>,
    /// EC2 answers of a test's own, by operation.
    answers: BTreeMap<String, String>,
    record: Option<File>,
}

/// The first answer to a client token, and what was asked.
#[derive(Debug)]
struct Replay {
    parameters: Vec<(String, String)>,
    answer: Answer,
}

impl Proxy {
    pub fn start(moto_url: &str) -> Self {
        // Connections to moto are kept: a new one each would cost as much as the call.
        let client = Client::builder().no_proxy().build().expect("an HTTP client");
        let shared = Arc::new(Shared {
            client,
            moto: moto_url.to_owned(),
            routes: Mutex::default(),
            ledger: Mutex::default(),
            world: Mutex::default(),
            replays: tokio::sync::Mutex::default(),
            target: Mutex::default(),
            killing: watch::Sender::new(false),
            in_flight: AtomicU64::new(0),
        });
        let address = serve(Router::new().fallback(arrive).with_state(Arc::clone(&shared)));
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends the calls of some services elsewhere: [`super::overlay::SERVICES`].
    pub fn route(&self, services: &[&str], url: &str) {
        let routes = services.iter().map(|service| ((*service).to_owned(), url.to_owned()));
        lock(&self.shared.routes).extend(routes);
    }

    /// Adds to the rules that wait for their call.
    pub fn arm(&self, rules: impl IntoIterator<Item = Rule>) {
        lock(&self.shared.ledger).rules.extend(rules);
    }

    /// Rules whose call never came.
    pub fn waiting(&self) -> Vec<Rule> {
        lock(&self.shared.ledger).rules.clone()
    }

    /// The process that [`Fault::Kill`] ends, once.
    pub fn set_target(&self, pid: u32) {
        *lock(&self.shared.target) = Some(pid);
    }

    pub fn set_pending(&self, looks: Looks) {
        lock(&self.shared.world).looks = looks;
    }

    /// EC2 answers an operation with this from now on; nothing is asked of moto.
    pub fn answer_with(&self, operation: &str, body: String) {
        lock(&self.shared.ledger).answers.insert(operation.to_owned(), body);
    }

    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.ledger).calls.clone()
    }

    /// Appends every request from now on to a file, for `python/aws_contract.py`.
    pub fn record_to(&self, path: &Path) {
        let file = File::options().create(true).append(true).open(path);
        lock(&self.shared.ledger).record = Some(file.expect("a file for requests"));
    }

    /// Waits until nothing is under way any more: a killed client's calls are done to their end.
    #[track_caller]
    pub fn settle(&self) {
        let is_idle = || (self.shared.in_flight.load(Ordering::SeqCst) == 0).then_some(());
        crate::wait::until("no call is under way", is_idle);
    }

    /// Forgets calls and rules; numbers begin at 1 again. What the cloud remembers (tokens, what is pending) stays.
    #[track_caller]
    pub fn clear(&self) {
        self.settle();
        let mut ledger = lock(&self.shared.ledger);
        ledger.calls.clear();
        ledger.rules.clear();
        ledger.throttled.clear();
    }

    /// Forgets everything but the record and the routes: goes with [`super::moto::Moto::reset`].
    #[track_caller]
    pub fn reset(&self) {
        self.clear();
        lock(&self.shared.ledger).answers.clear();
        *lock(&self.shared.world) = World::default();
        *lock(&self.shared.target) = None;
        crate::http::wait(async { self.shared.replays.lock().await.clear() });
    }
}

async fn arrive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Some(asked) = Asked::read(request).await else { return closed() };
    if *shared.killing.borrow() {
        let _ = shared.killing.subscribe().wait_for(|killing| !killing).await;
        return closed();
    }
    shared.in_flight.fetch_add(1, Ordering::SeqCst);
    // In a task of its own: a client that dies would take it along, and moto's work would go unseen.
    let played = tokio::spawn(handle(shared, asked)).await;
    played.ok().flatten().map_or_else(closed, Answer::into_response)
}

/// None closes the connection.
async fn handle(shared: Arc<Shared>, asked: Asked) -> Option<Answer> {
    let call = shared.note(&asked);
    let answer = play(&shared, &asked, call.fault.as_ref()).await;
    let status = answer.as_ref().map(|answer| answer.status);
    if let Some(noted) = lock(&shared.ledger).calls.iter_mut().find(|noted| noted.number == call.number) {
        noted.status = status;
    }
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    answer
}

async fn play(shared: &Arc<Shared>, asked: &Asked, fault: Option<&Fault>) -> Option<Answer> {
    if let Some(refusal) = fault.and_then(|fault| refusal(asked, fault)) {
        return Some(refusal.answer(&asked.service));
    }
    if fault == Some(&Fault::Kill(Moment::BeforeSent)) {
        shared.kill().await;
        return None;
    }
    let answer = shared.forward(asked).await;
    match fault {
        Some(Fault::Kill(Moment::AfterAnswered)) => shared.kill_soon(),
        Some(Fault::Kill(_)) => {
            shared.kill().await;
            return None;
        }
        Some(Fault::KillUnseen { looks }) => {
            lock(&shared.world).hide(asked, &answer, *looks);
            shared.kill().await;
            return None;
        }
        Some(Fault::TimeoutAfterSuccess) => {
            tokio::time::sleep(HELD).await;
            return None;
        }
        Some(Fault::ErrorAfterSuccess(status)) => return Some(broken(asked, *status).answer(&asked.service)),
        Some(Fault::Unseen { looks }) => lock(&shared.world).hide(asked, &answer, *looks),
        _ => {}
    }
    Some(answer)
}

/// What is said instead of doing it.
fn refusal(asked: &Asked, fault: &Fault) -> Option<Refusal> {
    Some(match (fault, protocol(&asked.service)) {
        (Fault::Throttle { .. }, Protocol::Ec2) => Refusal::new(503, "RequestLimitExceeded", "Request limit exceeded."),
        (Fault::Throttle { .. }, Protocol::S3) => Refusal::new(503, "SlowDown", "Please reduce your request rate."),
        (Fault::Throttle { .. }, Protocol::Query) => Refusal::new(400, "Throttling", "Rate exceeded"),
        (Fault::Throttle { .. }, Protocol::Json) => Refusal::new(400, "ThrottlingException", "Rate exceeded"),
        (Fault::Capacity, _) => {
            let message = "We currently do not have sufficient capacity in the Availability Zone you requested.";
            Refusal::new(500, "InsufficientInstanceCapacity", message)
        }
        (Fault::Quota, _) => {
            let message = "You have requested more vCPU capacity than your current vCPU limit of 0 allows.";
            Refusal::new(400, "VcpuLimitExceeded", message)
        }
        (Fault::Denied, Protocol::Ec2) => {
            Refusal::new(403, "UnauthorizedOperation", "You are not authorized to perform this operation.")
        }
        (Fault::Denied, Protocol::Json) => Refusal::new(400, "AccessDeniedException", "User is not authorized."),
        (Fault::Denied, _) => Refusal::new(403, "AccessDenied", "Access Denied"),
        _ => return None,
    })
}

fn broken(asked: &Asked, status: u16) -> Refusal {
    let code = match protocol(&asked.service) {
        Protocol::Query => "ServiceFailure",
        Protocol::Json => "InternalServerError",
        Protocol::Ec2 | Protocol::S3 => "InternalError",
    };
    Refusal::new(status, code, "An internal error has occurred")
}

/// The body ends before its first byte, so that not even the status is sent.
fn closed() -> Response {
    let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("closed by a rule")) });
    (StatusCode::OK, Body::from_stream(cut)).into_response()
}

impl Shared {
    /// Writes a call down with the fault that is for it.
    fn note(&self, asked: &Asked) -> Call {
        let mut ledger = lock(&self.ledger);
        let operation = asked.operation();
        let before = ledger.calls.iter().filter(|call| call.operation == operation).count();
        let mut call = Call {
            number: ledger.calls.len() as u64 + 1,
            nth: before as u64 + 1,
            service: asked.service.clone(),
            region: asked.region.clone(),
            mutating: is_mutating(&operation),
            path: asked.path().to_owned(),
            token: token(asked),
            operation,
            status: None,
            fault: None,
        };
        call.fault = ledger.fault(&call);
        ledger.calls.push(call.clone());
        ledger.write(&call, asked);
        call
    }

    async fn forward(&self, asked: &Asked) -> Answer {
        if let Some(refusal) = lock(&self.world).refusal(asked) {
            return refusal.answer(&asked.service);
        }
        let scripted = lock(&self.ledger).answers.get(&asked.operation()).cloned();
        let mut answer = match scripted {
            Some(body) => Answer::new(200, "text/xml", body),
            None if protocol(&asked.service) == Protocol::Ec2 => self.once(asked).await,
            None => self.send(asked).await,
        };
        if answer.is_success() && protocol(&asked.service) == Protocol::Ec2 {
            lock(&self.world).change(asked, &mut answer);
        }
        answer
    }

    /// The same token and parameters have the same answer, as EC2 promises.
    async fn once(&self, asked: &Asked) -> Answer {
        let mut parameters = asked.form();
        let Some(token) = field(&parameters, "ClientToken").map(str::to_owned) else { return self.send(asked).await };
        parameters.retain(|(key, _)| key != "ClientToken");
        parameters.sort();
        let key = [asked.region.clone(), asked.operation(), token];
        let mut replays = self.replays.lock().await;
        if let Some(replay) = replays.get(&key) {
            return replay.again(&parameters, &lock(&self.world));
        }
        let answer = self.send(asked).await;
        if answer.is_success() {
            replays.insert(key, Replay { parameters, answer: answer.clone() });
        }
        answer
    }

    async fn send(&self, asked: &Asked) -> Answer {
        let base = lock(&self.routes).get(&asked.service).cloned().unwrap_or_else(|| self.moto.clone());
        let mut headers = asked.headers.clone();
        for own in [header::CONNECTION, header::EXPECT, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
            headers.remove(own);
        }
        let request = self.client.request(asked.method.clone(), format!("{base}{}", asked.target));
        let answered = async {
            let response = request.headers(headers).body(asked.body.clone()).send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, response.bytes().await?))
        };
        match answered.await {
            Ok((status, headers, body)) => Answer { status, headers: passed(headers, asked), body },
            Err(error) => Refusal::new(502, "MotoIsAway", format!("{error:?}")).answer(&asked.service),
        }
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

/// The headers of an answer that go on to the client.
fn passed(mut headers: HeaderMap, asked: &Asked) -> HeaderMap {
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    // Of a HEAD it is the length of what a GET would give.
    if asked.method != "HEAD" {
        headers.remove(header::CONTENT_LENGTH);
    }
    headers
}

fn token(asked: &Asked) -> Option<String> {
    let form = asked.form();
    let of_tag = || {
        let (key, _) = form.iter().find(|(key, value)| key.ends_with(".Key") && value == "dsctl:token")?;
        field(&form, &format!("{}.Value", key.strip_suffix(".Key")?))
    };
    field(&form, "ClientToken").or_else(of_tag).map(str::to_owned)
}

impl Ledger {
    fn fault(&mut self, call: &Call) -> Option<Fault> {
        if let Some(left) = self.throttled.get_mut(&call.operation).filter(|left| **left > 0) {
            *left -= 1;
            return Some(Fault::Throttle { times: *left });
        }
        let changes = self.calls.iter().filter(|call| call.mutating).count() as u64 + 1;
        let is_for = |rule: &Rule| match &rule.at {
            Which::Call(number) => *number == call.number,
            Which::Nth(operation, nth) => *operation == call.operation && *nth == call.nth,
            Which::Mutating(nth) => call.mutating && *nth == changes,
        };
        let fault = self.rules.iter().position(is_for).map(|place| self.rules.remove(place).fault)?;
        if let Fault::Throttle { times } = fault {
            self.throttled.insert(call.operation.clone(), times.saturating_sub(1));
        }
        Some(fault)
    }

    fn write(&mut self, call: &Call, asked: &Asked) {
        let Some(file) = &mut self.record else { return };
        let headers = asked.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned()))
        });
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let mut line = json!({
            "number": call.number, "service": call.service, "operation": call.operation,
            "method": asked.method.as_str(), "path": path, "query": query,
            "headers": headers.collect::<serde_json::Map<_, _>>(), "length": asked.body.len(),
        });
        if asked.body.len() <= LARGEST_RECORDED {
            match std::str::from_utf8(&asked.body) {
                Ok(text) => line["body"] = text.into(),
                Err(_) => line["body_hex"] = hex::encode(&asked.body).into(),
            }
        }
        writeln!(file, "{line}").expect("a line of the record");
    }
}

impl Replay {
    fn again(&self, parameters: &[(String, String)], world: &World) -> Answer {
        let text = String::from_utf8_lossy(&self.answer.body);
        let refusal = if self.parameters != parameters {
            Refusal::new(400, "IdempotentParameterMismatch", "The token was used before, with other parameters.")
        } else if world.has_ended(&text) {
            Refusal::new(400, "IdempotentInstanceTerminated", "The instance of this token has been terminated.")
        } else {
            return self.answer.clone();
        };
        refusal.answer("ec2")
    }
}
