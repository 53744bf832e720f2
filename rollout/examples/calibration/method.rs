//! The methods that are compared: each sees every answer, and is asked now and then whether it would roll back.

use std::time::Duration;

use jiff::Timestamp;
use rollout::decide::{Situation, decide};
use rollout::evidence::Evidence;
use rollout::machine::Position;
use rollout::ports::{Observation, Outcome};
use rollout::statistics::comparison::{Tally, ln_evidence_above};
use rollout::statistics::log_mean::{LogTimes, slowdown};
use spec::id::Variant;
use spec::rollout::{Against, Fault, Gate, Measure, Quantile, RolloutSpec, Sli, Verdict};

use super::traffic::{Answer, Scene, WEIGHTS};

pub const ALPHA: f64 = 0.01;
const SLOW_SECONDS: f64 = 1.5;
const SLOW_ALLOWED: f64 = 0.05;
/// How many times as many errors the comparison lets the candidate have.
const RATIO_ALLOWED: f64 = 1.5;
/// What the gate on times beside the baseline allows.
const SLOWDOWN_ALLOWED: f64 = 1.2;
/// Two-sided 98%, the level of Kayenta's judge.
const MANN_WHITNEY_LIMIT: f64 = 2.326;

pub trait Method {
    fn see(&mut self, answer: &Answer);
    /// Whether to roll back, by what was seen.
    fn look(&mut self) -> bool;
}

/// All of them, in the order of the table's columns.
pub fn all(scene: &Scene) -> Vec<Box<dyn Method>> {
    vec![
        Box::new(Gates::new(scene)),
        Box::new(Gates::beside()),
        Box::new(Comparison::default()),
        Box::new(Slowdown::default()),
        Box::new(Threshold::new(scene, 0)),
        Box::new(Threshold::new(scene, 5)),
        Box::new(MannWhitney::default()),
    ]
}

/// What the controller does: `decide()` with a gate on errors and one on times.
struct Gates {
    spec: RolloutSpec,
    evidence: Evidence,
    stage: usize,
}

impl Gates {
    fn new(scene: &Scene) -> Self {
        Self::of(vec![
            Gate::slo(Sli::Ratio(Fault::Failed), scene.slo),
            Gate::slo(Sli::Quantile(Measure::FirstToken, Quantile::P95), SLOW_SECONDS),
        ])
    }

    /// The same beside the baseline: failures at most 1.5 times as often, times at most 1.2 times as long.
    fn beside() -> Self {
        let gate = |sli, threshold| Gate { against: Against::Baseline, ..Gate::slo(sli, threshold) };
        Self::of(vec![
            gate(Sli::Ratio(Fault::Failed), RATIO_ALLOWED),
            gate(Sli::Typical(Measure::FirstToken), SLOWDOWN_ALLOWED),
        ])
    }

    fn of(gates: Vec<Gate>) -> Self {
        let spec = RolloutSpec { gates, alpha: ALPHA, ..RolloutSpec::default() };
        let mut evidence = Evidence::new(&spec.gates, 1);
        evidence.tallies.begin(1, spec.stages[0]);
        Self { evidence, spec, stage: 0 }
    }
}

impl Method for Gates {
    fn see(&mut self, answer: &Answer) {
        let generation = answer.stage as u64 + 1;
        if answer.stage != self.stage {
            self.stage = answer.stage;
            self.evidence = self.evidence.next_stage(&self.spec.gates, generation);
            self.evidence.tallies.begin(generation, self.spec.stages[answer.stage]);
        }
        let duration = Duration::from_secs_f64(answer.seconds);
        let variant = if answer.is_candidate { Variant::Candidate } else { Variant::Baseline };
        let outcome = if answer.is_failed { Outcome::Truncated } else { Outcome::Ok };
        let bare = Observation::bare(variant, outcome, generation);
        let seen = Observation { time_to_first_token: Some(duration), duration, ..bare };
        self.evidence.add(&self.spec.gates, &seen);
    }

    fn look(&mut self) -> bool {
        let (position, now) = (Position::first(self.stage), Timestamp::UNIX_EPOCH);
        let Self { spec, evidence, .. } = self;
        let (stage_since, waiting_since, step_backs, is_approved) = (now, now, 0, false);
        decide(&Situation { spec, position, stage_since, waiting_since, step_backs, is_approved, evidence, now })
            .verdict
            == Verdict::RollBack
    }
}

/// Failures of the candidate beside the baseline's, carried through the stages.
#[derive(Default)]
struct Comparison([(u64, u64); 3]);

impl Method for Comparison {
    fn see(&mut self, answer: &Answer) {
        let (candidate, baseline) = &mut self.0[answer.stage];
        *(if answer.is_candidate { candidate } else { baseline }) += u64::from(answer.is_failed);
    }

    fn look(&mut self) -> bool {
        let tally = |(weight, (candidate, baseline)): (f64, &(u64, u64))| Tally {
            weight,
            candidate: *candidate,
            baseline: *baseline,
        };
        let tallies: Vec<Tally> = WEIGHTS.into_iter().zip(&self.0).map(tally).collect();
        ln_evidence_above(RATIO_ALLOWED, &tallies) >= -ALPHA.ln()
    }
}

/// Mean logarithms of times, candidate beside baseline.
#[derive(Default)]
struct Slowdown {
    candidate: LogTimes,
    baseline: LogTimes,
}

impl Method for Slowdown {
    fn see(&mut self, answer: &Answer) {
        let times = if answer.is_candidate { &mut self.candidate } else { &mut self.baseline };
        times.add(answer.seconds);
    }

    fn look(&mut self) -> bool {
        slowdown(&self.candidate, &self.baseline, ALPHA).is_some_and(|ratio| ratio.low > 1.0)
    }
}

/// A fixed threshold on each window, and how many windows over it are forgiven.
struct Threshold {
    slo: f64,
    forgiven: u32,
    windows_over: u32,
    window: (u64, u64, u64),
}

impl Threshold {
    const fn new(scene: &Scene, forgiven: u32) -> Self {
        Self { slo: scene.slo, forgiven, windows_over: 0, window: (0, 0, 0) }
    }
}

impl Method for Threshold {
    fn see(&mut self, answer: &Answer) {
        if answer.is_candidate {
            self.window.0 += 1;
            self.window.1 += u64::from(answer.is_failed);
            self.window.2 += u64::from(answer.seconds > SLOW_SECONDS);
        }
    }

    fn look(&mut self) -> bool {
        let (total, failed, slow) = std::mem::take(&mut self.window);
        let is_over = failed as f64 > self.slo * total as f64 || slow as f64 > SLOW_ALLOWED * total as f64;
        self.windows_over += u32::from(is_over);
        self.windows_over > self.forgiven
    }
}

/// The rank test of times over all so far, asked again at each look.
#[derive(Default)]
struct MannWhitney {
    times: Vec<(f64, bool)>,
}

impl Method for MannWhitney {
    fn see(&mut self, answer: &Answer) {
        self.times.push((answer.seconds, answer.is_candidate));
    }

    fn look(&mut self) -> bool {
        // Almost in order since the last look, which this sort makes use of.
        self.times.sort_by(|one, other| one.0.total_cmp(&other.0));
        let of_candidate = self.times.iter().enumerate().filter(|(_, (_, is_candidate))| *is_candidate);
        let (count, ranks) =
            of_candidate.fold((0.0, 0.0), |(count, sum), (at, _)| (count + 1.0, sum + at as f64 + 1.0));
        let all = self.times.len() as f64;
        let baseline = all - count;
        let above = ranks - count * (count + 1.0) / 2.0 - count * baseline / 2.0;
        above / (count * baseline * (all + 1.0) / 12.0).sqrt() > MANN_WHITNEY_LIMIT
    }
}
