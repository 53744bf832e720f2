//! One-time acts: each id is carried out once; what an earlier agent did is known from its last status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use spec::host::{Act, Action, ActionOutcome, HostSpec, HostStatus, ProcessId, RunState};
use spec::id::UnitName;

use super::units::UnitsWork;
use crate::decide::{Life, Moment};
use crate::site::Site;
use crate::supervisor::Supervisor;

#[derive(Debug, Default)]
pub(crate) struct ActionsWork {
    outcomes: Vec<ActionOutcome>,
    /// Restarts under way, with the process that was there before.
    restarting: BTreeMap<String, (UnitName, Option<ProcessId>)>,
}

impl ActionsWork {
    pub fn new(earlier: Option<&HostStatus>) -> Self {
        Self { outcomes: earlier.map(|status| status.outcomes.clone()).unwrap_or_default(), ..Self::default() }
    }

    pub fn outcomes(&self) -> &[ActionOutcome] {
        &self.outcomes
    }

    pub fn converge<S: Supervisor>(&mut self, site: &Site, spec: &HostSpec, units: &mut UnitsWork<S>, now: Moment) {
        if spec.run == RunState::Stopped {
            return;
        }
        // Whoever takes an action out of the host spec has seen its outcome.
        self.outcomes.retain(|outcome| spec.actions.iter().any(|action| action.id == outcome.id));
        for action in &spec.actions {
            let is_over = self.outcomes.iter().any(|outcome| outcome.id == action.id);
            if !is_over && !self.restarting.contains_key(&action.id) {
                self.begin(site, action, units, now);
            }
        }
        self.finish(units);
    }

    fn begin<S: Supervisor>(&mut self, site: &Site, action: &Action, units: &mut UnitsWork<S>, now: Moment) {
        match &action.act {
            Act::Restart(unit) => match units.renew(site, unit, now) {
                Ok(before) => {
                    tracing::info!(action = action.id, %unit, "restart asked for");
                    self.restarting.insert(action.id.clone(), (unit.clone(), before));
                }
                Err(message) => self.close(&action.id, Err(message)),
            },
        }
    }

    fn finish<S: Supervisor>(&mut self, units: &UnitsWork<S>) {
        for (id, (unit, before)) in self.restarting.clone() {
            let result = match units.get(&unit) {
                None => Some(Err(format!("unit {unit} is gone"))),
                Some(watched) => match (&watched.unit.life, &watched.obstacle) {
                    (Life::Alive { process, .. }, _) if Some(*process) != before => {
                        let stopped = before
                            .map_or_else(|| "none ran".to_owned(), |process| format!("stopped pid {}", process.pid));
                        Some(Ok(format!("{unit}: {stopped}, started pid {}", process.pid)))
                    }
                    (Life::Blocked { .. }, Some(obstacle)) => Some(Err(obstacle.message.clone())),
                    _ => None,
                },
            };
            if let Some(result) = result {
                self.restarting.remove(&id);
                self.close(&id, result);
            }
        }
    }

    fn close(&mut self, id: &str, result: Result<String, String>) {
        self.outcomes.push(ActionOutcome { id: id.to_owned(), at: Timestamp::now(), result });
    }
}
