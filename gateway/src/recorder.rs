//! The one writer of the audit log: a thread that takes all that waits, writes it as a group, and tells those who wait.
//!
//! ```text
//! requests --draft--> [waiting] --group--> Journal (write, fdatasync) --> told: on disk | not
//!                                   ^ on an error the group is held, and tried again each second
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use audit::{Draft, Journal, JournalError, Keys, Rotation};
use jiff::Timestamp;
use spec::audit::{AUDIT_FOLDER, AuditConfig, AuditPolicy, AuditSync, WhenFull};
use spec::metric;
use tokio::sync::oneshot;

use crate::metrics::Metrics;

/// Written at once; more only makes the first of them wait.
const MOST_IN_GROUP: usize = 1024;

/// Held in memory while nothing can be written: some 40 MB.
const MOST_HELD: usize = 65_536;

const RETRY_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    #[error("can't read the audit log's key {}", path.display())]
    Key { path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the audit log's writer can't be started")]
    Thread(#[source] std::io::Error),
}

/// An answer that must not be given, since there is no record of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log can't be written, and nothing is answered without it")]
pub struct Unrecorded;

#[derive(Debug)]
pub struct Recorder {
    policy: AuditPolicy,
    waiting: Sender<Item>,
    standing: Arc<Standing>,
}

/// What requests see of the writer.
#[derive(Debug, Default)]
struct Standing {
    is_failing: AtomicBool,
    waiting: AtomicU64,
}

#[derive(Debug)]
struct Item {
    /// None only asks to be told.
    draft: Option<Draft>,
    told: Option<oneshot::Sender<bool>>,
}

impl Recorder {
    pub fn open(data_dir: &Path, config: &AuditConfig, metrics: &Arc<Metrics>) -> Result<Self, RecorderError> {
        let key = |source| RecorderError::Key { path: config.key_file.clone(), source };
        let keys = Arc::new(Keys::read(&config.key_file).map_err(key)?);
        let rotation = Rotation { bytes: u64::from(config.policy.rotate_mib) << 20 };
        let journal = Journal::open(&data_dir.join(AUDIT_FOLDER), keys, rotation)?;
        let (waiting, taken) = channel();
        let standing = Arc::<Standing>::default();
        let (metrics, shared) = (Arc::clone(metrics), Arc::clone(&standing));
        let writer = Writer { journal, taken, metrics, standing: shared, held: Vec::new(), lost: 0, retry_at: None };
        writer.show();
        std::thread::Builder::new().name("audit".to_owned()).spawn(|| writer.run()).map_err(RecorderError::Thread)?;
        Ok(Self { policy: config.policy, waiting, standing })
    }

    /// Whether new requests have to be turned away.
    pub fn refuses(&self) -> bool {
        let is_behind = || self.standing.waiting.load(Ordering::Relaxed) > MOST_HELD as u64;
        self.policy.when_full == WhenFull::Refuse && (self.standing.is_failing.load(Ordering::Relaxed) || is_behind())
    }

    /// Takes a record that nobody waits for.
    pub fn submit(&self, draft: Draft) {
        self.send(Item { draft: Some(draft), told: None });
    }

    /// Takes a record, and returns when the answer may end.
    pub async fn record(&self, draft: Draft) -> Result<(), Unrecorded> {
        if self.policy.sync == AuditSync::Grouped {
            self.submit(draft);
            return Ok(());
        }
        let (told, written) = oneshot::channel();
        self.send(Item { draft: Some(draft), told: Some(told) });
        let is_written = written.await.unwrap_or(false);
        if is_written || self.policy.when_full == WhenFull::Degrade { Ok(()) } else { Err(Unrecorded) }
    }

    /// Until all that was given before is on disk, or can't be.
    pub async fn flush(&self) {
        let (told, written) = oneshot::channel();
        self.send(Item { draft: None, told: Some(told) });
        if !written.await.unwrap_or(false) {
            tracing::error!("the last records of the audit log could not be written");
        }
    }

    fn send(&self, item: Item) {
        self.standing.waiting.fetch_add(u64::from(item.draft.is_some()), Ordering::Relaxed);
        if self.waiting.send(item).is_err() {
            self.standing.is_failing.store(true, Ordering::Relaxed);
        }
    }
}

struct Writer {
    journal: Journal,
    taken: Receiver<Item>,
    metrics: Arc<Metrics>,
    standing: Arc<Standing>,
    /// In order, not on disk yet.
    held: Vec<Draft>,
    /// Did not fit in `held`, and no record says so yet.
    lost: u64,
    /// Set while nothing can be written.
    retry_at: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        while let Some(group) = self.next_group() {
            let mut waiters = Vec::new();
            for item in group {
                self.hold(item.draft);
                waiters.extend(item.told);
            }
            let is_written = self.write();
            for waiter in waiters {
                // Who does not wait any more, such as a client that left, need not be told.
                let _ = waiter.send(is_written);
            }
            self.show();
        }
    }

    /// What waits; nothing if it is only time to try again; none at the end.
    fn next_group(&self) -> Option<Vec<Item>> {
        let first = match self.retry_at {
            None => self.taken.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.taken.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match first {
            Ok(item) => Some(std::iter::once(item).chain(self.taken.try_iter().take(MOST_IN_GROUP - 1)).collect()),
            Err(RecvTimeoutError::Timeout) => Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn hold(&mut self, draft: Option<Draft>) {
        let Some(draft) = draft else { return };
        if self.held.len() < MOST_HELD {
            return self.held.push(draft);
        }
        self.lost += 1;
        self.standing.waiting.fetch_sub(1, Ordering::Relaxed);
        self.metrics.count(&metric::audit::DROPPED, &[], 1);
    }

    /// Whether nothing is held any more.
    fn write(&mut self) -> bool {
        if self.held.is_empty() && self.lost == 0 {
            return true;
        }
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let began = Instant::now();
        match self.journal.write(Timestamp::now(), self.lost, &self.held) {
            Ok(()) => self.wrote(began.elapsed()),
            Err(error) => self.failed(&error),
        }
        self.retry_at.is_none()
    }

    fn wrote(&mut self, took: Duration) {
        if self.retry_at.take().is_some() {
            tracing::warn!(records = self.held.len(), lost = self.lost, "the audit log is written again");
        }
        let records = self.held.len() as u64;
        self.metrics.observe(&metric::audit::SYNC_SECONDS, &[], took.as_secs_f64());
        self.metrics.count(&metric::audit::RECORDS, &[], records);
        self.standing.waiting.fetch_sub(records, Ordering::Relaxed);
        self.held.clear();
        self.lost = 0;
    }

    fn failed(&mut self, error: &std::io::Error) {
        if self.retry_at.is_none() {
            tracing::error!(error = crate::describe(error), "the audit log can't be written");
        }
        self.retry_at = Some(Instant::now() + RETRY_EVERY);
    }

    fn show(&self) {
        let is_failing = self.retry_at.is_some();
        self.standing.is_failing.store(is_failing, Ordering::Relaxed);
        self.metrics.set(&metric::audit::FAILING, &[], if is_failing { 1.0 } else { 0.0 });
        self.metrics.set(&metric::audit::WAITING, &[], self.standing.waiting.load(Ordering::Relaxed) as f64);
    }
}
