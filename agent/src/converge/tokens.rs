//! The first token: a host is ready when each daemon has really generated one.

use std::collections::BTreeMap;
use std::time::Duration;

use spec::host::{FirstTokenProbe, HostSpec, Phase, PhaseState, ProcessId};
use spec::id::UnitName;
use tokio::sync::mpsc::UnboundedSender;

use super::Report;
use super::phases::PhaseNow;
use crate::decide::Moment;
use crate::probe::ask_token;
use crate::site::Site;

const RETRY_EVERY: Duration = Duration::from_secs(1);
const FAILED_AFTER: u32 = 5;

/// Which process answers for which generation: a new one of either is asked anew.
type Asked = (u64, ProcessId);

#[derive(Debug, Default)]
pub(crate) struct TokensWork {
    answered: BTreeMap<UnitName, Asked>,
    asking: BTreeMap<UnitName, Asked>,
    failures: BTreeMap<UnitName, (u32, String)>,
    retry_at: Moment,
}

impl TokensWork {
    pub fn is_answered(&self, spec: &HostSpec, process_of: impl Fn(&UnitName) -> Option<ProcessId>) -> bool {
        spec.first_token.iter().all(|probe| {
            process_of(&probe.unit)
                .is_some_and(|process| self.answered.get(&probe.unit) == Some(&(spec.generation, process)))
        })
    }

    /// `process_of` names the process of a unit that is ready.
    pub fn converge(
        &mut self,
        site: &Site,
        spec: &HostSpec,
        client: &reqwest::Client,
        reports: &UnboundedSender<Report>,
        (now, process_of): (Moment, impl Fn(&UnitName) -> Option<ProcessId>),
    ) {
        if now < self.retry_at {
            return;
        }
        for probe in &spec.first_token {
            let Some(process) = process_of(&probe.unit) else {
                continue;
            };
            let asked = (spec.generation, process);
            if self.answered.get(&probe.unit) == Some(&asked) || self.asking.get(&probe.unit) == Some(&asked) {
                continue;
            }
            self.asking.insert(probe.unit.clone(), asked);
            spawn_question(site, probe, asked, client.clone(), reports.clone());
        }
    }

    pub fn take(&mut self, unit: UnitName, asked: Asked, answer: Result<(), String>, now: Moment) {
        if self.asking.get(&unit) != Some(&asked) {
            return;
        }
        self.asking.remove(&unit);
        match answer {
            Ok(()) => {
                tracing::info!(%unit, "first token");
                self.failures.remove(&unit);
                self.answered.insert(unit, asked);
            }
            Err(reason) => {
                tracing::warn!(%unit, reason, "no first token");
                self.retry_at = now + RETRY_EVERY;
                let count = self.failures.get(&unit).map_or(0, |(count, _)| *count) + 1;
                self.failures.insert(unit, (count, reason));
            }
        }
    }

    /// None if nobody is asked for a token.
    pub fn phase(
        &self,
        spec: &HostSpec,
        log_tail_of: impl Fn(&UnitName) -> Vec<String>,
        process_of: impl Fn(&UnitName) -> Option<ProcessId>,
    ) -> Option<PhaseNow> {
        let first = spec.first_token.first()?;
        if self.is_answered(spec, &process_of) {
            return Some(PhaseNow::new(Phase::FirstToken, PhaseState::Done, "a real token was generated"));
        }
        let failed =
            |probe: &&FirstTokenProbe| self.failures.get(&probe.unit).is_some_and(|(count, _)| *count >= FAILED_AFTER);
        if let Some(probe) = spec.first_token.iter().find(failed) {
            let reason = self.failures.get(&probe.unit).map_or("", |(_, reason)| reason.as_str());
            let message = format!("{} generates no token: {reason}", probe.unit);
            let next = format!("dsctl logs {}", probe.unit);
            return Some(PhaseNow::failed(Phase::FirstToken, message, log_tail_of(&probe.unit), next));
        }
        let waiting = spec.first_token.iter().find(|probe| process_of(&probe.unit).is_none());
        Some(match waiting {
            Some(probe) => PhaseNow::new(Phase::FirstToken, PhaseState::Waiting, format!("waits for {}", probe.unit)),
            None => PhaseNow::new(Phase::FirstToken, PhaseState::Running, format!("asks {} for a token", first.unit)),
        })
    }
}

fn spawn_question(
    site: &Site,
    probe: &FirstTokenProbe,
    asked: Asked,
    client: reqwest::Client,
    reports: UnboundedSender<Report>,
) {
    let (probe, key) = (probe.clone(), site.secret(&probe.key));
    tokio::spawn(async move {
        let answer = ask_token(&client, &probe, &key).await;
        // Nobody takes it when the agent ends.
        reports.send(Report::Token { unit: probe.unit, asked, answer }).unwrap_or(());
    });
}
