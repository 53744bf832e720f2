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
    failures: BTreeMap<UnitName, Failures>,
    retry_at: Moment,
}

/// In a row, of one process in one generation: they say nothing of another.
#[derive(Debug)]
struct Failures {
    asked: Asked,
    count: u32,
    reason: String,
}

impl TokensWork {
    pub fn is_answered(&self, spec: &HostSpec, process_of: impl Fn(&UnitName) -> Option<ProcessId>) -> bool {
        spec.first_token.iter().all(|probe| {
            process_of(&probe.unit)
                .is_some_and(|process| self.answered.get(&probe.unit) == Some(&(spec.generation, process)))
        })
    }

    /// What was asked before, and how it ended, counts no more.
    pub fn forgive(&mut self) {
        self.asking.clear();
        self.failures.clear();
        self.retry_at = Moment::ZERO;
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
                let before = self.failures.get(&unit).filter(|before| before.asked == asked);
                let count = before.map_or(0, |before| before.count) + 1;
                self.failures.insert(unit, Failures { asked, count, reason });
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
        let failed = |probe: &FirstTokenProbe| {
            let asked = (spec.generation, process_of(&probe.unit)?);
            self.failures.get(&probe.unit).filter(|failures| failures.asked == asked && failures.count >= FAILED_AFTER)
        };
        if let Some((probe, failures)) = spec.first_token.iter().find_map(|probe| Some((probe, failed(probe)?))) {
            let message = format!("{} generates no token: {}", probe.unit, failures.reason);
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

#[cfg(test)]
mod tests {
    use spec::host::RunState;
    use spec::layout::HomeLayout;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::probe::client;

    const FIRST: ProcessId = ProcessId { pid: 1, started: 1 };
    const SECOND: ProcessId = ProcessId { pid: 2, started: 1 };

    fn spec_of_generation(generation: u64) -> HostSpec {
        let probe = FirstTokenProbe {
            unit: "daemon".parse().unwrap(),
            base_url: "http://127.0.0.1:1/v1".to_owned(),
            model: "tiny".to_owned(),
            key: "key".parse().unwrap(),
        };
        HostSpec {
            deployment: "demo".parse().unwrap(),
            host: "local".parse().unwrap(),
            generation,
            run: RunState::Running,
            weights: Vec::new(),
            files: Vec::new(),
            units: Vec::new(),
            first_token: vec![probe],
            monitoring: None,
            agent: None,
            gpus: None,
            actions: Vec::new(),
        }
    }

    fn ask(tokens: &mut TokensWork, spec: &HostSpec, process: ProcessId, now: Moment) {
        let site = Site::new(&HomeLayout::new("/nowhere"), &spec.deployment, &spec.host);
        // What the question itself brings is not waited for.
        let (sender, _) = unbounded_channel();
        tokens.converge(&site, spec, &client(None).unwrap(), &sender, (now, |_: &UnitName| Some(process)));
    }

    fn refuse(tokens: &mut TokensWork, spec: &HostSpec, process: ProcessId, now: Moment) {
        ask(tokens, spec, process, now);
        tokens.take("daemon".parse().unwrap(), (spec.generation, process), Err("no".to_owned()), now);
    }

    fn state(tokens: &TokensWork, spec: &HostSpec, process: ProcessId) -> PhaseState {
        tokens.phase(spec, |_| Vec::new(), |_| Some(process)).unwrap().state
    }

    #[tokio::test]
    async fn failures_are_of_one_process_and_one_generation() {
        let (spec, next) = (spec_of_generation(1), spec_of_generation(2));
        let mut tokens = TokensWork::default();
        for second in 0..5 {
            assert_eq!(state(&tokens, &spec, FIRST), PhaseState::Running);
            refuse(&mut tokens, &spec, FIRST, Moment::from_secs(second));
        }
        assert_eq!(state(&tokens, &spec, FIRST), PhaseState::Failed);
        assert_eq!(state(&tokens, &spec, SECOND), PhaseState::Running, "a new process");
        assert_eq!(state(&tokens, &next, FIRST), PhaseState::Running, "a new generation");
        refuse(&mut tokens, &spec, SECOND, Moment::from_secs(5));
        assert_eq!(state(&tokens, &spec, SECOND), PhaseState::Running, "counted from one");
    }

    #[tokio::test]
    async fn what_was_asked_before_counts_for_nothing_when_it_is_forgiven() {
        let spec = spec_of_generation(1);
        let mut tokens = TokensWork::default();
        refuse(&mut tokens, &spec, FIRST, Moment::ZERO);
        ask(&mut tokens, &spec, FIRST, RETRY_EVERY);
        tokens.forgive();
        tokens.take("daemon".parse().unwrap(), (1, FIRST), Err("late".to_owned()), RETRY_EVERY);
        assert!(tokens.failures.is_empty());
        ask(&mut tokens, &spec, FIRST, Moment::ZERO);
        assert_eq!(tokens.asking.len(), 1, "asked at once");
    }
}
