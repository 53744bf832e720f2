//! The host spec's units: carries out what [`crate::decide`] says, and tells it what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spec::host::{HostSpec, HostStatus, Phase, ProcessId, RunState, UnitSpec, UnitStatus, WeightsStatus};
use spec::id::UnitName;
use tokio::sync::mpsc::UnboundedSender;

use super::Report;
use super::phases::PhaseNow;
use super::watched::Watched;
use crate::decide::{Event, Life, Moment, Order, Unit, Wish, step};
use crate::launch::{Missing, resolve};
use crate::logs;
use crate::obstacle::{Obstacle, VerifiedArtifacts, find_obstacle};
use crate::probe::ask_ready;
use crate::site::Site;
use crate::supervisor::{Launch, Signal, Supervisor};

const LOG_TAIL_LINES: usize = 20;
/// For units that the host spec no longer has.
const ORPHAN_GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct UnitsWork<S> {
    supervisor: S,
    watched: BTreeMap<UnitName, Watched>,
    verified: VerifiedArtifacts,
    /// Recorded units of which nobody can tell whether they run, with the reason.
    unknown: BTreeMap<UnitName, String>,
    /// Why the records can't even be listed.
    unlisted: Option<String>,
}

/// What the units need of the rest of the host.
pub(crate) struct Surroundings<'a> {
    pub site: &'a Site,
    pub spec: &'a HostSpec,
    /// That finish what they have and stay down.
    pub drained: &'a BTreeSet<UnitName>,
    pub weights: &'a [WeightsStatus],
    /// Files, and what comes out of the bucket.
    pub inputs_done: bool,
    /// Whether the configuration of what watches the host is there.
    pub is_monitoring_rendered: bool,
    pub client: &'a reqwest::Client,
    pub reports: &'a UnboundedSender<Report>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    UnderWay,
    Done,
}

impl<S: Supervisor> UnitsWork<S> {
    pub fn new(supervisor: S) -> Self {
        Self {
            supervisor,
            watched: BTreeMap::new(),
            verified: VerifiedArtifacts::default(),
            unknown: BTreeMap::new(),
            unlisted: None,
        }
    }

    /// Takes over what an earlier agent started, with the counts that its last status tells.
    pub fn adopt(&mut self, earlier: Option<&HostStatus>, now: Moment) {
        let names = self.supervisor.recorded().unwrap_or_else(|error| {
            tracing::error!(%error, "can't look for units of an earlier agent");
            self.unlisted = Some(error.to_string());
            Vec::new()
        });
        for name in names {
            let known = earlier.and_then(|status| status.units.iter().find(|unit| unit.name == name));
            let mut watched = match self.supervisor.adopt(&name) {
                Ok(Some(adopted)) => {
                    tracing::info!(unit = %name, pid = adopted.process.pid, "adopted");
                    let mut watched = Watched::new(name.clone(), Unit::adopted(adopted.process, now));
                    watched.fingerprint = Some(adopted.fingerprint);
                    watched.started_at = known.and_then(|known| known.started_at);
                    watched
                }
                Ok(None) => {
                    let exit =
                        known.filter(|known| known.process.is_some()).map(|_| "unknown: no agent saw it".to_owned());
                    Watched::new(name.clone(), Unit { has_begun: true, last_exit: exit, ..Unit::new() })
                }
                Err(error) => {
                    tracing::error!(unit = %name, %error, "can't adopt");
                    self.unknown.insert(name.clone(), error.to_string());
                    Watched::new(name.clone(), Unit::new())
                }
            };
            watched.unit.restarts = known.map_or(0, |known| known.restarts);
            let earlier_exit = known.and_then(|known| known.last_exit.clone());
            watched.unit.last_exit = watched.unit.last_exit.or(earlier_exit);
            self.watched.insert(name, watched);
        }
    }

    /// Pauses and counts of failures end: the next start is tried at once.
    pub fn forgive(&mut self, site: &Site, now: Moment) {
        for name in self.watched.keys().cloned().collect::<Vec<_>>() {
            self.feed(site, &name, Event::Forgive, now);
        }
    }

    pub async fn converge(&mut self, around: &Surroundings<'_>, now: Moment) {
        self.take_specs(around.spec);
        for name in self.watched.keys().cloned().collect::<Vec<_>>() {
            if let Some(exit) = self.supervisor.poll(&name) {
                self.note_death(around.site, &name, &exit);
                self.feed(around.site, &name, Event::Ended(exit), now);
                self.forget_if_stopped(&name);
            }
            self.converge_one(around, &name, now).await;
            self.spawn_probe(around, &name, now);
        }
        self.forget_unwanted();
    }

    pub fn take_specs(&mut self, spec: &HostSpec) {
        for watched in self.watched.values_mut() {
            watched.spec = spec.units.iter().find(|unit| unit.name == watched.name).cloned();
        }
        for unit in &spec.units {
            if !self.watched.contains_key(&unit.name) {
                let watched = Watched { spec: Some(unit.clone()), ..Watched::new(unit.name.clone(), Unit::new()) };
                self.watched.insert(unit.name.clone(), watched);
            }
        }
    }

    fn note_death(&mut self, site: &Site, name: &UnitName, exit: &str) {
        tracing::warn!(unit = %name, exit, "ended");
        if let Some(watched) = self.watched.get_mut(name) {
            watched.log_tail = logs::tail(&site.host, name.as_str(), LOG_TAIL_LINES).unwrap_or_default();
        }
    }

    async fn converge_one(&mut self, around: &Surroundings<'_>, name: &UnitName, now: Moment) {
        let Some(watched) = self.watched.get_mut(name) else {
            return;
        };
        let launch = watched.spec.as_ref().map(|unit| resolve(around.site, around.spec, unit, around.weights));
        watched.wanted = launch.as_ref().and_then(|launch| Some(launch.as_ref().ok()?.fingerprint.clone()));
        watched.is_drained = around.drained.contains(name);
        if let Some(Ok(launch)) = &launch {
            let is_other = watched.fingerprint.as_ref().is_some_and(|running| *running != launch.fingerprint);
            if is_other && matches!(watched.unit.life, Life::Alive { .. }) {
                tracing::info!(unit = %name, "its spec changed: restarting");
                self.feed(around.site, name, Event::Renew, now);
            }
        }
        let wish = self.wish(around, name, launch.as_ref(), now);
        if self.feed(around.site, name, Event::Tick(wish), now) == Order::Start
            && let Some(launch) = launch
        {
            self.start(around, name, launch, now).await;
        }
    }

    fn wish(
        &mut self,
        around: &Surroundings<'_>,
        name: &UnitName,
        launch: Option<&Result<Launch, Missing>>,
        now: Moment,
    ) -> Wish {
        let is_gateway = |watched: &Watched| watched.spec.as_ref().is_some_and(|unit| unit.phase == Phase::Gateway);
        let is_going = |watched: &Watched| !watched.is_at_rest() && !watched.unit.is_stuck(now);
        let other_gateway_lives =
            self.watched.values().any(|other| other.name != *name && is_gateway(other) && is_going(other));
        let Some(watched) = self.watched.get_mut(name) else {
            return Wish::Halt;
        };
        match (around.spec.run, launch) {
            // The gateway goes first: no request is sent to a daemon that is on its way out.
            (RunState::Stopped, Some(_)) if !is_gateway(watched) && other_gateway_lives => Wish::Hold,
            (RunState::Stopped, _) | (_, None) => Wish::Halt,
            (RunState::Running, Some(_)) if watched.is_drained => Wish::Halt,
            (RunState::Running, Some(Err(Missing::Weights(weights)))) => {
                watched.holds_for = format!("waits for weights {weights}");
                Wish::Hold
            }
            (RunState::Running, Some(_)) if !around.inputs_done => {
                "waits for files and programs".clone_into(&mut watched.holds_for);
                Wish::Hold
            }
            (RunState::Running, Some(_)) if watched.is_watcher() && !around.is_monitoring_rendered => {
                "waits for its configuration".clone_into(&mut watched.holds_for);
                Wish::Hold
            }
            (RunState::Running, Some(_)) => Wish::Run,
        }
    }

    /// Tells the state machine, does what it orders except a start, and hands the order back.
    fn feed(&mut self, site: &Site, name: &UnitName, event: Event, now: Moment) -> Order {
        let Some(watched) = self.watched.get_mut(name) else {
            return Order::Nothing;
        };
        let grace = watched.spec.as_ref().map_or(ORPHAN_GRACE, |unit| unit.stop_grace.0);
        let (unit, order) = match step(&watched.unit, event, now, grace) {
            Ok(stepped) => stepped,
            Err(error) => {
                tracing::error!(unit = %name, host = %site.name, %error, "kept as it is");
                return Order::Nothing;
            }
        };
        if let Life::Backoff { until } = unit.life
            && watched.unit.life != unit.life
        {
            let wait = SignedDuration::try_from(until.saturating_sub(now)).unwrap_or(SignedDuration::ZERO);
            watched.next_start_at = Timestamp::now().checked_add(wait).ok();
        }
        watched.unit = unit;
        let signal = match order {
            Order::Terminate => Signal::Terminate,
            Order::Kill => Signal::Kill,
            Order::Nothing | Order::Start => return order,
        };
        tracing::info!(unit = %name, ?signal, "stopping");
        if let Err(error) = self.supervisor.signal(name, signal) {
            tracing::error!(unit = %name, %error, "can't signal");
        }
        order
    }

    async fn start(
        &mut self,
        around: &Surroundings<'_>,
        name: &UnitName,
        launch: Result<Launch, Missing>,
        now: Moment,
    ) {
        let Some(unit) = self.watched.get(name).and_then(|watched| watched.spec.clone()) else {
            return;
        };
        let started = match launch {
            Ok(launch) => self.try_start(around.site, &unit, &launch).await.map(|process| (process, launch)),
            Err(Missing::Input(message)) => Err(Obstacle::new(message, "dsctl up")),
            Err(Missing::Weights(weights)) => Err(Obstacle::new(format!("weights {weights} are missing"), "dsctl up")),
        };
        let Some(watched) = self.watched.get_mut(name) else {
            return;
        };
        let event = match started {
            Ok((process, launch)) => {
                tracing::info!(unit = %name, pid = process.pid, "started");
                // The record is the new process's by now.
                self.unknown.remove(name);
                watched.fingerprint = Some(launch.fingerprint);
                watched.obstacle = None;
                watched.started_at = Some(Timestamp::now());
                "asked for the first time".clone_into(&mut watched.probe.silence);
                Event::Began(process)
            }
            Err(obstacle) => {
                tracing::error!(unit = %name, obstacle = obstacle.message, "can't start");
                watched.obstacle = Some(obstacle);
                Event::CouldNotBegin
            }
        };
        self.feed(around.site, name, event, now);
    }

    async fn try_start(&mut self, site: &Site, unit: &UnitSpec, launch: &Launch) -> Result<ProcessId, Obstacle> {
        if let Some(obstacle) = find_obstacle(site, unit, &mut self.verified).await {
            return Err(obstacle);
        }
        self.supervisor.start(&unit.name, launch).map_err(|error| Obstacle::new(error.to_string(), "dsctl up"))
    }

    fn spawn_probe(&mut self, around: &Surroundings<'_>, name: &UnitName, now: Moment) {
        let Some(watched) = self.watched.get_mut(name) else {
            return;
        };
        let Some((url, process)) =
            watched.spec.as_ref().map(|unit| unit.ready_url.clone()).zip(watched.take_due_probe(now))
        else {
            return;
        };
        let (client, reports, unit) = (around.client.clone(), around.reports.clone(), name.clone());
        tokio::spawn(async move {
            let answer = ask_ready(&client, &url).await;
            // Nobody takes it when the agent ends.
            reports.send(Report::Ready { unit, process, answer }).unwrap_or(());
        });
    }

    pub fn take_answer(
        &mut self,
        site: &Site,
        name: &UnitName,
        (process, answer): (ProcessId, Result<(), String>),
        now: Moment,
    ) {
        let Some(watched) = self.watched.get_mut(name) else {
            return;
        };
        if watched.probe.asked == Some(process) {
            watched.probe.asked = None;
        }
        if watched.unit.process() != Some(process) {
            return;
        }
        let event = match answer {
            Ok(()) => Event::Answered,
            Err(reason) => {
                watched.probe.silence = reason;
                Event::Silent
            }
        };
        self.feed(site, name, event, now);
    }

    /// Asked for by an action. Returns the process that was there, or why there is no such unit.
    pub fn renew(&mut self, site: &Site, name: &UnitName, now: Moment) -> Result<Option<ProcessId>, String> {
        let before = self.of_spec(name)?.unit.process();
        self.feed(site, name, Event::Renew, now);
        Ok(before)
    }

    /// One that the host spec has, or why there is none.
    pub fn of_spec(&self, name: &UnitName) -> Result<&Watched, String> {
        self.watched.get(name).filter(|watched| watched.spec.is_some()).ok_or_else(|| {
            let known: Vec<String> = self.watched.keys().map(ToString::to_string).collect();
            format!("there is no unit {name}; there are {}", known.join(", "))
        })
    }

    pub fn get(&self, name: &UnitName) -> Option<&Watched> {
        self.watched.get(name)
    }

    pub fn ready_process(&self, name: &UnitName) -> Option<ProcessId> {
        self.watched.get(name)?.ready_process()
    }

    pub fn are_all_ready(&self) -> bool {
        self.watched.values().filter(|watched| !watched.is_watcher()).all(|watched| watched.unit.is_ready())
    }

    /// Whether everything is stopped that was to be; an error, with what can't be, once there is no more to wait for.
    pub fn look_at_stop(&mut self, now: Moment) -> Result<Stop, String> {
        if self.watched.values().any(|watched| !watched.is_at_rest() && !watched.unit.is_stuck(now)) {
            return Ok(Stop::UnderWay);
        }
        if self.adopt_unknown(now) {
            return Ok(Stop::UnderWay);
        }
        let stuck = self.watched.values().filter_map(|watched| Some((&watched.name, watched.unit.process()?)));
        let stuck = stuck.map(|(name, process)| format!("{name} (pid {}) outlives SIGKILL", process.pid));
        let unknown = self.unknown.iter().map(|(name, reason)| format!("{name}: {reason}"));
        let left: Vec<String> = stuck.chain(unknown).chain(self.unlisted.clone()).collect();
        if left.is_empty() { Ok(Stop::Done) } else { Err(left.join("; ")) }
    }

    /// One more try; tells whether there is now something that is to be stopped.
    fn adopt_unknown(&mut self, now: Moment) -> bool {
        let mut has_found = false;
        for name in self.unknown.keys().cloned().collect::<Vec<_>>() {
            match self.supervisor.adopt(&name) {
                Ok(adopted) => {
                    self.unknown.remove(&name);
                    if let Some(adopted) = adopted {
                        let watched = Watched::new(name.clone(), Unit::adopted(adopted.process, now));
                        self.watched.insert(name, watched);
                        has_found = true;
                    }
                }
                Err(error) => {
                    self.unknown.insert(name, error.to_string());
                }
            }
        }
        has_found
    }

    pub fn statuses(&self) -> Vec<UnitStatus> {
        self.watched.values().map(Watched::status).collect()
    }

    pub fn phases(&self, now: Moment) -> Vec<PhaseNow> {
        self.watched.values().filter_map(|watched| watched.phase(self.unknown.get(&watched.name), now)).collect()
    }

    /// Its next start, by whichever agent, is a first one.
    fn forget_if_stopped(&mut self, name: &UnitName) {
        if self.watched.get(name).is_some_and(|watched| watched.unit.life == Life::Stopped) {
            self.forget(name);
        }
    }

    fn forget(&mut self, name: &UnitName) {
        if let Err(error) = self.supervisor.forget(name) {
            tracing::error!(unit = %name, %error, "can't forget");
        }
    }

    /// Units that are at rest and asked for by nobody.
    fn forget_unwanted(&mut self) {
        let is_known = |name: &UnitName| !self.unknown.contains_key(name);
        let gone = |watched: &&Watched| watched.spec.is_none() && watched.is_at_rest() && is_known(&watched.name);
        for name in self.watched.values().filter(gone).map(|watched| watched.name.clone()).collect::<Vec<_>>() {
            self.forget(&name);
            self.watched.remove(&name);
        }
    }
}
