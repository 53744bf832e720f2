//! What watches the host: Prometheus, Alertmanager and node exporter of the distribution, with our rules and our addresses, and Grafana
//! of its own repository. The host serves without all this: what fails here is told, and tried again.
//!
//! ```text
//! HostMonitoring -> plan (pure: files, services, packages) -> install (writes, packages, systemctl)
//!                        ^ keys of those who are told, out of the folder of secrets
//! ```

mod install;
mod local;
mod packages;
mod page;
mod plan;
mod receivers;

pub(crate) use local::LocalMonitoring;
pub(crate) use page::Page;

use std::time::Duration;

use spec::host::{HostSpec, Phase, PhaseState};
use spec::host_monitoring::HostMonitoring;
use tokio::sync::mpsc::UnboundedSender;

use crate::converge::{PhaseNow, Report};
use crate::decide::Moment;
use crate::site::Site;

/// A package index that did not answer may answer later.
const RETRY_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct MonitoringWork {
    /// For this wish.
    done: Option<(HostMonitoring, String)>,
    under_way: Option<HostMonitoring>,
    failure: Option<String>,
    retry_at: Moment,
}

impl MonitoringWork {
    /// Starts what is to be done; the answer comes as a report.
    pub fn converge(&mut self, site: &Site, spec: &HostSpec, reports: &UnboundedSender<Report>, now: Moment) {
        let Some(wanted) = &spec.monitoring else { return };
        let is_done = self.done.as_ref().is_some_and(|(done, _)| done == wanted);
        if is_done || self.under_way.is_some() || now < self.retry_at {
            return;
        }
        self.under_way = Some(wanted.clone());
        let (wanted, site, reports) = (wanted.clone(), site.clone(), reports.clone());
        tokio::task::spawn_blocking(move || {
            let keys = receivers::keys(&site, &wanted);
            let plan = keys.and_then(|keys| plan::plan(&wanted, site.name.as_str(), &keys));
            let answer = plan.and_then(|plan| install::install(&plan));
            // Nobody takes it when the agent ends.
            reports.send(Report::Monitoring(answer)).unwrap_or(());
        });
    }

    pub fn take(&mut self, answer: Result<String, String>, now: Moment) {
        let Some(asked) = self.under_way.take() else { return };
        match answer {
            Ok(what) => {
                self.done = Some((asked, what));
                self.failure = None;
            }
            Err(message) => {
                tracing::error!(message, "the host is not watched as it should be");
                self.failure = Some(message);
                self.retry_at = now + RETRY_EVERY;
            }
        }
    }

    /// The next try is made at once.
    pub fn forgive(&mut self) {
        self.failure = None;
        self.retry_at = Moment::ZERO;
    }

    pub fn phase(&self, spec: &HostSpec) -> Option<PhaseNow> {
        let wanted = spec.monitoring.as_ref()?;
        let line = |state, detail: &str| PhaseNow::new(Phase::Monitoring, state, detail);
        Some(match (&self.failure, &self.done) {
            (Some(message), _) => {
                let next = "it is tried again every minute; the endpoint serves without it";
                PhaseNow::failed(Phase::Monitoring, message.clone(), Vec::new(), next)
            }
            (None, Some((done, what))) if done == wanted => line(PhaseState::Done, what),
            _ => line(PhaseState::Running, "installing and starting what watches the host"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> HostSpec {
        serde_json::from_value(
            serde_json::json!({"deployment": "demo", "host": "main", "generation": 1, "run": "running",
            "weights": [], "files": [], "units": [], "first_token": [], "monitoring": plan::tests::wanted()}),
        )
        .unwrap()
    }

    #[test]
    fn a_failure_is_told_and_tried_again_later_and_success_ends_it() {
        let (spec, at) = (spec(), Duration::from_secs);
        let mut work = MonitoringWork { under_way: spec.monitoring.clone(), ..MonitoringWork::default() };
        assert_eq!(work.phase(&spec).unwrap().state, PhaseState::Running);
        work.take(Err("no index".to_owned()), at(10));
        let phase = work.phase(&spec).unwrap();
        assert_eq!((phase.state, phase.detail.as_str()), (PhaseState::Failed, "no index"));
        assert_eq!(work.retry_at, at(70));
        work.under_way = spec.monitoring.clone();
        work.take(Ok("Prometheus".to_owned()), at(80));
        assert_eq!(work.phase(&spec).unwrap().state, PhaseState::Done);
        let other = HostSpec { monitoring: None, ..spec.clone() };
        assert!(work.phase(&other).is_none());
    }
}
