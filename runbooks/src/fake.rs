//! A deployment that is made up: what it looks like is set, what is done to it is written down.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use spec::host::{Phase, PhaseState};
use spec::rollout::{RolloutPhase, RolloutReport, RolloutSpec, Verdict};

use crate::probe::{PhaseSeen, Probe, ProbeError, Sample, StateSeen, StatusSeen, WeightsSeen};
use crate::runbook::{MetricSource, Remedy, Unit};

/// What the deployment looks like.
#[derive(Debug, Clone)]
pub struct World {
    pub units: BTreeMap<Unit, StateSeen>,
    pub weights_phase: PhaseState,
    /// The last line that the daemon wrote.
    pub daemon_said: &'static str,
    /// Attempts a second, by variant and outcome.
    pub attempts: Vec<(&'static str, &'static str, f64)>,
    /// Answers a second, by variant and status.
    pub answers: Vec<(&'static str, &'static str, f64)>,
    /// Seconds to the first token, by variant.
    pub first_token: BTreeMap<&'static str, f64>,
    /// Seconds of a whole request, by variant.
    pub duration: BTreeMap<&'static str, f64>,
    pub running: f64,
    pub waiting: f64,
    pub tokens_per_second: f64,
    /// Requests that ended a second, by reason.
    pub ended: Vec<(&'static str, f64)>,
    pub cache_usage: f64,
    pub config_reloaded: f64,
    pub audit_failing: f64,
    pub audit_dropped: f64,
    pub free_space: u64,
    pub rollout: Option<(RolloutPhase, Verdict)>,
    pub weights: WeightsSeen,
    pub is_scrapeable: bool,
}

impl World {
    /// Nothing is the matter.
    pub fn healthy() -> Self {
        let units = [Unit::Agent, Unit::Dsserve, Unit::Dsgate].map(|unit| (unit, StateSeen::Ready));
        Self {
            units: units.into(),
            weights_phase: PhaseState::Done,
            daemon_said: "ready",
            attempts: vec![("baseline", "ok", 9.0), ("candidate", "ok", 1.0), ("candidate", "client_error", 3.0)],
            answers: vec![("baseline", "200", 9.0), ("baseline", "429", 0.0), ("candidate", "200", 1.0)],
            first_token: [("baseline", 0.5), ("candidate", 0.7)].into(),
            duration: [("baseline", 0.8), ("candidate", 0.9)].into(),
            running: 0.0,
            waiting: 0.0,
            tokens_per_second: 50.0,
            ended: vec![("stop", 1.0), ("length", 0.0), ("abort", 0.0)],
            cache_usage: 0.2,
            config_reloaded: 1.0,
            audit_failing: 0.0,
            audit_dropped: 0.0,
            free_space: 100 << 30,
            rollout: None,
            weights: WeightsSeen::Sound,
            is_scrapeable: true,
        }
    }

    pub fn unit(mut self, unit: Unit, state: StateSeen) -> Self {
        self.units.insert(unit, state);
        self
    }

    pub fn rollout(mut self, phase: RolloutPhase, verdict: Verdict) -> Self {
        self.rollout = Some((phase, verdict));
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn heal(&mut self, remedy: &Remedy) {
        match remedy {
            Remedy::RolloutAbort => self.rollout = Some((RolloutPhase::Aborted, Verdict::Hold)),
            Remedy::Restart(unit) => *self.units.entry(*unit).or_insert(StateSeen::Ready) = StateSeen::Ready,
            Remedy::Drain(unit) => *self.units.entry(*unit).or_insert(StateSeen::Stopped) = StateSeen::Stopped,
            Remedy::SmallerContext(unit) => *self.units.entry(*unit).or_insert(StateSeen::Ready) = StateSeen::Ready,
            Remedy::Up | Remedy::RefetchWeights => *self = Self::healthy(),
        }
    }
}

/// What remedies come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedies {
    Help,
    DoNothing,
    Fail,
}

#[derive(Debug)]
pub struct Fake {
    inside: Mutex<Inside>,
    remedies: Remedies,
}

#[derive(Debug)]
struct Inside {
    world: World,
    now: Duration,
    acts: Vec<Remedy>,
}

impl Fake {
    pub fn new(world: World, remedies: Remedies) -> Self {
        let inside = Inside { world, now: Duration::ZERO, acts: Vec::new() };
        Self { inside: Mutex::new(inside), remedies }
    }

    pub fn acts(&self) -> Vec<Remedy> {
        self.inside.lock().unwrap().acts.clone()
    }

    /// Time that was let pass.
    pub fn waited(&self) -> Duration {
        self.inside.lock().unwrap().now
    }
}

fn sample(name: &str, labels: &[(&str, &str)], value: f64) -> Sample {
    let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    Sample { name: name.to_owned(), labels, value }
}

fn gateway_samples(world: &World, now: f64) -> Vec<Sample> {
    let mut all = vec![
        sample("dsctl_gateway_config_last_reload_successful", &[], world.config_reloaded),
        sample("dsctl_audit_failing", &[], world.audit_failing),
        sample("dsctl_audit_records_dropped_total", &[], world.audit_dropped * now),
    ];
    for (variant, outcome, rate) in &world.attempts {
        let labels = [("variant", *variant), ("outcome", *outcome)];
        all.push(sample("dsctl_gateway_requests_total", &labels, rate * now));
    }
    for (variant, status, rate) in &world.answers {
        let labels = [("variant", *variant), ("status", *status)];
        all.push(sample("dsctl_gateway_answers_total", &labels, rate * now));
    }
    all.extend(buckets("dsctl_gateway_time_to_first_token_seconds_bucket", &world.first_token, now));
    all.extend(buckets("dsctl_gateway_request_duration_seconds_bucket", &world.duration, now));
    all
}

/// A histogram that took in one request a second.
fn buckets(name: &str, seconds: &BTreeMap<&'static str, f64>, now: f64) -> Vec<Sample> {
    let bounds = [("1", 1.0), ("15", 15.0), ("40", 40.0), ("+Inf", f64::INFINITY)];
    let of_variant = |(variant, seconds): (&&'static str, &f64)| {
        bounds.map(|(le, bound)| {
            let count = if *seconds <= bound { now } else { 0.0 };
            sample(name, &[("variant", *variant), ("le", le)], count)
        })
    };
    seconds.iter().flat_map(of_variant).collect()
}

fn daemon_samples(world: &World, now: f64) -> Vec<Sample> {
    let model = ("model_name", "m");
    let mut all = vec![
        sample("vllm:num_requests_running", &[model], world.running),
        sample("vllm:num_requests_waiting", &[model], world.waiting),
        sample("vllm:kv_cache_usage_perc", &[model], world.cache_usage),
        sample("vllm:generation_tokens_total", &[model], world.tokens_per_second * now),
    ];
    for (reason, rate) in &world.ended {
        all.push(sample("vllm:request_success_total", &[model, ("finished_reason", *reason)], rate * now));
    }
    all
}

#[async_trait]
impl Probe for Fake {
    async fn status(&self) -> Result<StatusSeen, ProbeError> {
        let inside = self.inside.lock().unwrap();
        let weights = PhaseSeen { state: inside.world.weights_phase, detail: "as it was set".to_owned() };
        Ok(StatusSeen {
            units: inside.world.units.clone(),
            phases: [(Phase::Weights, weights)].into(),
            logs: [(Unit::Dsserve, vec![inside.world.daemon_said.to_owned()])].into(),
        })
    }

    async fn scrape(&self, source: MetricSource) -> Result<Vec<Sample>, ProbeError> {
        let inside = self.inside.lock().unwrap();
        if !inside.world.is_scrapeable {
            return Err(ProbeError::new("connection refused"));
        }
        Ok(match source {
            MetricSource::Gateway => gateway_samples(&inside.world, inside.now.as_secs_f64()),
            MetricSource::Daemon => daemon_samples(&inside.world, inside.now.as_secs_f64()),
        })
    }

    async fn free_space(&self) -> Result<u64, ProbeError> {
        Ok(self.inside.lock().unwrap().world.free_space)
    }

    async fn rollout(&self) -> Result<Option<RolloutReport>, ProbeError> {
        let rollout = self.inside.lock().unwrap().world.rollout;
        Ok(rollout.map(|(phase, verdict)| RolloutReport {
            id: "r1".to_owned(),
            spec: RolloutSpec::default(),
            phase,
            stage: 0,
            weight: RolloutSpec::default().stages[0],
            started_at: Timestamp::UNIX_EPOCH,
            stage_since: Timestamp::UNIX_EPOCH,
            ended_at: None,
            step_backs: 0,
            awaits_approval: None,
            gates: Vec::new(),
            verdict,
            reason: "as it was set".to_owned(),
        }))
    }

    async fn weights(&self) -> Result<WeightsSeen, ProbeError> {
        Ok(self.inside.lock().unwrap().world.weights.clone())
    }

    async fn act(&self, remedy: &Remedy) -> Result<String, ProbeError> {
        let mut inside = self.inside.lock().unwrap();
        inside.acts.push(*remedy);
        match self.remedies {
            Remedies::Help => inside.world.heal(remedy),
            Remedies::DoNothing => {}
            Remedies::Fail => return Err(ProbeError::new("it was refused")),
        }
        Ok(format!("did: {remedy}"))
    }

    async fn wait(&self, time: Duration) {
        self.inside.lock().unwrap().now += time;
    }
}
