//! One-time acts: each id is carried out once; what an earlier agent did is known from its last status. What of them stays in force
//! is no business of this: it is read off the host spec.

use std::collections::BTreeMap;

use jiff::Timestamp;
use spec::action::{Act, Action, ActionOutcome, CONTEXT_FLAG, DaemonLimits, MAX_SEQUENCES_FLAG, is_daemon};
use spec::host::{HostSpec, HostStatus, ProcessId, RunState};
use spec::id::UnitName;
use tokio::sync::mpsc::UnboundedSender;

use super::Report;
use super::units::UnitsWork;
use super::watched::Watched;
use crate::decide::{Life, Moment};
use crate::diagnostics;
use crate::site::Site;
use crate::supervisor::Supervisor;

/// The gateway looks at their file each second.
const TAKEN: &str = "the keys are on the host; the gateway takes them within two seconds";

#[derive(Debug, Default)]
pub(crate) struct ActionsWork {
    outcomes: Vec<ActionOutcome>,
    under_way: BTreeMap<String, UnderWay>,
}

/// What is waited for; units with the process that was there before.
#[derive(Debug, Clone)]
enum UnderWay {
    Restart(UnitName, Option<ProcessId>),
    Drain(UnitName, Option<ProcessId>),
    Limit(DaemonLimits),
    Keys,
    Diagnostics,
}

/// What actions need of the rest of the host.
pub(crate) struct ActionsAround<'a> {
    pub site: &'a Site,
    pub spec: &'a HostSpec,
    /// All that the host spec needs out of the bucket, of its own generation.
    pub has_supplies: bool,
    pub client: &'a reqwest::Client,
    pub reports: &'a UnboundedSender<Report>,
}

impl ActionsWork {
    pub fn new(earlier: Option<&HostStatus>) -> Self {
        Self { outcomes: earlier.map(|status| status.outcomes.clone()).unwrap_or_default(), ..Self::default() }
    }

    pub fn outcomes(&self) -> &[ActionOutcome] {
        &self.outcomes
    }

    /// After the units, which see first what is in force.
    pub fn converge<S: Supervisor>(&mut self, around: &ActionsAround<'_>, units: &mut UnitsWork<S>, now: Moment) {
        if around.spec.run == RunState::Stopped {
            return;
        }
        // Whoever takes an action out of the host spec has seen its outcome.
        self.outcomes.retain(|outcome| around.spec.actions.iter().any(|action| action.id == outcome.id));
        for action in &around.spec.actions {
            let is_over = self.outcomes.iter().any(|outcome| outcome.id == action.id);
            if !is_over && !self.under_way.contains_key(&action.id) {
                match begin(around, action, units, now) {
                    Ok(under_way) => {
                        tracing::info!(action = action.id, act = ?action.act, "asked for");
                        self.under_way.insert(action.id.clone(), under_way);
                    }
                    Err(message) => self.close(&action.id, Err(message)),
                }
            }
        }
        self.finish(around, units);
    }

    /// What was collected.
    pub fn take(&mut self, id: &str, answer: Result<String, String>) {
        self.close(id, answer);
    }

    fn finish<S: Supervisor>(&mut self, around: &ActionsAround<'_>, units: &UnitsWork<S>) {
        for (id, under_way) in self.under_way.clone() {
            let result = match &under_way {
                UnderWay::Restart(unit, before) => of_unit(units, unit, |watched| restarted(watched, *before)),
                UnderWay::Drain(unit, before) => of_unit(units, unit, |watched| drained(watched, *before)),
                UnderWay::Limit(limits) => of_unit(units, &limits.unit, |watched| limited(watched, limits)),
                UnderWay::Keys if around.has_supplies => Some(Ok(TAKEN.to_owned())),
                UnderWay::Keys | UnderWay::Diagnostics => None,
            };
            if let Some(result) = result {
                self.close(&id, result);
            }
        }
    }

    fn close(&mut self, id: &str, result: Result<String, String>) {
        self.under_way.remove(id);
        self.outcomes.push(ActionOutcome { id: id.to_owned(), at: Timestamp::now(), result });
    }
}

fn begin<S: Supervisor>(
    around: &ActionsAround<'_>,
    action: &Action,
    units: &mut UnitsWork<S>,
    now: Moment,
) -> Result<UnderWay, String> {
    match &action.act {
        Act::Restart(unit) => Ok(UnderWay::Restart(unit.clone(), units.renew(around.site, unit, now)?)),
        Act::Drain(unit) => {
            let watched = units.of_spec(unit)?;
            Ok(UnderWay::Drain(unit.clone(), watched.unit.process()))
        }
        Act::Limit(limits) => {
            let watched = units.of_spec(&limits.unit)?;
            if !watched.spec.as_ref().is_some_and(is_daemon) {
                return Err(format!("{} has no such limits: it is no daemon", limits.unit));
            }
            Ok(UnderWay::Limit(limits.clone()))
        }
        Act::TakeKeys => Ok(UnderWay::Keys),
        Act::Diagnostics => {
            let (site, spec, client) = (around.site.clone(), around.spec.clone(), around.client.clone());
            let (id, reports) = (action.id.clone(), around.reports.clone());
            tokio::spawn(async move {
                let answer = diagnostics::collect(&site, &spec, &client).await;
                // Nobody takes it when the agent ends: the next one collects anew.
                reports.send(Report::Diagnostics { id, answer }).unwrap_or(());
            });
            Ok(UnderWay::Diagnostics)
        }
    }
}

fn of_unit<S: Supervisor>(
    units: &UnitsWork<S>,
    unit: &UnitName,
    look: impl FnOnce(&Watched) -> Option<Result<String, String>>,
) -> Option<Result<String, String>> {
    match units.get(unit) {
        None => Some(Err(format!("unit {unit} is gone"))),
        Some(watched) => look(watched),
    }
}

fn restarted(watched: &Watched, before: Option<ProcessId>) -> Option<Result<String, String>> {
    match (&watched.unit.life, &watched.obstacle) {
        (Life::Alive { process, .. }, _) if Some(*process) != before => {
            Some(Ok(format!("{}: {}, started pid {}", watched.name, stopped(before), process.pid)))
        }
        (Life::Blocked { .. }, Some(obstacle)) => Some(Err(obstacle.message.clone())),
        _ => None,
    }
}

fn drained(watched: &Watched, before: Option<ProcessId>) -> Option<Result<String, String>> {
    let name = &watched.name;
    match watched.unit.life {
        Life::Stopped => Some(Ok(format!("{name}: {}; it stays down until it is restarted", stopped(before)))),
        // A restart that was asked for after it goes first.
        _ if !watched.is_drained => Some(Err(format!("{name} was to be restarted before it had stopped"))),
        _ => None,
    }
}

fn stopped(before: Option<ProcessId>) -> String {
    before.map_or_else(|| "none ran".to_owned(), |process| format!("stopped pid {}", process.pid))
}

/// With limits that it can't run with it goes back to those before, since what failed is not in force.
fn limited(watched: &Watched, limits: &DaemonLimits) -> Option<Result<String, String>> {
    let name = &watched.name;
    if watched.is_as_wanted() {
        let flags = [(CONTEXT_FLAG, limits.context), (MAX_SEQUENCES_FLAG, limits.max_sequences)];
        let given: Vec<String> =
            flags.iter().filter_map(|(flag, value)| value.map(|value| format!("{flag} {value}"))).collect();
        let with = if given.is_empty() { "the host spec's own limits".to_owned() } else { given.join(" ") };
        return Some(Ok(format!("{name} runs with {with}")));
    }
    match (&watched.unit.life, &watched.obstacle) {
        (Life::Blocked { .. }, Some(obstacle)) => Some(Err(obstacle.message.clone())),
        _ if watched.unit.is_failing() => {
            let exit = watched.unit.last_exit.as_deref().unwrap_or("unknown");
            let last = watched.log_tail.last().map(|line| format!(": {line}")).unwrap_or_default();
            Some(Err(format!("{name} does not run with them, it ended with {exit}{last}; back to those before")))
        }
        _ => None,
    }
}
