//! A unit's life as a state machine: pure, time is an argument. [`step`] is one total match.
//!
//! ```text
//!             Start/Began               Answered
//! Waiting ----------------> Alive(Starting) <----> Alive(Ready, Shaky)
//!    ^  \--could not--> Blocked  |  Ended -> Backoff --(time)--> Start
//!    |                           |  Halt or Renew
//!    +------Ended------------ Stopping ----Ended----> Stopped
//! ```

use std::time::Duration;

use spec::host::{ProcessId, UnitState};

/// Time since the agent began.
pub(crate) type Moment = Duration;

pub(crate) const FIRST_BACKOFF: Duration = Duration::from_millis(500);
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// A life this long was a good one: the next death counts as the first.
const GOOD_LIFE: Duration = Duration::from_secs(60);
/// Deaths in a row, none of them after readiness, that make a start a failed one.
pub(crate) const FAILED_AFTER_DEATHS: u32 = 5;
/// After the impolite signal; a process that is still there then (in the kernel, or not ours to signal) may stay for ever.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Before another try when a unit can't be started at all.
const BLOCKED_RETRY: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub life: Life,
    /// Deaths in a row.
    pub deaths: u32,
    /// Since it was last asked to start afresh.
    pub was_ready: bool,
    pub has_begun: bool,
    pub restarts: u64,
    pub last_exit: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Life {
    Waiting,
    Alive { process: ProcessId, since: Moment, health: Health },
    Stopping { process: ProcessId, kill_at: Moment, force: Force, then: Then },
    Backoff { until: Moment },
    Blocked { until: Moment },
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Starting,
    Ready,
    /// Ready, but the last probe was not answered.
    Shaky,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    NotYet,
    Sent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    StartAgain,
    Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Run,
    /// Should run, but what it needs is not there yet.
    Hold,
    Halt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Tick(Wish),
    Began(ProcessId),
    CouldNotBegin,
    Ended(String),
    Answered,
    Silent,
    /// Start afresh: it was asked for, or the unit's spec changed.
    Renew,
    /// Nothing that went wrong counts any more, and nothing is waited for. What runs goes on.
    Forgive,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Nothing,
    Start,
    Terminate,
    Kill,
}

/// An event that can't happen in this state: a fault of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} can't happen to a unit that is {life:?}")]
pub(crate) struct Illegal {
    pub life: Life,
    pub event: Event,
}

impl Unit {
    pub fn new() -> Self {
        Self { life: Life::Waiting, deaths: 0, was_ready: false, has_begun: false, restarts: 0, last_exit: None }
    }

    /// A unit that an earlier agent started.
    pub fn adopted(process: ProcessId, now: Moment) -> Self {
        Self { life: Life::Alive { process, since: now, health: Health::Starting }, has_begun: true, ..Self::new() }
    }

    pub fn process(&self) -> Option<ProcessId> {
        match self.life {
            Life::Alive { process, .. } | Life::Stopping { process, .. } => Some(process),
            Life::Waiting | Life::Backoff { .. } | Life::Blocked { .. } | Life::Stopped => None,
        }
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.life, Life::Alive { health: Health::Ready | Health::Shaky, .. })
    }

    /// It dies again and again and was never ready.
    pub fn is_failing(&self) -> bool {
        self.deaths >= FAILED_AFTER_DEATHS && !self.was_ready
    }

    /// It did not end of the impolite signal either.
    pub fn is_stuck(&self, now: Moment) -> bool {
        matches!(self.life, Life::Stopping { kill_at, force: Force::Sent, .. } if now >= kill_at + KILL_PATIENCE)
    }

    pub fn state(&self) -> UnitState {
        match self.life {
            Life::Waiting => UnitState::Waiting,
            Life::Alive { health: Health::Starting, .. } => UnitState::Starting,
            Life::Alive { health: Health::Ready | Health::Shaky, .. } => UnitState::Ready,
            Life::Stopping { then: Then::StartAgain, .. } => UnitState::Starting,
            Life::Stopping { then: Then::Rest, .. } | Life::Stopped => UnitState::Stopped,
            Life::Backoff { .. } => UnitState::Backoff,
            Life::Blocked { .. } => UnitState::Failed,
        }
    }

    fn with(&self, life: Life) -> Self {
        Self { life, ..self.clone() }
    }

    fn begun(&self, process: ProcessId, now: Moment) -> Self {
        Self {
            life: Life::Alive { process, since: now, health: Health::Starting },
            restarts: self.restarts + u64::from(self.has_begun),
            has_begun: true,
            ..self.clone()
        }
    }

    fn died(&self, lived: Duration, exit: String, now: Moment) -> Self {
        let deaths = if lived >= GOOD_LIFE { 1 } else { self.deaths + 1 };
        let unit = Self { deaths, last_exit: Some(exit), ..self.clone() };
        let wait = if unit.is_failing() { LONGEST_BACKOFF } else { backoff(deaths) };
        unit.with(Life::Backoff { until: now + wait })
    }

    fn rested(&self, then: Then, exit: String) -> Self {
        let life = match then {
            Then::StartAgain => Life::Waiting,
            Then::Rest => Life::Stopped,
        };
        Self { life, deaths: 0, last_exit: Some(exit), ..self.clone() }
    }

    fn afresh(&self, life: Life) -> Self {
        Self { life, deaths: 0, was_ready: false, ..self.clone() }
    }

    fn forgiven(&self) -> Self {
        let life = match &self.life {
            Life::Backoff { .. } | Life::Blocked { .. } => Life::Waiting,
            other => other.clone(),
        };
        Self { was_ready: self.is_ready(), ..self.afresh(life) }
    }
}

/// 0.5 s, 1 s, 2 s, … 30 s.
fn backoff(deaths: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << deaths.saturating_sub(1).min(16)).min(LONGEST_BACKOFF)
}

/// What becomes of a unit, and what is to be done. `grace` lies between the polite and the impolite signal.
pub(crate) fn step(unit: &Unit, event: Event, now: Moment, grace: Duration) -> Result<(Unit, Order), Illegal> {
    use Event::{Answered, Began, CouldNotBegin, Ended, Forgive, Renew, Silent, Tick};
    let stay = || (unit.clone(), Order::Nothing);
    let stopping =
        |process: ProcessId, then: Then| Life::Stopping { process, kill_at: now + grace, force: Force::NotYet, then };
    Ok(match (unit.life.clone(), event) {
        (Life::Waiting | Life::Stopped, Tick(Wish::Run)) => (unit.clone(), Order::Start),
        (Life::Backoff { until } | Life::Blocked { until }, Tick(Wish::Run)) => {
            (unit.clone(), if now >= until { Order::Start } else { Order::Nothing })
        }
        (Life::Waiting | Life::Stopped | Life::Backoff { .. } | Life::Blocked { .. }, Tick(Wish::Hold)) => stay(),
        (Life::Waiting | Life::Stopped | Life::Backoff { .. } | Life::Blocked { .. }, Tick(Wish::Halt)) => {
            (unit.with(Life::Stopped), Order::Nothing)
        }
        (Life::Alive { .. }, Tick(Wish::Run | Wish::Hold)) => stay(),
        (Life::Alive { process, .. }, Tick(Wish::Halt)) => (unit.with(stopping(process, Then::Rest)), Order::Terminate),
        (Life::Stopping { process, kill_at, force, then }, Tick(wish)) => {
            let then = match wish {
                Wish::Run => Then::StartAgain,
                Wish::Hold => then,
                Wish::Halt => Then::Rest,
            };
            let is_due = force == Force::NotYet && now >= kill_at;
            let (force, order) = if is_due { (Force::Sent, Order::Kill) } else { (force, Order::Nothing) };
            let kill_at = if is_due { now } else { kill_at };
            (unit.with(Life::Stopping { process, kill_at, force, then }), order)
        }
        (Life::Waiting | Life::Stopped | Life::Backoff { .. } | Life::Blocked { .. }, Began(process)) => {
            (unit.begun(process, now), Order::Nothing)
        }
        (Life::Waiting | Life::Stopped | Life::Backoff { .. } | Life::Blocked { .. }, CouldNotBegin) => {
            (unit.with(Life::Blocked { until: now + BLOCKED_RETRY }), Order::Nothing)
        }
        (Life::Alive { since, .. }, Ended(exit)) => (unit.died(now.saturating_sub(since), exit, now), Order::Nothing),
        (Life::Stopping { then, .. }, Ended(exit)) => (unit.rested(then, exit), Order::Nothing),
        (Life::Alive { process, since, .. }, Answered) => {
            let unit = Unit { was_ready: true, ..unit.clone() };
            (unit.with(Life::Alive { process, since, health: Health::Ready }), Order::Nothing)
        }
        (Life::Alive { process, since, health }, Silent) => {
            let health = match health {
                Health::Ready => Health::Shaky,
                Health::Shaky | Health::Starting => Health::Starting,
            };
            (unit.with(Life::Alive { process, since, health }), Order::Nothing)
        }
        (Life::Alive { process, .. }, Renew) => (unit.afresh(stopping(process, Then::StartAgain)), Order::Terminate),
        (Life::Stopping { process, kill_at, force, .. }, Renew) => {
            (unit.afresh(Life::Stopping { process, kill_at, force, then: Then::StartAgain }), Order::Nothing)
        }
        (Life::Waiting | Life::Stopped | Life::Backoff { .. } | Life::Blocked { .. }, Renew) => {
            (unit.afresh(Life::Waiting), Order::Nothing)
        }
        (_, Forgive) => (unit.forgiven(), Order::Nothing),
        // A probe's answer may come after the unit's end or during its stop: it changes nothing.
        (
            Life::Waiting | Life::Stopped | Life::Backoff { .. } | Life::Blocked { .. } | Life::Stopping { .. },
            Answered | Silent,
        ) => stay(),
        (life @ (Life::Alive { .. } | Life::Stopping { .. }), event @ (Began(_) | CouldNotBegin))
        | (life @ (Life::Waiting | Life::Stopped | Life::Backoff { .. } | Life::Blocked { .. }), event @ Ended(_)) => {
            return Err(Illegal { life, event });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);
    const PROCESS: ProcessId = ProcessId { pid: 7, started: 1 };

    fn at(seconds: f64) -> Moment {
        Duration::from_secs_f64(seconds)
    }

    fn go(unit: &Unit, event: Event, seconds: f64) -> (Unit, Order) {
        step(unit, event, at(seconds), GRACE).unwrap()
    }

    fn alive(seconds: f64) -> Unit {
        let (unit, order) = go(&Unit::new(), Event::Tick(Wish::Run), seconds);
        assert_eq!(order, Order::Start);
        go(&unit, Event::Began(PROCESS), seconds).0
    }

    #[test]
    fn deaths_in_a_row_wait_longer_and_longer_then_fail_and_go_on() {
        let mut unit = alive(0.0);
        let mut now = 0.0;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let (dead, _) = go(&unit, Event::Ended("exit status: 1".to_owned()), now);
            let Life::Backoff { until } = dead.life else { panic!("{dead:?}") };
            waits.push(until.as_secs_f64() - now);
            assert_eq!(go(&dead, Event::Tick(Wish::Run), now).1, Order::Nothing);
            now = until.as_secs_f64();
            assert_eq!(go(&dead, Event::Tick(Wish::Run), now).1, Order::Start);
            unit = go(&dead, Event::Began(PROCESS), now).0;
        }
        assert_eq!(waits, [0.5, 1.0, 2.0, 4.0, 30.0, 30.0, 30.0]);
        assert!(unit.is_failing());
        assert_eq!(unit.restarts, 7);
        let (unit, _) = go(&unit, Event::Answered, now);
        assert!(!unit.is_failing() && unit.is_ready());
    }

    #[test]
    fn a_long_life_forgives_the_deaths_before() {
        let unit = Unit { deaths: 4, ..alive(0.0) };
        assert_eq!(go(&unit, Event::Ended("signal: 9 (SIGKILL)".to_owned()), 59.0).0.deaths, 5);
        let (unit, _) = go(&unit, Event::Ended("signal: 9 (SIGKILL)".to_owned()), 60.0);
        assert_eq!((unit.deaths, unit.life), (1, Life::Backoff { until: at(60.5) }));
    }

    #[test]
    fn one_missed_probe_is_forgiven_two_are_not() {
        let (unit, _) = go(&alive(0.0), Event::Answered, 1.0);
        let (unit, _) = go(&unit, Event::Silent, 2.0);
        assert_eq!(unit.state(), UnitState::Ready);
        let (unit, _) = go(&unit, Event::Silent, 3.0);
        assert_eq!(unit.state(), UnitState::Starting);
    }

    #[test]
    fn stopping_is_polite_first_and_forced_once() {
        let (unit, order) = go(&alive(0.0), Event::Tick(Wish::Halt), 10.0);
        assert_eq!(order, Order::Terminate);
        assert_eq!(go(&unit, Event::Tick(Wish::Halt), 14.9).1, Order::Nothing);
        let (unit, order) = go(&unit, Event::Tick(Wish::Halt), 15.0);
        assert_eq!(order, Order::Kill);
        assert_eq!(go(&unit, Event::Tick(Wish::Halt), 16.0).1, Order::Nothing);
        let (unit, _) = go(&unit, Event::Ended("signal: 9 (SIGKILL)".to_owned()), 16.0);
        assert_eq!(unit.life, Life::Stopped);
        assert_eq!(go(&unit, Event::Tick(Wish::Halt), 17.0), (unit.clone(), Order::Nothing));
        assert_eq!(go(&unit, Event::Tick(Wish::Run), 17.0).1, Order::Start);
    }

    #[test]
    fn renewal_stops_and_starts_again_unless_it_is_to_halt() {
        let (unit, order) = go(&alive(0.0), Event::Renew, 1.0);
        assert_eq!(order, Order::Terminate);
        let (again, _) = go(&unit, Event::Ended("exit status: 0".to_owned()), 2.0);
        assert_eq!((again.life, again.deaths), (Life::Waiting, 0));
        let (unit, _) = go(&unit, Event::Tick(Wish::Halt), 1.5);
        assert_eq!(go(&unit, Event::Ended("exit status: 0".to_owned()), 2.0).0.life, Life::Stopped);
    }

    #[test]
    fn forgiveness_ends_every_pause_and_stops_nothing() {
        let doomed = Unit { deaths: 4, ..alive(0.0) };
        let (dead, _) = go(&doomed, Event::Ended("exit status: 1".to_owned()), 0.0);
        assert!(dead.is_failing());
        let (blocked, _) = go(&Unit::new(), Event::CouldNotBegin, 0.0);
        for paused in [dead, blocked] {
            assert_eq!(go(&paused, Event::Tick(Wish::Run), 0.1).1, Order::Nothing);
            let (unit, order) = go(&paused, Event::Forgive, 0.1);
            assert_eq!((&unit.life, unit.deaths, unit.is_failing(), order), (&Life::Waiting, 0, false, Order::Nothing));
            assert_eq!(go(&unit, Event::Tick(Wish::Run), 0.1).1, Order::Start);
        }
        let (ready, _) = go(&doomed, Event::Answered, 1.0);
        assert_eq!(go(&ready, Event::Forgive, 2.0), (Unit { deaths: 0, ..ready }, Order::Nothing));
        let (stopping, _) = go(&doomed, Event::Tick(Wish::Halt), 1.0);
        assert_eq!(go(&stopping, Event::Forgive, 2.0).0.life, stopping.life);
    }

    #[test]
    fn what_outlives_the_impolite_signal_is_stuck_after_a_while() {
        let (unit, _) = go(&alive(0.0), Event::Tick(Wish::Halt), 0.0);
        assert!(!unit.is_stuck(at(100.0)), "not killed yet");
        let (unit, order) = go(&unit, Event::Tick(Wish::Halt), 60.0);
        assert_eq!(order, Order::Kill);
        assert!(!unit.is_stuck(at(69.9)));
        assert!(unit.is_stuck(at(70.0)));
        let (unit, _) = go(&unit, Event::Ended("signal: 9 (SIGKILL)".to_owned()), 80.0);
        assert!(!unit.is_stuck(at(80.0)), "late is not never");
    }

    #[test]
    fn what_cannot_happen_is_an_error() {
        assert!(step(&alive(0.0), Event::Began(PROCESS), at(1.0), GRACE).is_err());
        assert!(step(&Unit::new(), Event::Ended(String::new()), at(1.0), GRACE).is_err());
    }

    #[test]
    fn a_blocked_unit_is_tried_again_later() {
        let (unit, _) = go(&Unit::new(), Event::CouldNotBegin, 0.0);
        assert_eq!(unit.state(), UnitState::Failed);
        assert_eq!(go(&unit, Event::Tick(Wish::Run), 2.9).1, Order::Nothing);
        assert_eq!(go(&unit, Event::Tick(Wish::Run), 3.0).1, Order::Start);
    }
}
