//! What a stage has shown so far: exact counts per gate, and streaks. Pure.
//!
//! Everything a decision needs is in here and is journalled as it is, so that a resumed controller knows what the one
//! before it knew.

use serde::{Deserialize, Serialize};
use spec::id::Variant;
use spec::rollout::{Gate, Sli};

use crate::ports::{Observation, Outcome};
use crate::scrape;
use crate::statistics::Spread;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Generation of the route table that put the stage's weight in force: what an older one sent is not of this stage.
    pub since_generation: u64,
    pub candidate: Counts,
    pub baseline: Counts,
    pub probe: ProbeStreak,
    /// One a gate, in the spec's order; only those of scrape gates are used.
    pub readings: Vec<Readings>,
}

/// One variant's counted answers of the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub counted: u64,
    /// Answers that speak against a gate, one number a gate, in the spec's order.
    pub bad: Vec<u64>,
    pub failures_in_a_row: u32,
    pub first_tokens: Spread,
    pub durations: Spread,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStreak {
    pub failures_in_a_row: u32,
    /// Why the last probe failed.
    pub last_failure: Option<String>,
}

/// What a scrape gate has read in the stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    pub count: u64,
    /// Ticks in a row that read a value which is not below the threshold.
    pub bad_in_a_row: u32,
    /// What the last tick read; none if it could not.
    pub last: Option<f64>,
    /// Why the last tick read nothing.
    pub trouble: Option<String>,
}

impl Evidence {
    /// Of a stage that begins with a generation.
    pub fn new(gates: &[Gate], since_generation: u64) -> Self {
        Self {
            since_generation,
            candidate: Counts::new(gates),
            baseline: Counts::new(gates),
            probe: ProbeStreak::default(),
            readings: vec![Readings::default(); gates.len()],
        }
    }

    /// The next stage begins with nothing but how the candidate's probes went: they don't depend on its weight.
    pub fn next_stage(&self, gates: &[Gate], since_generation: u64) -> Self {
        Self { probe: self.probe.clone(), ..Self::new(gates, since_generation) }
    }

    /// Only what this stage's table or a later one sent counts, and of that only what says something about a variant.
    pub fn add(&mut self, gates: &[Gate], seen: &Observation) {
        if !seen.outcome.is_counted() || seen.generation < self.since_generation {
            return;
        }
        match seen.variant {
            Variant::Candidate => self.candidate.add(gates, seen),
            Variant::Baseline => self.baseline.add(gates, seen),
        }
    }

    pub fn add_probe(&mut self, result: Result<(), String>) {
        self.probe = match result {
            Ok(()) => ProbeStreak::default(),
            Err(failure) => ProbeStreak {
                failures_in_a_row: self.probe.failures_in_a_row.saturating_add(1),
                last_failure: Some(failure),
            },
        };
    }

    /// A page of the candidate's metrics, or why there is none.
    pub fn add_scrape(&mut self, gates: &[Gate], page: &Result<String, String>) {
        for (gate, readings) in gates.iter().zip(&mut self.readings) {
            if let Sli::Scrape(name) = &gate.sli {
                let page = page.as_deref().map_err(String::clone);
                readings.add(gate, page.and_then(|page| scrape::sum(page, name).map_err(|error| error.to_string())));
            }
        }
    }
}

impl Counts {
    fn new(gates: &[Gate]) -> Self {
        Self {
            counted: 0,
            bad: vec![0; gates.len()],
            failures_in_a_row: 0,
            first_tokens: Spread::default(),
            durations: Spread::default(),
        }
    }

    fn add(&mut self, gates: &[Gate], seen: &Observation) {
        self.counted += 1;
        for (gate, bad) in gates.iter().zip(&mut self.bad) {
            *bad += u64::from(is_bad(gate, seen));
        }
        self.failures_in_a_row = if seen.outcome.is_failure() { self.failures_in_a_row.saturating_add(1) } else { 0 };
        self.first_tokens.add(seen.time_to_first_token);
        self.durations.add(seen.time_to_first_token.map(|_| seen.duration));
    }
}

impl Readings {
    fn add(&mut self, gate: &Gate, value: Result<f64, String>) {
        match value {
            Ok(value) => {
                self.count += 1;
                self.bad_in_a_row = if value < gate.threshold { 0 } else { self.bad_in_a_row.saturating_add(1) };
                (self.last, self.trouble) = (Some(value), None);
            }
            // A streak is of readings: what can't be read ends it, and holds.
            Err(trouble) => {
                self.bad_in_a_row = 0;
                (self.last, self.trouble) = (None, Some(trouble));
            }
        }
    }
}

/// Whether one counted answer speaks against a gate. An attempt without a byte took longer than any threshold.
fn is_bad(gate: &Gate, seen: &Observation) -> bool {
    let is_above = |time: Option<std::time::Duration>| time.is_none_or(|time| time.as_secs_f64() > gate.threshold);
    match &gate.sli {
        Sli::ErrorRatio => seen.outcome.is_failure(),
        Sli::TruncatedRatio => seen.outcome == Outcome::Truncated,
        Sli::TimeToFirstToken(_) => is_above(seen.time_to_first_token),
        Sli::Latency(_) => is_above(seen.time_to_first_token.map(|_| seen.duration)),
        Sli::Scrape(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn gates() -> Vec<Gate> {
        ["error_ratio<5%", "truncated_ratio<1%", "ttft_p95<1s", "latency_p50<2s", "scrape:waiting<10"]
            .map(|text| text.parse().unwrap())
            .to_vec()
    }

    fn seen(outcome: Outcome, first_token: Option<u64>, duration: u64) -> Observation {
        Observation {
            variant: Variant::Candidate,
            outcome,
            time_to_first_token: first_token.map(Duration::from_millis),
            duration: Duration::from_millis(duration),
            generation: 5,
        }
    }

    #[test]
    fn each_gate_counts_what_speaks_against_it() {
        for (observation, bad) in [
            (seen(Outcome::Ok, Some(10), 20), [0, 0, 0, 0, 0]),
            (seen(Outcome::Ok, Some(1_000), 2_000), [0, 0, 0, 0, 0]),
            (seen(Outcome::Ok, Some(1_001), 2_001), [0, 0, 1, 1, 0]),
            (seen(Outcome::Truncated, Some(10), 20), [1, 1, 0, 0, 0]),
            (seen(Outcome::UpstreamError, None, 1), [1, 0, 1, 1, 0]),
        ] {
            let mut evidence = Evidence::new(&gates(), 5);
            evidence.add(&gates(), &observation);
            assert_eq!((evidence.candidate.counted, &evidence.candidate.bad[..]), (1, &bad[..]), "{observation:?}");
        }
    }

    #[test]
    fn a_streak_of_failures_ends_with_an_answer_only() {
        let mut evidence = Evidence::new(&gates(), 5);
        for (outcome, streak) in [
            (Outcome::UpstreamError, 1),
            (Outcome::ClientAbort, 1),
            (Outcome::ClientError, 1),
            (Outcome::Truncated, 2),
            (Outcome::Ok, 0),
        ] {
            evidence.add(&gates(), &seen(outcome, Some(1), 1));
            assert_eq!(evidence.candidate.failures_in_a_row, streak, "{outcome:?}");
        }
    }

    #[test]
    fn probes_and_scrapes_keep_streaks() {
        let mut evidence = Evidence::new(&gates(), 5);
        evidence.add_probe(Err("refused".to_owned()));
        evidence.add_probe(Err("refused again".to_owned()));
        let streak = ProbeStreak { failures_in_a_row: 2, last_failure: Some("refused again".to_owned()) };
        assert_eq!(evidence.probe, streak);
        assert_eq!(evidence.next_stage(&gates(), 6).probe, streak);
        evidence.add_probe(Ok(()));
        assert_eq!(evidence.probe, ProbeStreak::default());

        for (page, bad_in_a_row, last) in [
            (Ok("waiting 10"), 1, Some(10.0)),
            (Ok("waiting{a=\"b\"} 6\nwaiting 6"), 2, Some(12.0)),
            (Ok("other 1"), 0, None),
            (Ok("waiting 99"), 1, Some(99.0)),
            (Err("refused"), 0, None),
            (Ok("waiting 9"), 0, Some(9.0)),
        ] {
            evidence.add_scrape(&gates(), &page.map(str::to_owned).map_err(str::to_owned));
            let readings = &evidence.readings[4];
            assert_eq!((readings.bad_in_a_row, readings.last), (bad_in_a_row, last), "{page:?}");
            assert_eq!(readings.trouble.is_none(), last.is_some());
        }
        assert_eq!(evidence.readings[4].count, 4);
    }

    fn any_observation() -> impl Strategy<Value = Observation> {
        let outcome = prop::sample::select(vec![
            Outcome::Ok,
            Outcome::ClientError,
            Outcome::UpstreamError,
            Outcome::Truncated,
            Outcome::ClientAbort,
        ]);
        (outcome, prop::option::of(0u64..3_000), 0u64..5_000, 0u64..10, prop::bool::ANY).prop_map(
            |(outcome, first_token, duration, generation, candidate)| Observation {
                variant: if candidate { Variant::Candidate } else { Variant::Baseline },
                generation,
                ..seen(outcome, first_token, duration)
            },
        )
    }

    proptest! {
        #[test]
        fn counts_are_exact_and_of_this_stage_only(all in prop::collection::vec(any_observation(), 0..200)) {
            let mut evidence = Evidence::new(&gates(), 5);
            all.iter().for_each(|observation| evidence.add(&gates(), observation));
            let count = |variant, test: fn(&Observation) -> bool| {
                all.iter().filter(|o| o.variant == variant && o.generation >= 5 && o.outcome.is_counted() && test(o)).count() as u64
            };
            prop_assert_eq!(evidence.candidate.counted, count(Variant::Candidate, |_| true));
            prop_assert_eq!(evidence.baseline.counted, count(Variant::Baseline, |_| true));
            prop_assert_eq!(evidence.candidate.bad[0], count(Variant::Candidate, |o| o.outcome.is_failure()));
            prop_assert_eq!(evidence.candidate.bad[2], count(Variant::Candidate, |o| {
                o.time_to_first_token.is_none_or(|time| time > Duration::from_secs(1))
            }));
        }

        #[test]
        fn evidence_survives_being_written(all in prop::collection::vec(any_observation(), 0..50)) {
            let mut evidence = Evidence::new(&gates(), 5);
            all.iter().for_each(|observation| evidence.add(&gates(), observation));
            evidence.add_probe(Err("refused".to_owned()));
            evidence.add_scrape(&gates(), &Ok("waiting 1.5".to_owned()));
            let written = serde_json::to_vec(&evidence).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Evidence>(&written).unwrap(), evidence);
        }
    }
}
