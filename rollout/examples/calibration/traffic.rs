//! Seeded traffic of a rollout: who answered, whether it failed, how long it took.

use rollout::statistics::chance::Chance;

/// Weights of the three stages that have both variants, each for a third of the requests.
pub const WEIGHTS: [f64; 3] = [0.1, 0.3, 0.6];
pub const LOOKS: u64 = 60;
const MEDIAN_SECONDS: f64 = 0.5;
const LOG_DEVIATION: f64 = 0.6;

#[derive(Debug, Clone, Copy)]
pub struct Scene {
    pub name: &'static str,
    pub candidate_errors: f64,
    pub baseline_errors: f64,
    /// The share of errors that the gates allow.
    pub slo: f64,
    /// How many times as long as the baseline the candidate takes.
    pub slowdown: f64,
    pub requests_per_look: u64,
    pub drift: Drift,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    None,
    /// Errors of both swing between none and twice as many, times by a tenth.
    Swings,
}

#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub stage: usize,
    pub is_candidate: bool,
    pub is_failed: bool,
    pub seconds: f64,
}

impl Scene {
    /// Both variants alike.
    pub const fn healthy(name: &'static str, errors: f64, requests_per_look: u64) -> Self {
        Self {
            name,
            candidate_errors: errors,
            baseline_errors: errors,
            slo: 2.0 * errors,
            slowdown: 1.0,
            requests_per_look,
            drift: Drift::None,
        }
    }

    /// A baseline with 0.5% errors, of which 1% are allowed.
    pub const fn ill(name: &'static str, candidate_errors: f64, slowdown: f64, requests_per_look: u64) -> Self {
        Self { candidate_errors, slowdown, ..Self::healthy(name, 0.005, requests_per_look) }
    }

    /// As bad beside the baseline as gates beside it allow; an absolute gate on times may well mind.
    pub const fn at_the_bounds(name: &'static str, requests_per_look: u64) -> Self {
        Self { candidate_errors: 0.03, slowdown: 1.2, ..Self::healthy(name, 0.02, requests_per_look) }
    }

    pub const fn drifting(self) -> Self {
        Self { drift: Drift::Swings, ..self }
    }

    pub fn answer(&self, request: u64, chance: &mut Chance) -> Answer {
        let progress = request as f64 / (LOOKS * self.requests_per_look) as f64;
        let stage = ((progress * WEIGHTS.len() as f64) as usize).min(WEIGHTS.len() - 1);
        let swing = if self.drift == Drift::Swings { (progress * 20.0).sin() } else { 0.0 };
        let is_candidate = chance.is(WEIGHTS[stage]);
        let (errors, slowdown) =
            if is_candidate { (self.candidate_errors, self.slowdown) } else { (self.baseline_errors, 1.0) };
        let is_failed = chance.is(errors * (1.0 + swing));
        let seconds = MEDIAN_SECONDS * slowdown * (1.0 + 0.1 * swing) * (LOG_DEVIATION * chance.normal()).exp();
        Answer { stage, is_candidate, is_failed, seconds }
    }
}
