//! A rollout as the fold of its journal: what is known after each record. Pure.

use engine::journal::Record;
use jiff::Timestamp;
use spec::amount::Weight;
use spec::rollout::{RolloutEvent, RolloutReport, RolloutSpec};

use crate::decide::Decision;
use crate::event::{Cause, Event, Intent};
use crate::evidence::Evidence;
use crate::machine::{IllegalMove, Move, Position};

/// Why a record can't follow the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("record {record}: the first record must be \"started\", and only the first")]
    Start { record: u64 },
    #[error("record {record}: {source}")]
    Move { record: u64, source: IllegalMove },
    #[error("record {record}: generation {generation} was not intended")]
    NotIntended { record: u64, generation: u64 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    pub id: String,
    pub spec: RolloutSpec,
    pub position: Position,
    pub started_at: Timestamp,
    pub stage_since: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The first stage's weight has been in force.
    pub is_begun: bool,
    pub pending: Option<Intent>,
    /// Of the change that was intended last.
    pub generation: u64,
    pub step_backs: u32,
    pub waiting_since: Timestamp,
    /// The stage that may begin, as somebody said.
    pub approved: Option<usize>,
    /// The rollout that this one takes back.
    pub undoes: Option<String>,
    pub evidence: Evidence,
    pub decision: Decision,
    /// What is shown as its history.
    pub events: Vec<RolloutEvent>,
}

impl Rollout {
    pub fn replay(id: &str, records: &[Record<Event>]) -> Result<Self, ReplayError> {
        let (first, rest) = records.split_first().ok_or(ReplayError::Start { record: 1 })?;
        let mut rollout = Self::begin(id, first)?;
        for record in rest {
            rollout.apply(record)?;
        }
        Ok(rollout)
    }

    /// From its first record.
    pub fn begin(id: &str, record: &Record<Event>) -> Result<Self, ReplayError> {
        let Event::Started { spec, stage, undoes, .. } = &record.event else {
            return Err(ReplayError::Start { record: record.sequence });
        };
        let mut rollout = Self {
            id: id.to_owned(),
            position: Position::first(*stage),
            started_at: record.at,
            stage_since: record.at,
            ended_at: None,
            is_begun: false,
            pending: None,
            generation: 0,
            step_backs: 0,
            waiting_since: record.at,
            approved: None,
            undoes: undoes.clone(),
            evidence: Evidence::new(&spec.gates, 0),
            decision: Decision::hold("waits for the first stage's weight to be in force"),
            events: Vec::new(),
            spec: spec.clone(),
        };
        rollout.note(record);
        Ok(rollout)
    }

    pub fn apply(&mut self, record: &Record<Event>) -> Result<(), ReplayError> {
        match &record.event {
            Event::Started { .. } => return Err(ReplayError::Start { record: record.sequence }),
            Event::WeightIntended { cause, weight, generation, reason } => {
                let (cause, weight, generation, reason) = (*cause, *weight, *generation, reason.clone());
                self.generation = generation;
                self.pending = Some(Intent { cause, weight, generation, reason, is_set: false });
            }
            Event::WeightSet { generation, .. } => self.weight_is_set(*generation, record)?,
            Event::PromotedStage { .. } => {
                self.go(Move::Promote, record)?;
                self.pending = None;
                self.begin_stage(record.at);
            }
            Event::SteppedBack { .. } => {
                self.go(Move::StepBack, record)?;
                self.pending = None;
                self.step_backs = self.step_backs.saturating_add(1);
                self.approved = None;
                self.evidence = self.evidence.step_back(&self.spec.gates, self.generation);
                self.watch_from(record.at);
            }
            Event::Approved { stage } => self.approved = Some(*stage),
            Event::Paused | Event::BakedTooLong { .. } => {
                self.go(Move::Pause, record)?;
                // A paused rollout isn't promoted: the weight before is restored if the new one got in force already.
                self.pending.take_if(|pending| pending.cause == Cause::Promote);
            }
            Event::Resumed => {
                self.go(Move::Resume, record)?;
                self.waiting_since = record.at;
            }
            Event::Promoted { .. } => self.end(Move::Promote, record)?,
            Event::RolledBack { .. } => self.end(Move::RollBack, record)?,
            Event::Aborted { .. } => self.end(Move::Abort, record)?,
            Event::Evidence { evidence, decision } => {
                self.evidence = (**evidence).clone();
                self.decision = decision.clone();
            }
        }
        self.note(record);
        Ok(())
    }

    /// The weight that should be in force, or soon be.
    pub fn weight(&self) -> Weight {
        self.pending.as_ref().map_or_else(|| self.position.weight(&self.spec), |pending| pending.weight)
    }

    /// Somebody let the next stage begin.
    pub fn is_approved(&self) -> bool {
        self.approved == Some(self.position.stage + 1)
    }

    pub const fn is_over(&self) -> bool {
        self.position.phase.is_over()
    }

    pub fn report(&self) -> RolloutReport {
        RolloutReport {
            id: self.id.clone(),
            spec: self.spec.clone(),
            phase: self.position.phase,
            stage: self.position.stage,
            weight: self.weight(),
            started_at: self.started_at,
            stage_since: self.stage_since,
            ended_at: self.ended_at,
            step_backs: self.step_backs,
            awaits_approval: self.position.needs_approval(&self.spec).filter(|_| !self.is_approved()),
            gates: self.decision.gates.clone(),
            verdict: self.decision.verdict,
            reason: self.decision.reason.clone(),
        }
    }

    fn weight_is_set(&mut self, generation: u64, record: &Record<Event>) -> Result<(), ReplayError> {
        let pending = self.pending.as_mut().filter(|pending| pending.generation == generation);
        let pending = pending.ok_or(ReplayError::NotIntended { record: record.sequence, generation })?;
        match pending.cause {
            Cause::Start => {
                self.pending = None;
                self.is_begun = true;
                self.begin_stage(record.at);
            }
            Cause::Restore => self.pending = None,
            Cause::Promote | Cause::StepBack | Cause::RollBack | Cause::Abort => pending.is_set = true,
        }
        Ok(())
    }

    fn begin_stage(&mut self, at: Timestamp) {
        self.evidence = self.evidence.next_stage(&self.spec.gates, self.generation);
        self.watch_from(at);
    }

    fn watch_from(&mut self, at: Timestamp) {
        (self.stage_since, self.waiting_since) = (at, at);
        self.evidence.tallies.begin(self.generation, self.position.weight(&self.spec));
    }

    fn go(&mut self, attempted: Move, record: &Record<Event>) -> Result<(), ReplayError> {
        let after = self.position.after(attempted, self.spec.stages.len());
        self.position = after.map_err(|source| ReplayError::Move { record: record.sequence, source })?;
        Ok(())
    }

    fn end(&mut self, attempted: Move, record: &Record<Event>) -> Result<(), ReplayError> {
        self.go(attempted, record)?;
        self.pending = None;
        self.ended_at = Some(record.at);
        self.decision.reason = record.event.detail();
        Ok(())
    }

    fn note(&mut self, record: &Record<Event>) {
        if let Some(kind) = record.event.kind() {
            self.events.push(RolloutEvent {
                rollout: self.id.clone(),
                record: record.sequence,
                at: record.at,
                kind: kind.to_owned(),
                weight: self.weight(),
                detail: record.event.detail(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, event: Event) -> Record<Event> {
        let at = Timestamp::from_second(sequence as i64).unwrap();
        Record { sequence, at, before: String::new(), event }
    }

    fn replay(events: Vec<Event>) -> Result<Rollout, ReplayError> {
        let records: Vec<_> = (1..).zip(events).map(|(sequence, event)| record(sequence, event)).collect();
        Rollout::replay("r", &records)
    }

    fn started() -> Event {
        Event::Started { spec: RolloutSpec::default(), stage: 0, found: Weight::NONE, undoes: None }
    }

    fn intended(cause: Cause, points: u16, generation: u64) -> Event {
        let weight = Weight::from_basis_points(points).unwrap();
        Event::WeightIntended { cause, weight, generation, reason: "because".to_owned() }
    }

    fn set(points: u16, generation: u64) -> Event {
        Event::WeightSet { weight: Weight::from_basis_points(points).unwrap(), generation }
    }

    #[test]
    fn a_stage_begins_when_its_weight_is_set_and_counts_from_its_generation() {
        let rollout = replay(vec![started(), intended(Cause::Start, 1_000, 7), set(1_000, 7)]).unwrap();
        assert!(rollout.is_begun && rollout.pending.is_none());
        assert_eq!((rollout.stage_since.as_second(), rollout.evidence.since_generation), (3, 7));
        assert_eq!(rollout.report().weight.to_string(), "10%");
    }

    #[test]
    fn a_pause_takes_back_a_promotion_that_is_not_concluded() {
        let begun =
            vec![started(), intended(Cause::Start, 1_000, 7), set(1_000, 7), intended(Cause::Promote, 3_000, 8)];
        let rollout = replay(begun.clone()).unwrap();
        assert_eq!(rollout.weight().to_string(), "30%");
        for extra in [vec![], vec![set(3_000, 8)]] {
            let rollout = replay([begun.clone(), extra, vec![Event::Paused]].concat()).unwrap();
            assert_eq!((rollout.pending.clone(), rollout.weight().to_string()), (None, "10%".to_owned()));
        }
    }

    #[test]
    fn records_out_of_place_are_refused_with_their_number() {
        for (events, hint) in [
            (vec![], "record 1: the first record"),
            (vec![Event::Paused], "record 1: the first record"),
            (vec![started(), started()], "record 2: the first record"),
            (vec![started(), set(1_000, 1)], "record 2: generation 1 was not intended"),
            (vec![started(), intended(Cause::Start, 1_000, 2), set(1_000, 1)], "record 3: generation 1"),
            (vec![started(), Event::Resumed], "record 2: a rollout that is baking can't be resumed"),
        ] {
            let error = replay(events).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn events_survive_being_written() {
        let evidence = Box::new(Evidence::new(&RolloutSpec::default().gates, 3));
        for event in [
            started(),
            intended(Cause::RollBack, 0, 9),
            set(0, 9),
            Event::Paused,
            Event::Evidence { evidence, decision: Decision::hold("waits") },
        ] {
            let written = serde_json::to_vec(&event).unwrap();
            assert_eq!(serde_json::from_slice::<Event>(&written).unwrap(), event);
        }
    }
}
