//! The agent's tick: files, weights, units, first token, actions, and one status that tells of them all.
//!
//! Nothing here waits: fetches and probes run as tasks and come back as [`Report`]s. A unit starts as soon as the files
//! and its own weights are there, so that a busy port shows before a long download, not after it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use spec::action::Standing;
use spec::host::{AgentStatus, HostSpec, HostStatus, Phase, PhaseState, ProcessId, RunState};
use spec::id::UnitName;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::bucket::Supplies;
use crate::decide::Moment;
use crate::desired::DesiredFile;
use crate::driver::{DriverWork, Seen};
use crate::logs;
use crate::monitoring::{LocalMonitoring, MonitoringWork, Page};
use crate::narrate::Narrator;
use crate::probe;
use crate::rotate;
use crate::site::Site;
use crate::status::{self, StatusWriter};
use crate::supervisor::Supervisor;
use crate::weights::FetchSettings;

mod actions;
mod certificate;
mod fallback;
mod files;
mod phases;
#[cfg(test)]
mod tests;
mod tokens;
mod units;
mod watched;
mod weights;

use actions::{ActionsAround, ActionsWork};
use certificate::CertificateWork;
use fallback::{Fallback, fate_of};
use files::FilesWork;
use phases::Board;
pub(crate) use phases::PhaseNow;
use tokens::TokensWork;
use units::{Stop, Surroundings, UnitsWork};
use weights::{WeightsEvent, WeightsWork};

const ROTATE_EVERY: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 20;

/// What a task found out.
#[derive(Debug)]
pub(crate) enum Report {
    Weights { run: u64, event: WeightsEvent },
    Ready { unit: UnitName, process: ProcessId, answer: Result<(), String> },
    Token { unit: UnitName, asked: (u64, ProcessId), answer: Result<(), String> },
    PublicAddress(Option<IpAddr>),
    Monitoring(Result<String, String>),
    Driver(Seen),
    Diagnostics { id: String, answer: Result<String, String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    TickAgain,
    /// Everything is stopped, as asked.
    End,
    /// Not everything can be stopped, and there is no more to wait for.
    GiveUp {
        left: String,
    },
}

#[derive(Debug)]
pub(crate) struct Converger<S> {
    site: Site,
    epoch: Instant,
    agent: AgentStatus,
    client: reqwest::Client,
    desired: DesiredFile,
    supplies: Supplies,
    /// As it is asked for; what is in force may be the one before it.
    spec: Option<Arc<HostSpec>>,
    fallback: Fallback,
    invalid: Option<String>,
    files: FilesWork,
    certificate: CertificateWork,
    weights: WeightsWork,
    units: UnitsWork<S>,
    tokens: TokensWork,
    actions: ActionsWork,
    board: Board,
    ready_since: Option<(u64, Timestamp)>,
    rotate_at: Moment,
    writer: StatusWriter,
    narrator: Narrator,
    monitoring: MonitoringWork,
    /// In its place where the host is its owner's own machine.
    local_monitoring: LocalMonitoring,
    driver: DriverWork,
    page: Page,
    sender: UnboundedSender<Report>,
    reports: UnboundedReceiver<Report>,
}

impl<S: Supervisor> Converger<S> {
    pub fn new(site: Site, supervisor: S, supplies: Supplies, settings: FetchSettings) -> Result<Self, reqwest::Error> {
        let earlier = status::read(&site.status());
        let mut units = UnitsWork::new(supervisor);
        units.adopt(earlier.as_ref(), Moment::ZERO);
        let (sender, reports) = unbounded_channel();
        Ok(Self {
            epoch: Instant::now(),
            agent: AgentStatus {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at: Timestamp::now(),
            },
            client: probe::client(None)?,
            desired: DesiredFile::new(site.desired()),
            fallback: match &supplies {
                Supplies::Mirrored(_) => Fallback::read(site.host.served()),
                Supplies::OnDisk => Fallback::default(),
            },
            supplies,
            spec: None,
            invalid: None,
            files: FilesWork::default(),
            certificate: CertificateWork::default(),
            weights: WeightsWork::new(settings),
            units,
            tokens: TokensWork::default(),
            actions: ActionsWork::new(earlier.as_ref()),
            board: Board::default(),
            ready_since: None,
            rotate_at: Moment::ZERO,
            writer: StatusWriter::new(site.status()),
            narrator: Narrator::default(),
            monitoring: MonitoringWork::default(),
            local_monitoring: LocalMonitoring::default(),
            driver: DriverWork::default(),
            page: Page::default(),
            sender,
            reports,
            site,
        })
    }

    /// Says at once that this agent is the one, before anything that takes its time: nobody shall take what the agent
    /// before it wrote for the present.
    pub fn announce(&mut self) {
        self.take_desired(Moment::ZERO);
        let Some(desired) = self.spec.clone() else {
            return self.report_invalid(Moment::ZERO);
        };
        let spec = self.fallback.in_force(&desired);
        self.units.take_specs(&spec);
        let mut phases = vec![Phase::Files];
        phases.extend(spec.weights.first().map(|_| Phase::Weights));
        phases.extend(spec.units.iter().map(|unit| unit.phase));
        phases.extend(spec.first_token.first().map(|_| Phase::FirstToken));
        let waiting = |phase| PhaseNow::new(phase, PhaseState::Waiting, "the agent has just begun");
        let at = Timestamp::now();
        self.board.update(spec.generation, phases.into_iter().map(waiting).collect(), at);
        let status = self.status(spec.generation, at);
        self.writer.offer(status, Moment::ZERO);
    }

    pub async fn tick(&mut self) -> Next {
        self.tick_at(self.epoch.elapsed()).await
    }

    async fn tick_at(&mut self, now: Moment) -> Next {
        self.take_desired(now);
        while let Ok(report) = self.reports.try_recv() {
            self.take(report, now);
        }
        let Some(desired) = self.spec.clone() else {
            self.report_invalid(now);
            return Next::TickAgain;
        };
        let spec = self.fallback.in_force(&desired);
        let standing = Standing::of(&spec.actions, self.actions.outcomes());
        let spec = Arc::new(standing.apply(&spec));
        self.converge(&spec, &standing, now).await;
        if now >= self.rotate_at {
            self.rotate_logs();
            self.rotate_at = now + ROTATE_EVERY;
        }
        self.report(&spec, &desired, now);
        match spec.run {
            RunState::Stopped => self.next_of_stop(now),
            RunState::Running => Next::TickAgain,
        }
    }

    fn next_of_stop(&mut self, now: Moment) -> Next {
        match self.units.look_at_stop(now) {
            Ok(Stop::UnderWay) => Next::TickAgain,
            Ok(Stop::Done) => Next::End,
            Err(left) => Next::GiveUp { left },
        }
    }

    /// As if the host spec had asked for it: for a host whose folder is gone.
    pub async fn halt(&mut self) -> Next {
        let Some(spec) = &self.spec else {
            return Next::End;
        };
        let spec = HostSpec { run: RunState::Stopped, ..(**spec).clone() };
        let now = self.epoch.elapsed();
        self.converge(&spec, &Standing::default(), now).await;
        self.next_of_stop(now)
    }

    async fn converge(&mut self, spec: &HostSpec, standing: &Standing, now: Moment) {
        if spec.run == RunState::Running {
            self.files.converge(&self.site, spec, now);
            // Its authority is among the supplies.
            if self.are_supplies_there(spec) {
                self.certificate.converge(&self.site, spec, &mut self.client, (&self.sender, now));
            }
        }
        self.weights.converge(&self.site, spec, &self.sender, now);
        if let (Supplies::OnDisk, RunState::Running) = (&self.supplies, spec.run) {
            self.local_monitoring.converge(&self.site, spec);
        }
        let around = Surroundings {
            site: &self.site,
            spec,
            drained: &standing.drained,
            weights: self.weights.have(),
            inputs_done: self.files.is_done(spec) && self.are_supplies_there(spec) && self.certificate.is_done(spec),
            is_monitoring_rendered: self.local_monitoring.is_rendered(spec),
            client: &self.client,
            reports: &self.sender,
        };
        self.units.converge(&around, now).await;
        let process_of = |unit: &UnitName| self.units.ready_process(unit);
        if spec.run == RunState::Running {
            self.tokens.converge(&self.site, spec, &self.client, &self.sender, (now, process_of));
        }
        let has_supplies = self.are_supplies_there(spec);
        let around =
            ActionsAround { site: &self.site, spec, has_supplies, client: &self.client, reports: &self.sender };
        self.actions.converge(&around, &mut self.units, now);
        self.driver.converge(spec, &self.sender, now);
        self.watch_host(spec, now);
    }

    fn watch_host(&mut self, spec: &HostSpec, now: Moment) {
        let Some(monitoring) = &spec.monitoring else { return };
        self.page.converge(monitoring.agent, (self.site.name.as_str(), &self.client), now);
        // On a machine of the deployment's own only: nothing is installed on somebody's laptop. Keys of those who are told
        // are among the supplies.
        let is_ours = matches!(self.supplies, Supplies::Mirrored(_));
        if is_ours && (monitoring.receiver_keys.is_empty() || self.are_supplies_there(spec)) {
            self.monitoring.converge(&self.site, spec, &self.sender, now);
        }
    }

    /// Those of the one before it, to which a host goes back, came down earlier.
    fn are_supplies_there(&self, spec: &HostSpec) -> bool {
        self.supplies.are_there(self.spec.as_ref().map_or(spec.generation, |desired| desired.generation))
    }

    fn take_desired(&mut self, now: Moment) {
        match self.desired.poll() {
            None => {}
            Some(Ok(spec)) => {
                tracing::info!(generation = spec.generation, run = ?spec.run, "host spec");
                self.invalid = None;
                if self.spec.as_ref().is_some_and(|before| before.generation != spec.generation) {
                    self.forgive(now);
                }
                self.spec = Some(Arc::new(spec));
            }
            Some(Err(message)) => {
                if self.invalid.as_ref() != Some(&message) {
                    tracing::error!(message, "the host spec can't be used; the last good one stays in force");
                }
                self.invalid = Some(message);
            }
        }
    }

    /// Somebody changed or asked again: what went wrong before is tried anew at once, and judged by that alone.
    fn forgive(&mut self, now: Moment) {
        self.files.forgive();
        self.certificate.forgive();
        self.weights.forgive();
        self.units.forgive(&self.site, now);
        self.tokens.forgive();
        self.monitoring.forgive();
    }

    fn take(&mut self, report: Report, now: Moment) {
        match report {
            Report::Weights { run, event } => self.weights.take(run, event, now),
            Report::Ready { unit, process, answer } => {
                self.units.take_answer(&self.site, &unit, (process, answer), now);
            }
            Report::Token { unit, asked, answer } => self.tokens.take(unit, asked, answer, now),
            Report::PublicAddress(address) => self.certificate.take(address),
            Report::Monitoring(answer) => self.monitoring.take(answer, now),
            Report::Driver(seen) => self.driver.take(seen, now),
            Report::Diagnostics { id, answer } => self.actions.take(&id, answer),
        }
    }

    fn rotate_logs(&self) {
        let units = self.units.statuses();
        let names = units.iter().map(|unit| unit.name.as_str()).chain(["agent"]);
        for name in names {
            let log = self.site.host.log(name);
            if let Err(error) = rotate::rotate(&log, rotate::MOST_BYTES) {
                tracing::warn!(log = %log.display(), %error, "can't rotate");
            }
        }
    }

    fn report(&mut self, spec: &HostSpec, desired: &Arc<HostSpec>, now: Moment) {
        let at = Timestamp::now();
        let is_ready = spec.run == RunState::Running
            && self.files.is_done(spec)
            && self.units.are_all_ready()
            && self.tokens.is_answered(spec, |unit| self.units.ready_process(unit));
        let phases = self.phases(spec, desired.generation, now);
        if self.fallback.judge(desired, fate_of(&phases, is_ready), now) {
            tracing::error!(target: "console", "dsctl: host spec {} did not come to serve: back to the one before", desired.generation);
            self.forgive(now);
        }
        self.board.update(spec.generation, phases, at);
        let since = self.ready_since.filter(|(generation, _)| *generation == spec.generation);
        self.ready_since = is_ready.then(|| since.unwrap_or((spec.generation, at)));
        let ready_since = self.ready_since.map(|(_, since)| since);
        for line in self.narrator.lines(spec.generation, self.board.lines(), ready_since) {
            tracing::info!(target: "console", "dsctl: {line}");
        }
        let status = self.status(spec.generation, at);
        self.page.show(&status);
        self.writer.offer(status, now);
    }

    fn phases(&self, spec: &HostSpec, desired: u64, now: Moment) -> Vec<PhaseNow> {
        let process_of = |unit: &UnitName| self.units.ready_process(unit);
        let log_tail_of =
            |unit: &UnitName| logs::tail(&self.site.host, unit.as_str(), LOG_TAIL_LINES).unwrap_or_default();
        let mut phases: Vec<PhaseNow> = self.supplies.phase(desired).into_iter().collect();
        phases.extend(self.driver.phase(spec));
        phases.push(self.files_phase(spec));
        phases.extend(self.weights.phase());
        phases.extend(self.units.phases(now));
        phases.extend(self.tokens.phase(spec, log_tail_of, process_of));
        match self.supplies {
            Supplies::Mirrored(_) => phases.extend(self.monitoring.phase(spec)),
            Supplies::OnDisk => phases.extend(self.local_monitoring.phase()),
        }
        phases.extend(self.fallback.phase(desired));
        phases
    }

    fn files_phase(&self, spec: &HostSpec) -> PhaseNow {
        match self.invalid.as_ref().or(self.certificate.failure()) {
            Some(message) => PhaseNow::failed(Phase::Files, message.clone(), Vec::new(), "dsctl up"),
            None => self.files.phase(spec),
        }
    }

    /// There has been no usable host spec yet.
    fn report_invalid(&mut self, now: Moment) {
        if let Some(message) = &self.invalid {
            let line = PhaseNow::failed(Phase::Files, message.clone(), Vec::new(), "dsctl up");
            self.board.update(0, vec![line], Timestamp::now());
            let status = self.status(0, Timestamp::now());
            self.writer.offer(status, now);
        }
    }

    fn status(&self, generation: u64, written_at: Timestamp) -> HostStatus {
        HostStatus {
            deployment: self.site.deployment.clone(),
            host: self.site.name.clone(),
            generation,
            written_at,
            agent: self.agent.clone(),
            phases: self.board.lines().to_vec(),
            weights: self.weights.have().to_vec(),
            units: self.units.statuses(),
            ready_since: self.ready_since.map(|(_, since)| since),
            outcomes: self.actions.outcomes().to_vec(),
            certificate_authority: self.certificate.authority().cloned(),
        }
    }
}
