//! Between a client and a cloud: it records every call and fails as it is told to.
//!
//! ```text
//! arrive -> note (number, name, rule) -> play (the rule's fault, if any) -> the cloud's dialect -> the cloud
//! ```
//! What a call is called and how its cloud refuses is the dialect's, one a cloud.

mod dialect;
pub mod message;
mod rules;

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

pub use self::dialect::{Dialect, Named};
use self::message::{Answer, Asked};
use self::rules::Ledger;
pub use self::rules::{Call, Fault, Moment, Rule, Which};
use crate::http::runtime;
use crate::process;

/// How long a client waits for the answer that never comes.
const HELD: Duration = Duration::from_millis(200);
/// From an answer to the end of who got it: time enough to write it down.
const AFTER_ANSWER: Duration = Duration::from_millis(100);
/// From a call that kills to the number of the process that made it.
const TARGET_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Lives until the process ends.
#[derive(Debug)]
pub struct Proxy<D> {
    address: SocketAddr,
    shared: Arc<Shared<D>>,
}

#[derive(Debug)]
struct Shared<D> {
    dialect: D,
    ledger: Mutex<Ledger>,
    target: Mutex<Option<u32>>,
    killing: watch::Sender<bool>,
    /// Whether calls that a rule holds may go on.
    released: watch::Sender<bool>,
    in_flight: AtomicU64,
}

impl<D: Dialect> Proxy<D> {
    pub fn start(dialect: D) -> Self {
        let shared = Arc::new(Shared {
            dialect,
            ledger: Mutex::default(),
            target: Mutex::default(),
            killing: watch::Sender::new(false),
            released: watch::Sender::new(false),
            in_flight: AtomicU64::new(0),
        });
        let address = serve(Router::new().fallback(arrive::<D>).with_state(Arc::clone(&shared)));
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn dialect(&self) -> &D {
        &self.shared.dialect
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

    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.ledger).calls.clone()
    }

    /// Lets the calls go on that a rule holds, now and until the next [`Self::clear`].
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Appends every request from now on to a file, for the checks against the cloud's own models.
    pub fn record_to(&self, path: &Path) {
        let file = File::options().create(true).append(true).open(path);
        lock(&self.shared.ledger).record = Some(file.expect("a file for requests"));
    }

    /// Waits until nothing is under way any more: a killed client's calls are done to their end, and who is to be killed is.
    #[track_caller]
    pub fn settle(&self) {
        let is_idle = || (self.shared.in_flight.load(Ordering::SeqCst) == 0).then_some(());
        crate::wait::until("no call is under way", is_idle);
    }

    /// Forgets calls and rules; numbers begin at 1 again. What the cloud remembers (tokens, what is pending) stays.
    #[track_caller]
    pub fn clear(&self) {
        self.release();
        self.settle();
        lock(&self.shared.ledger).clear();
        self.shared.released.send_replace(false);
    }

    /// Forgets everything but the record: goes with the cloud's own reset.
    #[track_caller]
    pub fn reset(&self) {
        self.clear();
        *lock(&self.shared.target) = None;
        crate::http::wait(self.shared.dialect.reset());
    }
}

async fn arrive<D: Dialect>(State(shared): State<Arc<Shared<D>>>, request: Request) -> Response {
    let Some(asked) = Asked::read(request).await else { return closed() };
    if *shared.killing.borrow() {
        let _ = shared.killing.subscribe().wait_for(|killing| !killing).await;
        return closed();
    }
    shared.in_flight.fetch_add(1, Ordering::SeqCst);
    // In a task of its own: a client that dies would take it along, and the cloud's work would go unseen.
    let played = tokio::spawn(handle(shared, asked)).await;
    played.ok().flatten().map_or_else(closed, Answer::into_response)
}

/// None closes the connection.
async fn handle<D: Dialect>(shared: Arc<Shared<D>>, asked: Asked) -> Option<Answer> {
    let named = shared.dialect.name(&asked);
    let call = lock(&shared.ledger).note(&asked, named);
    let answer = play(&shared, &asked, call.fault.as_ref()).await;
    let status = answer.as_ref().map(|answer| answer.status);
    if let Some(noted) = lock(&shared.ledger).calls.iter_mut().find(|noted| noted.number == call.number) {
        noted.status = status;
    }
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    answer
}

async fn play<D: Dialect>(shared: &Arc<Shared<D>>, asked: &Asked, fault: Option<&Fault>) -> Option<Answer> {
    let dialect = &shared.dialect;
    if let Some(refusal) = fault.and_then(|fault| dialect.refusal(asked, fault)) {
        return Some(refusal);
    }
    if fault == Some(&Fault::Kill(Moment::BeforeSent)) {
        shared.kill().await;
        return None;
    }
    if fault == Some(&Fault::Hold) {
        let _ = shared.released.subscribe().wait_for(|released| *released).await;
    }
    let answer = dialect.forward(asked).await;
    match fault {
        Some(Fault::Kill(Moment::AfterAnswered)) => shared.kill_soon(),
        Some(Fault::Kill(_)) => {
            shared.kill().await;
            return None;
        }
        Some(Fault::KillUnseen { looks }) => {
            dialect.hide(asked, &answer, *looks);
            shared.kill().await;
            return None;
        }
        Some(Fault::TimeoutAfterSuccess) => {
            tokio::time::sleep(HELD).await;
            return None;
        }
        Some(Fault::ErrorAfterSuccess(status)) => return Some(dialect.broken(asked, *status)),
        Some(Fault::Unseen { looks }) => dialect.hide(asked, &answer, *looks),
        _ => {}
    }
    Some(answer)
}

/// The body ends before its first byte, so that not even the status is sent.
fn closed() -> Response {
    let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("closed by a rule")) });
    (StatusCode::OK, Body::from_stream(cut)).into_response()
}

impl<D: Dialect> Shared<D> {
    async fn kill(&self) {
        self.killing.send_replace(true);
        self.end_target().await;
        self.killing.send_replace(false);
    }

    fn kill_soon(self: &Arc<Self>) {
        self.killing.send_replace(true);
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(AFTER_ANSWER).await;
            shared.kill().await;
            shared.in_flight.fetch_sub(1, Ordering::SeqCst);
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until the process ends, on a port of its own.
pub(crate) fn serve(router: Router) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener for the runtime");
    let address = listener.local_addr().expect("an address");
    runtime().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        axum::serve(listener, router).await.expect("it serves");
    });
    address
}
