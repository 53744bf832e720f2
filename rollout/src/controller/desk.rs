//! The work of the controller, done by one caller at a time: catch up, settle, observe, decide, journal, act.

use std::sync::Arc;

use engine::store::Store;
use jiff::Timestamp;
use spec::amount::Weight;
use spec::rollout::{RolloutEvent, RolloutPhase, RolloutReport, RolloutSpec, Verdict};

use super::look::Sight;
use crate::decide::{Situation, baked_too_long, decide};
use crate::error::ControllerError;
use crate::event::{Cause, Event, next_id};
use crate::ledger::{Ledger, forget_oldest, past_events};
use crate::machine::Move;
use crate::ports::{Traffic, TrafficError};

/// How often a change of weight is intended anew, within a tick, because the table moved on.
const ATTEMPTS: u32 = 3;

pub(super) struct Desk {
    store: Arc<dyn Store>,
    traffic: Arc<dyn Traffic>,
    ledger: Option<Ledger>,
    /// History of the rollouts before the last.
    past: Vec<RolloutEvent>,
    /// An append failed: the journal may hold more than the ledger knows.
    is_behind: bool,
    /// Why the last tick could not do all it should.
    trouble: Option<String>,
    /// Why the candidate is at 0% in memory, while that can't be journalled.
    withdrawn: Option<Withdrawal>,
}

#[derive(Debug, Clone)]
struct Withdrawal {
    cause: Cause,
    reason: String,
}

impl Desk {
    pub async fn open(store: Arc<dyn Store>, traffic: Arc<dyn Traffic>) -> Result<Self, ControllerError> {
        let ledger = Ledger::open_last(Arc::clone(&store)).await?;
        let past = past_events(&store).await?;
        Ok(Self { store, traffic, ledger, past, is_behind: false, trouble: None, withdrawn: None })
    }

    /// Of the last rollout and of those before it, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &RolloutEvent> {
        self.past.iter().chain(self.ledger.iter().flat_map(|ledger| &ledger.rollout.events))
    }

    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Reads the journal again if a write to it failed.
    pub async fn catch_up(&mut self) -> Result<(), ControllerError> {
        if !self.is_behind {
            return Ok(());
        }
        let mut read = Ledger::open_last(Arc::clone(&self.store)).await?;
        if let (Some(read), Some(earlier)) = (&mut read, &self.ledger) {
            read.keep_evidence_of(earlier);
        }
        let is_next =
            read.as_ref().map(|ledger| &ledger.rollout.id) != self.ledger.as_ref().map(|ledger| &ledger.rollout.id);
        let earlier = std::mem::replace(&mut self.ledger, read);
        if is_next {
            self.remember(earlier);
        }
        self.is_behind = false;
        Ok(())
    }

    fn remember(&mut self, ended: Option<Ledger>) {
        self.past.extend(ended.into_iter().flat_map(|ledger| ledger.rollout.events));
        forget_oldest(&mut self.past);
    }

    /// The rollout that is going on.
    pub fn live(&mut self) -> Option<&mut Ledger> {
        self.ledger.as_mut().filter(|ledger| !ledger.rollout.is_over())
    }

    pub async fn start(&mut self, spec: RolloutSpec, now: Timestamp) -> Result<(), ControllerError> {
        self.catch_up().await?;
        if let Some(ledger) = self.live() {
            return Err(ControllerError::Active { id: ledger.rollout.id.clone() });
        }
        if let Some(lockout) = spec.locked_out_by(now) {
            return Err(ControllerError::LockedOut { lockout: lockout.to_string() });
        }
        let found = self.traffic.route_table().candidate;
        let stage = first_stage(&spec, found)?;
        self.begin(now, Event::Started { spec, stage, found, undoes: None }).await
    }

    /// A rollout's first record; then what follows from it.
    async fn begin(&mut self, now: Timestamp, started: Event) -> Result<(), ControllerError> {
        let id = next_id(now, self.ledger.as_ref().map(|ledger| ledger.rollout.id.as_str()));
        // What was seen before has nothing to say of it.
        self.traffic.take_observations();
        self.is_behind = true;
        let ledger = Ledger::begin(Arc::clone(&self.store), &id, now, started).await?;
        self.is_behind = false;
        let ended = self.ledger.replace(ledger);
        self.remember(ended);
        self.settle(now).await
    }

    /// Of a promoted candidate it is one record that says all, so that a death anywhere after it ends at 0% too.
    pub async fn undo(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        self.catch_up().await?;
        let last = &self.ledger.as_ref().ok_or(ControllerError::NoRollout)?.rollout;
        let (id, spec) = (last.id.clone(), last.spec.clone());
        match last.position.phase {
            RolloutPhase::Baking | RolloutPhase::Paused => Err(ControllerError::Active { id }),
            RolloutPhase::RolledBack | RolloutPhase::Aborted => self.start(spec, now).await,
            RolloutPhase::Promoted => {
                let (stage, found) = (spec.stages.len().saturating_sub(1), self.traffic.route_table().candidate);
                self.begin(now, Event::Started { spec, stage, found, undoes: Some(id) }).await
            }
        }
    }

    pub async fn approve(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        self.catch_up().await?;
        let rollout = &self.live().ok_or(ControllerError::NoRollout)?.rollout;
        let next = rollout.position.stage + 1;
        match rollout.position.needs_approval(&rollout.spec) {
            Some(weight) if rollout.is_approved() => Err(ControllerError::NothingToApprove { approved: Some(weight) }),
            Some(_) => self.append(now, Event::Approved { stage: next }).await,
            None => Err(ControllerError::NothingToApprove { approved: None }),
        }
    }

    pub async fn command(&mut self, asked: Move, now: Timestamp) -> Result<(), ControllerError> {
        let by_hand = "asked for by hand".to_owned();
        if let Err(error) = self.catch_up().await {
            if asked == Move::Abort && self.live().is_some() {
                self.withdraw(Cause::Abort, by_hand).await;
            }
            return Err(error);
        }
        let rollout = &self.ledger.as_ref().ok_or(ControllerError::NoRollout)?.rollout;
        rollout.position.after(asked, rollout.spec.stages.len())?;
        match asked {
            Move::Pause => self.append(now, Event::Paused).await?,
            Move::Resume => self.append(now, Event::Resumed).await?,
            Move::Abort => self.take_away(Cause::Abort, by_hand, now).await?,
            // Nobody asks for these; they are decided.
            Move::Promote | Move::StepBack | Move::RollBack => return Ok(()),
        }
        self.settle(now).await
    }

    /// The second half of a tick, for the rollout that the first half looked at.
    pub async fn work(&mut self, id: &str, sight: Sight, now: Timestamp) -> Result<(), ControllerError> {
        self.catch_up().await?;
        let settled = self.settle(now).await;
        let traffic = Arc::clone(&self.traffic);
        let Some(ledger) = self.live().filter(|ledger| ledger.rollout.id == id && ledger.rollout.is_begun) else {
            return settled;
        };
        observe(ledger, &*traffic, sight);
        let rollout = &mut ledger.rollout;
        let situation = Situation::of(rollout, now);
        let decision = decide(&situation);
        let too_long = baked_too_long(&situation, &decision);
        rollout.decision = decision;
        let (verdict, reason) = (rollout.decision.verdict, rollout.decision.reason.clone());
        match verdict {
            Verdict::RollBack => self.roll_back(reason, now).await,
            Verdict::StepBack => {
                settled?;
                self.step_back(reason, now).await
            }
            Verdict::Promote => {
                settled?;
                self.promote(reason, now).await
            }
            Verdict::Hold => {
                settled?;
                if let Some(reason) = too_long {
                    self.append_decision(now).await?;
                    return self.append(now, Event::BakedTooLong { reason }).await;
                }
                self.keep_evidence(now).await
            }
        }
    }

    async fn keep_evidence(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        match self.live() {
            Some(ledger) if ledger.is_snapshot_due(now) => {
                let kept = ledger.append_evidence(now).await;
                self.after_append(kept)
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn roll_back(&mut self, reason: String, now: Timestamp) -> Result<(), ControllerError> {
        let is_intended = self
            .live()
            .and_then(|ledger| ledger.rollout.pending.as_ref())
            .is_some_and(|pending| matches!(pending.cause, Cause::RollBack | Cause::Abort));
        if !is_intended {
            // The numbers are good to have on disk; the rollback does not wait for them.
            if let Err(error) = self.append_decision(now).await {
                tracing::warn!(%error, "the evidence for a rollback can't be journalled");
            }
            self.take_away(Cause::RollBack, reason, now).await?;
        }
        self.settle(now).await
    }

    async fn step_back(&mut self, reason: String, now: Timestamp) -> Result<(), ControllerError> {
        self.append_decision(now).await?;
        let Some(ledger) = self.live() else { return Ok(()) };
        let rollout = &ledger.rollout;
        let before = rollout.position.after(Move::StepBack, rollout.spec.stages.len())?;
        let weight = before.weight(&rollout.spec);
        self.intend(Cause::StepBack, weight, reason, now).await?;
        self.settle(now).await
    }

    /// Intends 0%. If that can't be journalled the candidate is at 0% all the same, in memory, until it can.
    async fn take_away(&mut self, cause: Cause, reason: String, now: Timestamp) -> Result<(), ControllerError> {
        let intended = match self.catch_up().await {
            Ok(()) => self.intend(cause, Weight::NONE, reason.clone(), now).await,
            Err(error) => Err(error),
        };
        match intended {
            Ok(()) => self.withdrawn = None,
            Err(_) => self.withdraw(cause, reason).await,
        }
        intended
    }

    async fn withdraw(&mut self, cause: Cause, reason: String) {
        self.traffic.withdraw_candidate().await;
        tracing::error!(reason, "the candidate is at 0% in memory only, until the journal can be written");
        self.withdrawn = Some(Withdrawal { cause, reason });
    }

    /// Journals what is in force in memory only.
    async fn keep_withdrawal(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        let Some(Withdrawal { cause, reason }) = self.withdrawn.clone() else { return Ok(()) };
        let is_recorded = self.live().is_none_or(|ledger| {
            let pending = ledger.rollout.pending.as_ref();
            pending.is_some_and(|pending| matches!(pending.cause, Cause::RollBack | Cause::Abort))
        });
        if is_recorded {
            self.withdrawn = None;
            return Ok(());
        }
        self.take_away(cause, reason, now).await
    }

    async fn promote(&mut self, reason: String, now: Timestamp) -> Result<(), ControllerError> {
        self.append_decision(now).await?;
        let Some(ledger) = self.live() else { return Ok(()) };
        let rollout = &ledger.rollout;
        let next = rollout.position.after(Move::Promote, rollout.spec.stages.len())?;
        if next.phase.is_over() {
            return self.append(now, Event::Promoted { reason }).await;
        }
        let weight = next.weight(&rollout.spec);
        self.intend(Cause::Promote, weight, reason, now).await?;
        self.settle(now).await
    }

    /// Finishes a pending change of weight, or begins one if the table in force isn't the rollout's.
    pub async fn settle(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        self.keep_withdrawal(now).await?;
        if let Some((cause, reason)) = self.what_to_restore() {
            let weight = match cause {
                Cause::RollBack | Cause::Abort => Weight::NONE,
                Cause::Start | Cause::Restore | Cause::Promote | Cause::StepBack => {
                    self.live().map_or(Weight::NONE, |ledger| ledger.rollout.weight())
                }
            };
            self.intend(cause, weight, reason, now).await?;
        }
        let mut attempt = 1;
        while let Some(pending) = self.live().and_then(|ledger| ledger.rollout.pending.clone()) {
            if pending.is_set {
                return self.conclude(pending.cause, pending.reason, now).await;
            }
            // Decided before the lockout began, and not done by then: it waits like any other.
            if pending.cause == Cause::Promote && self.is_locked_out(now) {
                return Ok(());
            }
            match self.traffic.set_weight(pending.weight, pending.generation).await {
                Ok(()) => {
                    let (weight, generation) = (pending.weight, pending.generation);
                    self.append(now, Event::WeightSet { weight, generation }).await?;
                }
                // The table moved on without us: read it, and say what is wanted under a newer generation.
                Err(TrafficError::Stale { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    self.intend(pending.cause, pending.weight, pending.reason, now).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn is_locked_out(&mut self, now: Timestamp) -> bool {
        self.live().is_some_and(|ledger| ledger.rollout.spec.locked_out_by(now).is_some())
    }

    /// Why a weight must be intended though nothing new was decided; none if the table is as it was left.
    fn what_to_restore(&mut self) -> Option<(Cause, String)> {
        let table = self.traffic.route_table();
        let rollout = &self.live()?.rollout;
        let is_ours = table.candidate == rollout.weight() && table.generation >= rollout.generation;
        match &rollout.pending {
            // It was in force once, and the table changed before that could be concluded.
            Some(pending) if pending.is_set && !is_ours => Some((pending.cause, pending.reason.clone())),
            Some(_) => None,
            None if !rollout.is_begun && rollout.undoes.is_some() => {
                let promoted = rollout.undoes.as_deref().unwrap_or_default();
                Some((Cause::Abort, format!("undoes rollout {promoted}")))
            }
            None if !rollout.is_begun => Some((Cause::Start, format!("from {} to the first stage", table.candidate))),
            None if is_ours => None,
            None => Some((Cause::Restore, format!("found {} under generation {}", table.candidate, table.generation))),
        }
    }

    async fn conclude(&mut self, cause: Cause, reason: String, now: Timestamp) -> Result<(), ControllerError> {
        match cause {
            Cause::Start | Cause::Restore => Ok(()),
            Cause::Promote => {
                let stage = self.live().map_or(0, |ledger| ledger.rollout.position.stage + 1);
                self.append(now, Event::PromotedStage { stage, reason }).await
            }
            Cause::StepBack => {
                let stage = self.live().map_or(0, |ledger| ledger.rollout.position.stage.saturating_sub(1));
                self.append(now, Event::SteppedBack { stage, reason }).await
            }
            Cause::RollBack => self.append(now, Event::RolledBack { reason }).await,
            Cause::Abort => self.append(now, Event::Aborted { reason }).await,
        }
    }

    async fn intend(
        &mut self,
        cause: Cause,
        weight: Weight,
        reason: String,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        let in_force = self.traffic.route_table().generation;
        let intended = self.live().map_or(0, |ledger| ledger.rollout.generation);
        let generation = in_force.max(intended) + 1;
        self.append(now, Event::WeightIntended { cause, weight, generation, reason }).await
    }

    async fn append_decision(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        let Some(ledger) = self.live() else { return Ok(()) };
        let appended = ledger.append_evidence(now).await;
        self.after_append(appended)
    }

    async fn append(&mut self, now: Timestamp, event: Event) -> Result<(), ControllerError> {
        let ledger = self.live().ok_or(ControllerError::NoRollout)?;
        let appended = ledger.append(now, event).await;
        self.after_append(appended)
    }

    fn after_append(&mut self, appended: Result<(), ControllerError>) -> Result<(), ControllerError> {
        if appended.is_err() {
            self.is_behind = true;
        }
        appended
    }

    pub fn note_trouble(&mut self, trouble: Option<ControllerError>) {
        self.trouble = trouble.map(|error| {
            tracing::error!(%error, "the rollout can't go on as it should");
            error.to_string()
        });
    }

    pub fn report(&self) -> Option<RolloutReport> {
        let mut report = self.ledger.as_ref()?.rollout.report();
        if let Some(trouble) = self.trouble.as_ref().filter(|_| !report.phase.is_over()) {
            report.verdict = Verdict::Hold;
            report.reason = format!("{trouble}; {}", report.reason);
        }
        if let Some(withdrawn) = self.withdrawn.as_ref().filter(|_| !report.phase.is_over()) {
            report.weight = Weight::NONE;
            report.reason = format!(
                "the candidate is at 0% ({}), which can't be recorded yet: {}",
                withdrawn.reason, report.reason
            );
        }
        Some(report)
    }
}

/// Where a rollout begins: with nothing on the candidate at the first stage, else at the stage that is in force.
fn first_stage(spec: &RolloutSpec, found: Weight) -> Result<usize, ControllerError> {
    if found == Weight::NONE {
        return Ok(0);
    }
    if found == Weight::ALL {
        return Err(ControllerError::NothingLeft { in_force: found });
    }
    let stage = spec.stages.iter().position(|stage| *stage == found);
    stage.ok_or_else(|| ControllerError::BetweenStages { in_force: found, stages: spec.stages.clone() })
}

fn observe(ledger: &mut Ledger, traffic: &dyn Traffic, sight: Sight) {
    let rollout = &mut ledger.rollout;
    let gates = &rollout.spec.gates;
    for seen in traffic.take_observations() {
        rollout.evidence.add(gates, &seen);
    }
    rollout.evidence.add_probe(sight.probe);
    if let Some(page) = sight.page {
        rollout.evidence.add_scrape(gates, &page);
    }
}
