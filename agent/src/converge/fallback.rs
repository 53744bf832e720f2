//! Back to the host spec that served last, when the one after it does not come to serve.
//!
//! Only where the host spec comes out of a bucket: on a laptop its owner sits in front of it. The record lies beside the
//! host's other files, so that a new agent does not try again what failed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::store::write_durably;
use serde::{Deserialize, Serialize};
use spec::host::{HostSpec, Phase, PhaseState, RunState};

use super::phases::PhaseNow;
use crate::decide::Moment;

/// A phase that has failed is tried again within that time, as when a port was not free yet.
const PATIENCE: Duration = Duration::from_secs(10);
/// Without them nobody is served.
const SERVING: [Phase; 4] = [Phase::Daemon, Phase::BaselineDaemon, Phase::Gateway, Phase::FirstToken];

#[derive(Debug, Default)]
pub(crate) struct Fallback {
    /// None where nothing is gone back to.
    path: Option<PathBuf>,
    record: Record,
    failing_since: Option<Moment>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The last one with which a real token was generated.
    served: Option<HostSpec>,
    refused: Option<Refused>,
}

/// A host spec that did not come to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Refused {
    generation: u64,
    reason: String,
    log_tail: Vec<String>,
}

/// How the host spec in force does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    Serves,
    /// One of the phases without which nobody is served has failed.
    Fails(&'a PhaseNow),
    UnderWay,
}

/// The first failure among the phases without which nobody is served.
pub(crate) fn fate_of(phases: &[PhaseNow], is_ready: bool) -> Fate<'_> {
    let failed = |line: &&PhaseNow| line.state == PhaseState::Failed && SERVING.contains(&line.phase);
    match phases.iter().find(failed) {
        _ if is_ready => Fate::Serves,
        Some(line) => Fate::Fails(line),
        None => Fate::UnderWay,
    }
}

impl Fallback {
    /// With what an earlier agent wrote down; what can't be read is as if it were not there.
    pub fn read(path: PathBuf) -> Self {
        let record = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path: Some(path), record, failing_since: None }
    }

    /// The one that is asked for, or the one before it, if that one did not come to serve.
    pub fn in_force(&self, desired: &Arc<HostSpec>) -> Arc<HostSpec> {
        match (self.refusal_of(desired.generation), &self.record.served) {
            (Some(_), Some(served)) if desired.run == RunState::Running => {
                Arc::new(HostSpec { actions: desired.actions.clone(), ..served.clone() })
            }
            _ => desired.clone(),
        }
    }

    /// Says so for as long as it lasts.
    pub fn phase(&self, desired: u64) -> Option<PhaseNow> {
        let refused = self.refusal_of(desired)?;
        let served = self.record.served.as_ref()?.generation;
        let message = format!(
            "host spec {desired} did not come to serve ({}): back to host spec {served}, which served last",
            refused.reason
        );
        Some(PhaseNow::failed(
            Phase::Upgrade,
            message,
            refused.log_tail.clone(),
            "dsctl up with something else than what failed, or with what served",
        ))
    }

    /// True when it has just been given up.
    pub fn judge(&mut self, desired: &Arc<HostSpec>, fate: Fate<'_>, now: Moment) -> bool {
        if self.path.is_none() || desired.run == RunState::Stopped || self.refusal_of(desired.generation).is_some() {
            return false;
        }
        match fate {
            Fate::Serves => {
                self.failing_since = None;
                if self.record.served.as_ref().is_none_or(|served| served.generation != desired.generation) {
                    self.keep(Record { served: Some((**desired).clone()), refused: None });
                }
                false
            }
            Fate::UnderWay => {
                self.failing_since = None;
                false
            }
            Fate::Fails(line) => self.bear(desired.generation, line, now),
        }
    }

    fn bear(&mut self, generation: u64, line: &PhaseNow, now: Moment) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        let another_served = self.record.served.as_ref().is_some_and(|served| served.generation != generation);
        if !another_served || now - since < PATIENCE {
            return false;
        }
        self.failing_since = None;
        let log_tail = line.failure.as_ref().map(|failure| failure.log_tail.clone()).unwrap_or_default();
        let reason = format!("{}: {}", line.phase.as_str(), line.detail);
        let refused = Refused { generation, reason, log_tail };
        self.keep(Record { refused: Some(refused), ..self.record.clone() });
        true
    }

    fn refusal_of(&self, generation: u64) -> Option<&Refused> {
        self.record.refused.as_ref().filter(|refused| refused.generation == generation)
    }

    fn keep(&mut self, record: Record) {
        self.record = record;
        let Some(path) = &self.path else { return };
        let written = serde_json::to_vec_pretty(&self.record).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|bytes| write_durably(path, &bytes)) {
            tracing::warn!(path = %path.display(), %error, "the next agent will not know what served last");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(generation: u64) -> Arc<HostSpec> {
        let spec = json!({"deployment": "demo", "host": "main", "generation": generation, "run": "running", "weights": [],
            "files": [], "units": [], "first_token": []});
        Arc::new(serde_json::from_value(spec).unwrap())
    }

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn broken(phase: Phase) -> PhaseNow {
        PhaseNow::failed(phase, "broken", vec!["its last line".to_owned()], "next")
    }

    fn scene() -> (tempfile::TempDir, Fallback) {
        let folder = tempfile::tempdir().unwrap();
        let fallback = Fallback::read(folder.path().join("served.json"));
        (folder, fallback)
    }

    #[test]
    fn what_fails_for_long_gives_way_to_what_served_and_another_one_is_tried_afresh() {
        let (folder, mut fallback) = scene();
        let line = broken(Phase::FirstToken);
        let fails = Fate::Fails(&line);
        assert!(!fallback.judge(&spec(1), Fate::Serves, at(0)));
        assert!(!fallback.judge(&spec(2), fails, at(1)));
        assert!(!fallback.judge(&spec(2), Fate::UnderWay, at(5)), "it tries again");
        assert!(!fallback.judge(&spec(2), fails, at(6)));
        assert!(!fallback.judge(&spec(2), fails, at(15)));
        assert_eq!(fallback.in_force(&spec(2)).generation, 2);
        assert!(fallback.judge(&spec(2), fails, at(16)));
        assert_eq!(fallback.in_force(&spec(2)).generation, 1);
        assert!(!fallback.judge(&spec(2), Fate::Serves, at(17)), "that was the one before it");

        let next = Fallback::read(folder.path().join("served.json"));
        assert_eq!(next.in_force(&spec(2)).generation, 1, "a new agent does not try it again");
        let line = next.phase(2).unwrap();
        assert_eq!(line.failure.as_ref().unwrap().log_tail, ["its last line"]);
        assert!(line.detail.contains("host spec 2 did not come to serve (first token: broken)"), "{}", line.detail);
        assert_eq!((next.in_force(&spec(3)).generation, next.phase(3)), (3, None));
    }

    #[test]
    fn a_first_host_spec_and_one_that_has_served_have_nothing_to_go_back_to() {
        let (_folder, mut fallback) = scene();
        let line = broken(Phase::Gateway);
        let fails = Fate::Fails(&line);
        assert!(!fallback.judge(&spec(1), fails, at(0)));
        assert!(!fallback.judge(&spec(1), fails, at(100)));
        fallback.judge(&spec(1), Fate::Serves, at(101));
        assert!(!fallback.judge(&spec(1), fails, at(200)));
        assert!(!fallback.judge(&spec(1), fails, at(300)));
        assert_eq!(fallback.phase(1), None);
    }

    #[test]
    fn where_nothing_is_gone_back_to_nothing_is_kept() {
        let mut fallback = Fallback::default();
        let line = broken(Phase::Daemon);
        let fails = Fate::Fails(&line);
        fallback.judge(&spec(1), Fate::Serves, at(0));
        assert!(!fallback.judge(&spec(2), fails, at(1)) && !fallback.judge(&spec(2), fails, at(99)));
    }

    #[test]
    fn only_what_serves_counts() {
        let daemon = [broken(Phase::Daemon)];
        assert_eq!(fate_of(&daemon, false), Fate::Fails(&daemon[0]));
        assert_eq!(fate_of(&daemon, true), Fate::Serves);
        assert_eq!(fate_of(&[broken(Phase::Monitoring)], false), Fate::UnderWay);
        assert_eq!(fate_of(&[broken(Phase::Programs)], false), Fate::UnderWay);
    }
}
