//! One unit under watch: what it should be, what it is, and how it is asked whether it is ready.

use std::time::Duration;

use jiff::Timestamp;
use spec::host::{Phase, PhaseState, ProcessId, UnitSpec, UnitState, UnitStatus};
use spec::id::UnitName;

use super::phases::PhaseNow;
use crate::decide::{Health, Life, Moment, Then, Unit};
use crate::obstacle::Obstacle;

const PROBE_STARTING_EVERY: Duration = Duration::from_millis(250);
const PROBE_READY_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Watched {
    pub name: UnitName,
    /// None when the host spec no longer has it: it is stopped and forgotten.
    pub spec: Option<UnitSpec>,
    pub unit: Unit,
    /// Of what runs.
    pub fingerprint: Option<String>,
    /// Of what should run; none while that is not known.
    pub wanted: Option<String>,
    /// Stays down until it is restarted.
    pub is_drained: bool,
    pub obstacle: Option<Obstacle>,
    /// What it waits for before its first start.
    pub holds_for: String,
    /// Of the log, at its last death.
    pub log_tail: Vec<String>,
    pub probe: Probe,
    pub started_at: Option<Timestamp>,
    pub next_start_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// Asked and not answered yet.
    pub asked: Option<ProcessId>,
    pub due: Moment,
    pub silence: String,
}

impl Watched {
    pub fn new(name: UnitName, unit: Unit) -> Self {
        Self {
            name,
            spec: None,
            unit,
            fingerprint: None,
            wanted: None,
            is_drained: false,
            obstacle: None,
            holds_for: String::new(),
            log_tail: Vec::new(),
            probe: Probe::default(),
            started_at: None,
            next_start_at: None,
        }
    }

    /// The process, while it is ready.
    pub fn ready_process(&self) -> Option<ProcessId> {
        self.unit.process().filter(|_| self.unit.is_ready())
    }

    /// Whether it is ready, and is what it should be.
    pub fn is_as_wanted(&self) -> bool {
        self.ready_process().is_some() && self.wanted.is_some() && self.fingerprint == self.wanted
    }

    /// Whether it watches the host: the host serves without it.
    pub fn is_watcher(&self) -> bool {
        self.spec.as_ref().is_some_and(|unit| unit.phase == Phase::Monitoring)
    }

    pub fn is_at_rest(&self) -> bool {
        self.unit.process().is_none()
    }

    /// The process to ask now; the next question is due a while later.
    pub fn take_due_probe(&mut self, now: Moment) -> Option<ProcessId> {
        let Life::Alive { process, health, .. } = self.unit.life else {
            return None;
        };
        if now < self.probe.due || self.probe.asked == Some(process) {
            return None;
        }
        let every = match health {
            Health::Starting => PROBE_STARTING_EVERY,
            Health::Ready | Health::Shaky => PROBE_READY_EVERY,
        };
        self.probe.due = now + every;
        self.probe.asked = Some(process);
        Some(process)
    }

    pub fn status(&self) -> UnitStatus {
        UnitStatus {
            name: self.name.clone(),
            state: if self.is_drained && self.unit.life == Life::Stopped {
                UnitState::Drained
            } else {
                self.unit.state()
            },
            process: self.unit.process(),
            started_at: self.started_at.filter(|_| self.unit.process().is_some()),
            restarts: self.unit.restarts,
            last_exit: self.unit.last_exit.clone(),
            next_start_at: self.next_start_at.filter(|_| matches!(self.unit.life, Life::Backoff { .. })),
        }
    }

    /// `unknown` tells why nobody knows whether it runs.
    pub fn phase(&self, unknown: Option<&String>, now: Moment) -> Option<PhaseNow> {
        let phase = self.spec.as_ref()?.phase;
        let name = &self.name;
        if let (Life::Stopped, Some(reason)) = (&self.unit.life, unknown) {
            let message = format!("{name} may still run: {reason}");
            return Some(PhaseNow::failed(phase, message, Vec::new(), "end it by hand, then: dsctl down"));
        }
        if let (true, Some(process)) = (self.unit.is_stuck(now), self.unit.process()) {
            let message = format!("{name} (pid {}) outlives SIGKILL", process.pid);
            return Some(PhaseNow::failed(phase, message, Vec::new(), "end it by hand, then: dsctl down"));
        }
        let exit = self.unit.last_exit.as_deref().unwrap_or("unknown");
        if let (Life::Blocked { .. }, Some(obstacle)) = (&self.unit.life, &self.obstacle) {
            return Some(PhaseNow::failed(phase, obstacle.message.clone(), Vec::new(), obstacle.next.clone()));
        }
        if self.unit.is_failing() {
            let message = format!("{name} ended {} times before it was ready, last with {exit}", self.unit.deaths);
            return Some(PhaseNow::failed(phase, message, self.log_tail.clone(), format!("dsctl logs {name}")));
        }
        let (state, detail) = match &self.unit.life {
            Life::Waiting | Life::Blocked { .. } => (PhaseState::Waiting, self.holds_for.clone()),
            Life::Stopped if self.is_drained => {
                (PhaseState::Waiting, format!("{name} is drained; dsctl host restart {name} starts it again"))
            }
            Life::Stopped => (PhaseState::Waiting, format!("{name} is stopped")),
            Life::Stopping { .. } if self.is_drained => (PhaseState::Running, format!("{name} finishes what it has")),
            Life::Alive { process, health: Health::Starting, .. } => {
                (PhaseState::Running, format!("{name} (pid {}) is not ready: {}", process.pid, self.probe.silence))
            }
            Life::Alive { process, health: Health::Ready | Health::Shaky, .. } => {
                (PhaseState::Done, format!("{name} (pid {}) is ready", process.pid))
            }
            Life::Stopping { then: Then::StartAgain, .. } => (PhaseState::Running, format!("{name} restarts")),
            Life::Stopping { then: Then::Rest, .. } => (PhaseState::Running, format!("{name} stops")),
            Life::Backoff { .. } => (PhaseState::Running, format!("{name} ended with {exit}; it is started again")),
        };
        Some(PhaseNow::new(phase, state, detail))
    }
}
