//! The host spec's weights: one task fetches them one after the other and reports; the tick never waits for it.

use std::time::Duration;

use spec::host::{HostSpec, Phase, PhaseState, Progress, RunState, WeightsStatus};
use spec::id::WeightsName;
use spec::weights::WeightsSpec;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::Report;
use super::phases::PhaseNow;
use crate::decide::Moment;
use crate::site::Site;
use crate::weights::{FetchProgress, FetchSettings, Fetcher, WeightsCache};

const RETRY_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) enum WeightsEvent {
    Progress(WeightsName, FetchProgress),
    Fetched(WeightsStatus),
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct WeightsWork {
    settings: FetchSettings,
    wanted: Vec<WeightsSpec>,
    have: Vec<WeightsStatus>,
    task: Option<CancellationToken>,
    /// Of the task; reports of an earlier one are stale.
    run: u64,
    detail: String,
    /// Sources that gave nothing, with the reason: shown beside the one that did.
    skipped: Vec<String>,
    progress: Option<Progress>,
    failure: Option<String>,
    /// What a task found that began before [`WeightsWork::forgive`] is tried again at once, not told.
    is_forgiven: bool,
    retry_at: Moment,
}

impl WeightsWork {
    pub fn new(settings: FetchSettings) -> Self {
        Self {
            settings,
            wanted: Vec::new(),
            have: Vec::new(),
            task: None,
            run: 0,
            detail: String::new(),
            skipped: Vec::new(),
            progress: None,
            failure: None,
            is_forgiven: false,
            retry_at: Moment::ZERO,
        }
    }

    pub fn have(&self) -> &[WeightsStatus] {
        &self.have
    }

    fn is_done(&self) -> bool {
        self.wanted.iter().all(|wanted| self.have.iter().any(|have| have.name == wanted.name))
    }

    fn cancel(&mut self) {
        if let Some(task) = self.task.take() {
            task.cancel();
        }
    }

    /// The next try is made at once; one that is under way goes on.
    pub fn forgive(&mut self) {
        self.failure = None;
        self.is_forgiven = true;
        self.retry_at = Moment::ZERO;
    }

    pub fn converge(&mut self, site: &Site, spec: &HostSpec, reports: &UnboundedSender<Report>, now: Moment) {
        if self.wanted != spec.weights {
            self.cancel();
            self.wanted.clone_from(&spec.weights);
            self.have.clear();
            self.skipped.clear();
            self.failure = None;
            self.retry_at = now;
        }
        match spec.run {
            RunState::Stopped => self.cancel(),
            RunState::Running if self.task.is_none() && !self.is_done() && now >= self.retry_at => {
                self.start(site, reports);
            }
            RunState::Running => {}
        }
    }

    fn start(&mut self, site: &Site, reports: &UnboundedSender<Report>) {
        self.run += 1;
        self.is_forgiven = false;
        self.skipped.clear();
        let cancel = CancellationToken::new();
        let fetcher = Fetcher::new(WeightsCache::new(&site.home), self.settings.clone());
        let missing = self.wanted.iter().filter(|wanted| !self.have.iter().any(|have| have.name == wanted.name));
        let task = fetch_all(fetcher, missing.cloned().collect(), cancel.clone(), self.run, reports.clone());
        tokio::spawn(task);
        self.task = Some(cancel);
    }

    pub fn take(&mut self, run: u64, event: WeightsEvent, now: Moment) {
        if run != self.run || self.task.is_none() {
            return;
        }
        match event {
            WeightsEvent::Progress(name, progress) => {
                if let FetchProgress::Skipped { source, reason, .. } = &progress {
                    tracing::warn!(%name, "{progress}");
                    self.skipped.push(format!("{source}: {reason}"));
                }
                self.failure = None;
                self.detail = format!("{name} {progress}");
                self.progress = progress.progress().cloned();
            }
            WeightsEvent::Fetched(status) => {
                tracing::info!(name = %status.name, source = %status.source, "weights are here");
                self.have.push(status);
                self.progress = None;
            }
            WeightsEvent::Failed(message) => {
                tracing::error!(message, "can't get the weights");
                self.progress = None;
                self.task = None;
                if !self.is_forgiven {
                    self.failure = Some(message);
                    self.retry_at = now + RETRY_EVERY;
                }
            }
        }
        if self.is_done() {
            self.task = None;
            self.failure = None;
        }
    }

    /// None if the host needs no weights.
    pub fn phase(&self) -> Option<PhaseNow> {
        let first = self.wanted.first()?;
        if let Some(message) = &self.failure {
            let next = format!("dsctl weights pull {}", first.name);
            return Some(PhaseNow::failed(Phase::Weights, message.clone(), Vec::new(), next));
        }
        if self.is_done() {
            let text = |have: &WeightsStatus| format!("{} ({})", have.name, spec::amount::bytes_text(have.size));
            let mut detail = self.have.iter().map(text).collect::<Vec<_>>().join(", ");
            if let (Some(have), false) = (self.have.last(), self.skipped.is_empty()) {
                detail = format!("{detail} from {}, after {}", have.source, self.skipped.join(", "));
            }
            return Some(PhaseNow::new(Phase::Weights, PhaseState::Done, detail));
        }
        let state = if self.task.is_some() { PhaseState::Running } else { PhaseState::Waiting };
        Some(PhaseNow { progress: self.progress.clone(), ..PhaseNow::new(Phase::Weights, state, self.detail.clone()) })
    }
}

async fn fetch_all(
    fetcher: Fetcher,
    wanted: Vec<WeightsSpec>,
    cancel: CancellationToken,
    run: u64,
    reports: UnboundedSender<Report>,
) {
    for spec in wanted {
        let (sender, name) = (reports.clone(), spec.name.clone());
        // A report that nobody takes any more is of a fetch that nobody wants any more.
        let progress = move |progress| {
            sender.send(Report::Weights { run, event: WeightsEvent::Progress(name.clone(), progress) }).unwrap_or(());
        };
        let event = match fetcher.fetch(&spec, progress, &cancel).await {
            Ok(status) => WeightsEvent::Fetched(status),
            Err(error) => WeightsEvent::Failed(error.to_string()),
        };
        let is_failed = matches!(event, WeightsEvent::Failed(_));
        if reports.send(Report::Weights { run, event }).is_err() || is_failed {
            return;
        }
    }
}
