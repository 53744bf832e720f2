//! What is really there, for `dsctl status`: nothing is believed that can be looked at. The agent's lock, the units'
//! processes and their answers are asked now; status.json only adds what can't be seen from outside.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use spec::host::{HostSpec, HostStatus, Phase, PhaseLine, PhaseState, ProcessId, RunState, UnitSpec, UnitState};
use spec::id::{DeploymentName, HostName, UnitName};
use spec::layout::HomeLayout;

use crate::probe::{ask_ready_within, client};
use crate::process::is_alive;
use crate::site::Site;
use crate::status;
use crate::supervisor::{find_living, read_record};

const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// A host as it is at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Observed {
    pub deployment: DeploymentName,
    pub host: HostName,
    pub summary: Summary,
    pub agent: AgentLife,
    /// What was asked for last.
    pub generation: Option<u64>,
    pub run: Option<RunState>,
    pub units: Vec<ObservedUnit>,
    /// What the agent wrote last; of the past if the agent is dead.
    pub status: Option<HostStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentLife {
    Alive,
    Dead,
    NeverStarted,
}

/// A host in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Summary {
    /// There is no host spec.
    Absent,
    /// On its way up, nothing wrong so far.
    Starting,
    /// Every unit answers, and a real token was generated.
    Ready,
    /// Something that ran does not: the agent is at work on it, or a part still serves.
    Degraded,
    /// Every unit answers, but no agent would repair it.
    Unattended,
    /// A phase failed; it says why and what to do.
    Failed,
    /// Should run and does not, and no agent is there to change that.
    Down,
    Stopping,
    Stopped,
}

impl Summary {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Unattended => "unattended",
            Self::Failed => "failed",
            Self::Down => "down",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservedUnit {
    pub name: UnitName,
    /// None for a unit that the host spec no longer has.
    pub phase: Option<Phase>,
    pub state: ObservedState,
    /// The process, if it is alive.
    pub process: Option<ProcessId>,
    /// Why it does not answer, if it does not.
    pub silence: Option<String>,
    pub restarts: u64,
    pub last_exit: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservedState {
    /// Alive, and answers that it can do its work.
    Ready,
    /// Alive, no such answer.
    NotReady,
    /// Started once, not alive.
    Dead,
    NeverStarted,
    /// Down on purpose, until it is restarted.
    Drained,
}

impl ObservedState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Dead => "dead",
            Self::NeverStarted => "never started",
            Self::Drained => "drained",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{what}: not a host spec: {source}; next: dsctl up")]
    Desired { what: String, source: serde_json::Error },
    #[error("making an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Looks at a host; takes about half a second at most.
pub async fn observe(
    home: &HomeLayout,
    deployment: &DeploymentName,
    host: &HostName,
) -> Result<Observed, ObserveError> {
    let site = Site::new(home, deployment, host);
    let desired = read_desired(&site.desired())?;
    let agent = agent_life(&site.host.agent_lock())?;
    let status = status::read(&site.status());
    let client = client(status.as_ref().and_then(|status| status.certificate_authority.as_deref()))?;
    let names = unit_names(desired.as_ref(), status.as_ref());
    let units = join_all(names.iter().map(|name| {
        let unit = desired.as_ref().and_then(|desired| desired.units.iter().find(|unit| unit.name == *name));
        observe_unit(&site, &client, name, (unit, status.as_ref()))
    }))
    .await;
    let summary = summarize(desired.as_ref(), agent, status.as_ref(), &units);
    Ok(Observed {
        deployment: deployment.clone(),
        host: host.clone(),
        summary,
        agent,
        generation: desired.as_ref().map(|desired| desired.generation),
        run: desired.as_ref().map(|desired| desired.run),
        units,
        status,
    })
}

fn read_desired(path: &Path) -> Result<Option<HostSpec>, ObserveError> {
    let what = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|source| ObserveError::Desired { what, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ObserveError::Io { what, source }),
    }
}

/// A living agent holds its lock; the lock of a dead one can be had.
fn agent_life(lock: &Path) -> Result<AgentLife, ObserveError> {
    let failed = |source| ObserveError::Io { what: lock.display().to_string(), source };
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(AgentLife::NeverStarted),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(AgentLife::Dead),
        Err(TryLockError::WouldBlock) => Ok(AgentLife::Alive),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn unit_names(desired: Option<&HostSpec>, status: Option<&HostStatus>) -> Vec<UnitName> {
    let mut names: Vec<UnitName> =
        desired.iter().flat_map(|desired| &desired.units).map(|unit| unit.name.clone()).collect();
    for unit in status.iter().flat_map(|status| &status.units) {
        if !names.contains(&unit.name) {
            names.push(unit.name.clone());
        }
    }
    names
}

async fn observe_unit(
    site: &Site,
    client: &reqwest::Client,
    name: &UnitName,
    (unit, status): (Option<&UnitSpec>, Option<&HostStatus>),
) -> ObservedUnit {
    let told = status.and_then(|status| status.units.iter().find(|told| told.name == *name));
    // The record is written at the very start; the status a moment later.
    let record = read_record(&site.host, name).ok().flatten();
    let told_process = told.and_then(|told| told.process);
    let known = record.as_ref().and_then(|record| record.process).or(told_process);
    let process = match &record {
        Some(record) => find_living(record),
        None => told_process.filter(is_alive),
    };
    let silence = match (process, unit) {
        (Some(_), Some(unit)) => ask_ready_within(client, &unit.ready_url, ANSWER_WITHIN).await.err(),
        (Some(_), None) => Some("the host spec no longer has it".to_owned()),
        (None, _) => Some("no process".to_owned()),
    };
    let is_drained = told.is_some_and(|told| told.state == UnitState::Drained);
    let state = match (&process, &silence) {
        (None, _) if is_drained => ObservedState::Drained,
        (Some(_), None) => ObservedState::Ready,
        (Some(_), Some(_)) => ObservedState::NotReady,
        (None, _) if known.is_some() || told.is_some_and(|told| told.last_exit.is_some()) => ObservedState::Dead,
        (None, _) => ObservedState::NeverStarted,
    };
    ObservedUnit {
        name: name.clone(),
        phase: unit.map(|unit| unit.phase),
        state,
        process,
        silence,
        restarts: told.map_or(0, |told| told.restarts),
        last_exit: told.and_then(|told| told.last_exit.clone()),
    }
}

/// Pure: one word for what was seen.
fn summarize(
    desired: Option<&HostSpec>,
    agent: AgentLife,
    status: Option<&HostStatus>,
    units: &[ObservedUnit],
) -> Summary {
    let Some(desired) = desired else {
        return Summary::Absent;
    };
    // A host serves without what watches it.
    let serving = || units.iter().filter(|unit| unit.phase != Some(Phase::Monitoring));
    let some_alive = serving().any(|unit| unit.process.is_some());
    let all_ready = serving().all(|unit| unit.state == ObservedState::Ready);
    match (desired.run, agent) {
        (RunState::Stopped, AgentLife::Alive) => Summary::Stopping,
        (RunState::Stopped, AgentLife::Dead | AgentLife::NeverStarted) if some_alive => Summary::Unattended,
        (RunState::Stopped, AgentLife::Dead | AgentLife::NeverStarted) => Summary::Stopped,
        (RunState::Running, AgentLife::Dead | AgentLife::NeverStarted) => match (some_alive, all_ready) {
            (true, true) => Summary::Unattended,
            (true, false) => Summary::Degraded,
            (false, _) => Summary::Down,
        },
        (RunState::Running, AgentLife::Alive) => {
            let current = status.filter(|status| status.generation == desired.generation);
            attended(current, all_ready, units)
        }
    }
}

/// Of what serves.
fn is_failure(line: &PhaseLine) -> bool {
    line.state == PhaseState::Failed && line.phase != Phase::Monitoring
}

fn attended(current: Option<&HostStatus>, all_ready: bool, units: &[ObservedUnit]) -> Summary {
    let is_failed = current.is_some_and(|status| status.phases.iter().any(is_failure));
    let is_ready = current.is_some_and(|status| status.ready_since.is_some());
    // It was ready a moment ago by the agent's own word, or has ended before: this is not a first start.
    let told_ready = |name: &UnitName| {
        current
            .is_some_and(|status| status.units.iter().any(|told| told.name == *name && told.state == UnitState::Ready))
    };
    let has_fallen = |unit: &ObservedUnit| {
        unit.phase != Some(Phase::Monitoring)
            && unit.state != ObservedState::Ready
            && (unit.last_exit.is_some() || unit.restarts > 0 || told_ready(&unit.name))
    };
    if is_failed {
        Summary::Failed
    } else if is_ready && all_ready {
        Summary::Ready
    } else if units.iter().any(has_fallen) {
        Summary::Degraded
    } else {
        Summary::Starting
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use spec::host::{AgentStatus, UnitStatus};

    use super::*;

    fn desired(run: RunState) -> HostSpec {
        HostSpec {
            deployment: "demo".parse().unwrap(),
            host: "local".parse().unwrap(),
            generation: 2,
            run,
            weights: Vec::new(),
            files: Vec::new(),
            units: Vec::new(),
            first_token: Vec::new(),
            monitoring: None,
            agent: None,
            gpus: None,
            actions: Vec::new(),
        }
    }

    fn unit(state: ObservedState, last_exit: Option<&str>) -> ObservedUnit {
        let is_alive = matches!(state, ObservedState::Ready | ObservedState::NotReady);
        ObservedUnit {
            name: "daemon".parse().unwrap(),
            phase: Some(Phase::Daemon),
            state,
            process: is_alive.then_some(ProcessId { pid: 1, started: 1 }),
            silence: None,
            restarts: 0,
            last_exit: last_exit.map(str::to_owned),
        }
    }

    fn told(generation: u64, phase: PhaseState, is_ready: bool) -> HostStatus {
        let line = PhaseLine {
            phase: Phase::Daemon,
            state: phase,
            detail: String::new(),
            progress: None,
            started_at: None,
            ended_at: None,
            failure: None,
        };
        let state = if is_ready { UnitState::Ready } else { UnitState::Starting };
        HostStatus {
            deployment: "demo".parse().unwrap(),
            host: "local".parse().unwrap(),
            generation,
            written_at: Timestamp::UNIX_EPOCH,
            agent: AgentStatus { pid: 1, version: String::new(), started_at: Timestamp::UNIX_EPOCH },
            phases: vec![line],
            weights: Vec::new(),
            units: vec![UnitStatus {
                name: "daemon".parse().unwrap(),
                state,
                process: None,
                started_at: None,
                restarts: 0,
                last_exit: None,
                next_start_at: None,
            }],
            ready_since: is_ready.then_some(Timestamp::UNIX_EPOCH),
            outcomes: Vec::new(),
            certificate_authority: None,
        }
    }

    #[test]
    fn one_word_for_what_was_seen() {
        use ObservedState::{Dead, NeverStarted, NotReady, Ready};
        use RunState::{Running, Stopped};
        let ready = told(2, PhaseState::Done, true);
        let starting = told(2, PhaseState::Running, false);
        let failed = told(2, PhaseState::Failed, false);
        let old = told(1, PhaseState::Done, true);
        let cases = [
            (Running, AgentLife::Alive, &ready, unit(Ready, None), Summary::Ready),
            (Running, AgentLife::Alive, &ready, unit(Dead, None), Summary::Degraded),
            (Running, AgentLife::Alive, &ready, unit(NotReady, None), Summary::Degraded),
            (Running, AgentLife::Alive, &old, unit(Ready, None), Summary::Starting),
            (Running, AgentLife::Alive, &starting, unit(NotReady, None), Summary::Starting),
            (Running, AgentLife::Alive, &starting, unit(Dead, Some("exit status: 1")), Summary::Degraded),
            (Running, AgentLife::Alive, &failed, unit(Dead, Some("exit status: 1")), Summary::Failed),
            (Running, AgentLife::Dead, &ready, unit(Ready, None), Summary::Unattended),
            (Running, AgentLife::Dead, &ready, unit(NotReady, None), Summary::Degraded),
            (Running, AgentLife::Dead, &ready, unit(Dead, None), Summary::Down),
            (Running, AgentLife::NeverStarted, &starting, unit(NeverStarted, None), Summary::Down),
            (Stopped, AgentLife::Alive, &ready, unit(Ready, None), Summary::Stopping),
            (Stopped, AgentLife::Dead, &ready, unit(Ready, None), Summary::Unattended),
            (Stopped, AgentLife::Dead, &ready, unit(Dead, None), Summary::Stopped),
        ];
        for (number, (run, agent, status, unit, expected)) in cases.into_iter().enumerate() {
            assert_eq!(summarize(Some(&desired(run)), agent, Some(status), &[unit]), expected, "case {number}");
        }
        assert_eq!(summarize(None, AgentLife::NeverStarted, None, &[]), Summary::Absent);
    }
}
