//! The last rollout together with its journal: what is appended is applied, and only that.

use std::sync::Arc;

use engine::journal::{Journal, JournalError};
use engine::store::Store;
use jiff::{SignedDuration, Timestamp};
use spec::rollout::RolloutEvent;

use crate::error::ControllerError;
use crate::event::Event;
use crate::evidence::Evidence;
use crate::replay::{ReplayError, Rollout};

/// Where the journals are: `rollouts/ID/000001.json`.
const FOLDER: &str = "rollouts";

/// Rollouts before the last that the history still shows.
const PAST_ROLLOUTS: usize = 5;

/// Evidence is journalled when it changed, this often at the most; in a long stage once in a hundredth of its time.
const SNAPSHOT_SECONDS: i64 = 5;
const LONGEST_SNAPSHOT_SECONDS: i64 = 60;

#[derive(Debug)]
pub(crate) struct Ledger {
    journal: Journal<Event>,
    pub rollout: Rollout,
    /// The evidence that was journalled last, and when.
    kept: Evidence,
    kept_at: Timestamp,
}

impl Ledger {
    /// Begins a rollout's journal with its first record.
    pub async fn begin(
        store: Arc<dyn Store>,
        id: &str,
        at: Timestamp,
        started: Event,
    ) -> Result<Self, ControllerError> {
        let (mut journal, _) = Journal::open(store, &prefix(id)).await?;
        let record = journal.append(at, started).await?;
        Ok(Self::of(journal, Rollout::begin(id, &record).map_err(|source| unreadable(id, source))?))
    }

    /// The last rollout; none if there was none.
    pub async fn open_last(store: Arc<dyn Store>) -> Result<Option<Self>, ControllerError> {
        let Some(id) = ids(&*store).await?.pop() else { return Ok(None) };
        let (journal, records) = Journal::open(store, &prefix(&id)).await?;
        let rollout = Rollout::replay(&id, &records).map_err(|source| unreadable(&id, source))?;
        Ok(Some(Self::of(journal, rollout)))
    }

    fn of(journal: Journal<Event>, rollout: Rollout) -> Self {
        Self { journal, kept: rollout.evidence.clone(), kept_at: rollout.stage_since, rollout }
    }

    /// Appends, then applies. After an error nobody knows whether the record is there: open again.
    pub async fn append(&mut self, at: Timestamp, event: Event) -> Result<(), ControllerError> {
        let record = self.journal.append(at, event).await?;
        self.rollout.apply(&record).map_err(|source| unreadable(&self.rollout.id, source))?;
        let is_new_stage = self.kept.since_generation != self.rollout.evidence.since_generation;
        if is_new_stage || matches!(record.event, Event::Evidence { .. }) {
            (self.kept, self.kept_at) = (self.rollout.evidence.clone(), at);
        }
        Ok(())
    }

    pub async fn append_evidence(&mut self, at: Timestamp) -> Result<(), ControllerError> {
        let (evidence, decision) = (Box::new(self.rollout.evidence.clone()), self.rollout.decision.clone());
        self.append(at, Event::Evidence { evidence, decision }).await
    }

    pub fn is_snapshot_due(&self, now: Timestamp) -> bool {
        let hundredth = now.duration_since(self.rollout.stage_since).as_secs() / 100;
        let every = SignedDuration::from_secs(hundredth.clamp(SNAPSHOT_SECONDS, LONGEST_SNAPSHOT_SECONDS));
        self.rollout.evidence != self.kept && now.duration_since(self.kept_at) >= every
    }

    /// Takes over what an earlier reading of the same stage had seen, and thought of it, since its last snapshot.
    pub fn keep_evidence_of(&mut self, earlier: &Self) {
        let (mine, theirs) = (&mut self.rollout, &earlier.rollout);
        if mine.id == theirs.id && mine.evidence.since_generation == theirs.evidence.since_generation {
            mine.evidence = theirs.evidence.clone();
            if !mine.is_over() {
                mine.decision = theirs.decision.clone();
            }
        }
    }
}

/// What happened in the rollouts before the last, oldest first.
pub(crate) async fn past_events(store: &Arc<dyn Store>) -> Result<Vec<RolloutEvent>, ControllerError> {
    let mut ids = ids(&**store).await?;
    ids.pop();
    let mut events = Vec::new();
    for id in ids.split_off(ids.len().saturating_sub(PAST_ROLLOUTS)) {
        match read(Arc::clone(store), &id).await {
            Ok(rollout) => events.extend(rollout.events),
            // A rollout that is over steers nothing: its loss must not keep the gateway from its weights.
            Err(error) => tracing::warn!(rollout = id, %error, "an earlier rollout can't be read"),
        }
    }
    Ok(events)
}

/// Drops the oldest rollouts from a history until no more are left than are shown.
pub(crate) fn forget_oldest(events: &mut Vec<RolloutEvent>) {
    let mut ids: Vec<String> = events.iter().map(|event| event.rollout.clone()).collect();
    ids.dedup();
    let first_kept = ids.len().saturating_sub(PAST_ROLLOUTS);
    events.retain(|event| ids[first_kept..].contains(&event.rollout));
}

async fn read(store: Arc<dyn Store>, id: &str) -> Result<Rollout, ControllerError> {
    let (_, records) = Journal::open(store, &prefix(id)).await?;
    Rollout::replay(id, &records).map_err(|source| unreadable(id, source))
}

/// Ids of all rollouts, oldest first.
async fn ids(store: &dyn Store) -> Result<Vec<String>, ControllerError> {
    let keys = store.list(&format!("{FOLDER}/")).await.map_err(JournalError::from)?;
    let mut ids: Vec<String> = keys.iter().filter_map(|key| key.split('/').nth(1)).map(str::to_owned).collect();
    ids.dedup();
    Ok(ids)
}

fn prefix(id: &str) -> String {
    format!("{FOLDER}/{id}")
}

fn unreadable(id: &str, source: ReplayError) -> ControllerError {
    ControllerError::Unreadable { id: id.to_owned(), source }
}
