//! The controller: intent, act, outcome. It thinks nothing itself and remembers nothing that isn't in the journal.
//!
//! ```text
//! tick: catch up with the journal -> finish a pending intent, or restore the weight -> observe -> decide
//!         -> hold:      now and then journal the evidence
//!         -> promote    journal evidence, weight-intended -> set_weight -> journal weight-set, promoted-stage
//!         -> roll back  journal evidence, weight-intended -> set_weight -> journal weight-set, rolled-back
//! ```
//! A controller that dies anywhere leaves either no intent (nothing happened) or one intent without its outcome; the
//! next one asks for the same weight under the same generation again, which is harmless if it was in force already. A
//! journal that can't be written holds: no weight changes without its intent on disk. The one exception takes a candidate
//! away: if that intent can't be written, 0% is in force in memory until it can; a crash before that comes back to the
//! stage in the journal, and judges it again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::store::Store;
use spec::rollout::{Gate, InvalidRollout, RolloutEvent, RolloutReport, RolloutSpec};

use crate::clock::Clock;
use crate::error::ControllerError;
use crate::machine::Move;
use crate::ports::Traffic;

mod desk;
mod look;
#[cfg(test)]
mod tests;

use desk::Desk;
use look::look;

/// Between two ticks while no rollout is going on.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Carries one rollout at a time. Any number of callers may share it; commands wait for no probe.
pub struct Controller {
    desk: tokio::sync::Mutex<Desk>,
    traffic: Arc<dyn Traffic>,
    clock: Arc<dyn Clock>,
    shown: Mutex<Shown>,
}

/// What a reader sees without waiting for a command or a tick.
#[derive(Default)]
struct Shown {
    report: Option<RolloutReport>,
    history: Vec<RolloutEvent>,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").field("report", &self.shown().report).finish_non_exhaustive()
    }
}

impl Controller {
    /// Reads the last rollout's journal and finishes what it left undone. A weight that can't be set now is tried
    /// again by every tick; only a journal that can't be read is an error.
    pub async fn open(
        store: Arc<dyn Store>,
        traffic: Arc<dyn Traffic>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ControllerError> {
        let mut desk = Desk::open(store, Arc::clone(&traffic)).await?;
        let settled = desk.settle(clock.now()).await;
        desk.note_trouble(settled.err());
        let controller = Self { desk: tokio::sync::Mutex::new(desk), traffic, clock, shown: Mutex::default() };
        controller.show(&*controller.desk.lock().await);
        Ok(controller)
    }

    /// Begins a rollout: with nothing on the candidate at the first stage; a stage's weight that is in force already is
    /// judged before it goes up. A weight between two stages is refused: nothing goes down to begin, and nothing goes up
    /// without evidence.
    pub async fn start(&self, spec: RolloutSpec) -> Result<RolloutReport, ControllerError> {
        spec.validate()?;
        survives_being_written(&spec)?;
        let mut desk = self.desk.lock().await;
        let started = desk.start(spec, self.clock.now()).await;
        self.answer(&mut desk, started)
    }

    /// Holds the weight; the candidate is still watched, and still rolled back.
    pub async fn pause(&self) -> Result<RolloutReport, ControllerError> {
        self.command(Move::Pause).await
    }

    pub async fn resume(&self) -> Result<RolloutReport, ControllerError> {
        self.command(Move::Resume).await
    }

    /// Takes the candidate to 0% now.
    pub async fn abort(&self) -> Result<RolloutReport, ControllerError> {
        self.command(Move::Abort).await
    }

    /// Lets the next stage begin, when the evidence says so too.
    pub async fn approve(&self) -> Result<RolloutReport, ControllerError> {
        let mut desk = self.desk.lock().await;
        let done = desk.approve(self.clock.now()).await;
        self.answer(&mut desk, done)
    }

    /// What the last rollout promoted is taken back to 0% at once; what it took back begins anew at the first stage,
    /// under the same rules, since nothing goes up without evidence.
    pub async fn undo(&self) -> Result<RolloutReport, ControllerError> {
        let mut desk = self.desk.lock().await;
        let done = desk.undo(self.clock.now()).await;
        self.answer(&mut desk, done)
    }

    /// Observes, decides and acts once; none if no rollout is going on. What fails is in the report's reason.
    pub async fn tick(&self) -> Option<RolloutReport> {
        let (id, gates) = self.begin_tick().await?;
        let sight = look(&*self.traffic, &gates).await;
        let mut desk = self.desk.lock().await;
        let worked = desk.work(&id, sight, self.clock.now()).await;
        desk.note_trouble(worked.err());
        self.show(&desk);
        self.report()
    }

    /// Ticks for ever, as often as the rollout's spec says.
    pub async fn run(&self) -> ! {
        loop {
            tokio::time::sleep(self.until_next_tick()).await;
            self.tick().await;
        }
    }

    /// Of the last rollout; none if there was none.
    pub fn report(&self) -> Option<RolloutReport> {
        self.shown().report.clone()
    }

    /// What happened in the last rollout and in the five before it, oldest first. Numbers of records have gaps where
    /// evidence was journalled.
    pub fn history(&self) -> Vec<RolloutEvent> {
        self.shown().history.clone()
    }

    pub fn is_active(&self) -> bool {
        self.shown().report.as_ref().is_some_and(|report| !report.phase.is_over())
    }

    fn until_next_tick(&self) -> Duration {
        match &self.shown().report {
            Some(report) if !report.phase.is_over() => report.spec.tick.0,
            Some(_) | None => IDLE_TICK,
        }
    }

    async fn begin_tick(&self) -> Option<(String, Vec<Gate>)> {
        let mut desk = self.desk.lock().await;
        if desk.is_behind() {
            let caught_up = desk.catch_up().await;
            desk.note_trouble(caught_up.err());
            self.show(&desk);
        }
        let Some(ledger) = desk.live() else {
            // Without a rollout nobody asks what was seen of it.
            self.traffic.take_observations();
            return None;
        };
        Some((ledger.rollout.id.clone(), ledger.rollout.spec.gates.clone()))
    }

    async fn command(&self, asked: Move) -> Result<RolloutReport, ControllerError> {
        let mut desk = self.desk.lock().await;
        let done = desk.command(asked, self.clock.now()).await;
        self.answer(&mut desk, done)
    }

    fn answer(&self, desk: &mut Desk, done: Result<(), ControllerError>) -> Result<RolloutReport, ControllerError> {
        if done.is_ok() {
            desk.note_trouble(None);
        }
        self.show(desk);
        done?;
        self.report().ok_or(ControllerError::NoRollout)
    }

    fn show(&self, desk: &Desk) {
        let mut shown = self.shown();
        shown.report = desk.report();
        if shown.history.len() != desk.history().count() {
            shown.history = desk.history().cloned().collect();
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A spec that is journalled must come back as the same one: texts have milliseconds and nothing finer.
fn survives_being_written(spec: &RolloutSpec) -> Result<(), InvalidRollout> {
    let bad = |field, given: String| InvalidRollout::OutOfRange { field, given, wanted: "in whole milliseconds" };
    for (field, span) in [("bake", spec.bake), ("tick", spec.tick)] {
        if span.to_string().parse() != Ok(span) {
            return Err(bad(field, format!("{:?}", span.0)));
        }
    }
    match spec.gates.iter().find(|gate| gate.to_string().parse().as_ref() != Ok(*gate)) {
        Some(gate) => Err(bad("gates", format!("{} {}", gate.sli, gate.threshold))),
        None => Ok(()),
    }
}
