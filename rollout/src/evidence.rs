//! What a stage has shown so far: exact counts per gate, and streaks. Pure.
//!
//! Everything a decision needs is in here and is journalled as it is, so that a resumed controller knows what the one
//! before it knew.

use serde::{Deserialize, Serialize};
use spec::id::Variant;
use spec::rollout::{Fault, Gate, Measure, Sli};

use crate::ports::{Observation, Outcome};
use crate::scrape;
use crate::statistics::Spread;
use crate::statistics::log_mean::LogTimes;
use crate::tally::Tallies;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Generation of the route table that put the stage's weight in force: what an older one sent is not of this stage.
    pub since_generation: u64,
    /// That of the rollout's first stage; none while there was none yet, and in journals that did not note it.
    #[serde(default)]
    pub first_generation: Option<u64>,
    pub candidate: Counts,
    pub baseline: Counts,
    pub probe: ProbeStreak,
    /// One a gate, in the spec's order; only those of scrape gates are used.
    pub readings: Vec<Readings>,
    /// Of all stages so far; journals from before there were comparisons have none.
    #[serde(default)]
    pub tallies: Tallies,
}

/// One variant's counted answers of the stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub counted: u64,
    /// What counts for one gate, and against it, and for no other, one number a gate: clients that left after they had
    /// waited longer than the gate allows (without them clients with time-outs would hide exactly the slow answers), and
    /// what a guard blocked, for a gate on that.
    #[serde(default, alias = "left_waiting")]
    pub only_for: Vec<u64>,
    /// Counted answers that don't say what a gate measures, one number a gate.
    #[serde(default)]
    pub unmeasured: Vec<u64>,
    /// Answers that speak against a gate, those of clients that left included, one number a gate, in the spec's order.
    pub bad: Vec<u64>,
    pub failures_in_a_row: u32,
    pub first_tokens: Spread,
    pub durations: Spread,
    #[serde(default)]
    pub token_times: Spread,
    #[serde(default)]
    pub costs: Spread,
    /// Of good answers: one that fails at once is not fast.
    #[serde(default)]
    pub first_token_times: LogTimes,
    #[serde(default)]
    pub duration_times: LogTimes,
    #[serde(default)]
    pub typical_token_time: LogTimes,
    #[serde(default)]
    pub typical_cost: LogTimes,
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
            first_generation: None,
            candidate: Counts::new(gates),
            baseline: Counts::new(gates),
            probe: ProbeStreak::default(),
            readings: vec![Readings::default(); gates.len()],
            tallies: Tallies::default(),
        }
    }

    /// The next stage begins with nothing but how the candidate's probes went, which doesn't depend on its weight, and the
    /// tallies that comparisons are made of.
    pub fn next_stage(&self, gates: &[Gate], since_generation: u64) -> Self {
        let first_generation = self.first_generation.or(Some(since_generation));
        let (probe, tallies) = (self.probe.clone(), self.tallies.clone());
        Self { probe, first_generation, tallies, ..Self::new(gates, since_generation) }
    }

    /// A stage that was gone back to begins with nothing: what the weight that was left had is not held against it, neither
    /// what was tallied nor what still runs and fails.
    pub fn step_back(&self, gates: &[Gate], since_generation: u64) -> Self {
        Self {
            probe: self.probe.clone(),
            first_generation: Some(since_generation),
            ..Self::new(gates, since_generation)
        }
    }

    /// What this stage's table or a later one sent counts, and of that what says something about a variant; and what an
    /// earlier stage sent, if it failed only now.
    pub fn add(&mut self, gates: &[Gate], seen: &Observation) {
        if !seen.is_fallback {
            self.tallies.add(seen);
        }
        if seen.is_fallback || !(seen.generation >= self.since_generation || self.is_late_failure(seen)) {
            return;
        }
        let counts = match seen.variant {
            Variant::Candidate => &mut self.candidate,
            Variant::Baseline => &mut self.baseline,
        };
        match seen.outcome {
            Outcome::Ok | Outcome::UpstreamError | Outcome::Truncated => counts.add(gates, seen),
            Outcome::ClientAbort => counts.add_left(gates, seen),
            Outcome::Blocked => counts.add_blocked(gates),
            Outcome::ClientError => {}
        }
    }

    /// What an earlier stage of this rollout sent and failed only now: left out, long requests would fail unseen. Late
    /// successes stay out, so that a stage is never promoted by what another one sent.
    fn is_late_failure(&self, seen: &Observation) -> bool {
        seen.outcome.is_failure() && self.first_generation.is_some_and(|first| seen.generation >= first)
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
            only_for: vec![0; gates.len()],
            unmeasured: vec![0; gates.len()],
            bad: vec![0; gates.len()],
            failures_in_a_row: 0,
            first_tokens: Spread::default(),
            durations: Spread::default(),
            token_times: Spread::default(),
            costs: Spread::default(),
            first_token_times: LogTimes::default(),
            duration_times: LogTimes::default(),
            typical_token_time: LogTimes::default(),
            typical_cost: LogTimes::default(),
        }
    }

    /// Answers that count for a gate, by its place in the spec.
    pub fn counted_for(&self, gate: usize) -> u64 {
        let of = |counts: &[u64]| counts.get(gate).copied().unwrap_or_default();
        (self.counted + of(&self.only_for)).saturating_sub(of(&self.unmeasured))
    }

    /// How a measure's values are spread, those of failed answers included.
    pub const fn spread(&self, measure: Measure) -> &Spread {
        match measure {
            Measure::FirstToken => &self.first_tokens,
            Measure::Latency => &self.durations,
            Measure::PerToken => &self.token_times,
            Measure::Cost => &self.costs,
        }
    }

    /// A measure's logarithms, of good answers.
    pub const fn typical(&self, measure: Measure) -> &LogTimes {
        match measure {
            Measure::FirstToken => &self.first_token_times,
            Measure::Latency => &self.duration_times,
            Measure::PerToken => &self.typical_token_time,
            Measure::Cost => &self.typical_cost,
        }
    }

    const fn of_measure(&mut self, measure: Measure) -> (&mut Spread, &mut LogTimes) {
        match measure {
            Measure::FirstToken => (&mut self.first_tokens, &mut self.first_token_times),
            Measure::Latency => (&mut self.durations, &mut self.duration_times),
            Measure::PerToken => (&mut self.token_times, &mut self.typical_token_time),
            Measure::Cost => (&mut self.costs, &mut self.typical_cost),
        }
    }

    /// Journals from before there were such numbers have none.
    fn make_room(&mut self, gates: &[Gate]) {
        self.only_for.resize(gates.len(), 0);
        self.unmeasured.resize(gates.len(), 0);
    }

    fn add(&mut self, gates: &[Gate], seen: &Observation) {
        self.counted += 1;
        self.make_room(gates);
        for ((gate, bad), unmeasured) in gates.iter().zip(&mut self.bad).zip(&mut self.unmeasured) {
            match is_bad(gate, seen) {
                Some(is_bad) => *bad += u64::from(is_bad),
                None => *unmeasured += 1,
            }
        }
        self.failures_in_a_row = if seen.outcome.is_failure() { self.failures_in_a_row.saturating_add(1) } else { 0 };
        Measure::ALL.into_iter().for_each(|measure| self.add_measure(measure, seen));
    }

    fn add_measure(&mut self, measure: Measure, seen: &Observation) {
        let value = value(measure, seen);
        let (spread, typical) = self.of_measure(measure);
        match value {
            Some(value) => spread.add(Some(value)),
            None if is_slow_without(measure) => spread.add(None),
            None => {}
        }
        if let (Outcome::Ok, Some(value)) = (seen.outcome, value) {
            typical.add(value);
        }
    }

    /// An answer that a guard ended.
    fn add_blocked(&mut self, gates: &[Gate]) {
        self.make_room(gates);
        for ((gate, bad), only_for) in gates.iter().zip(&mut self.bad).zip(&mut self.only_for) {
            let counts = u64::from(gate.sli == Sli::Ratio(Fault::Blocked));
            *bad += counts;
            *only_for += counts;
        }
    }

    /// A client that left without its answer.
    fn add_left(&mut self, gates: &[Gate], seen: &Observation) {
        self.make_room(gates);
        let (mut is_first_token_late, mut is_late) = (false, false);
        for ((gate, bad), left) in gates.iter().zip(&mut self.bad).zip(&mut self.only_for) {
            if seen.duration.as_secs_f64() <= gate.threshold {
                continue;
            }
            match &gate.sli {
                Sli::Quantile(Measure::FirstToken, _) if seen.time_to_first_token.is_none() => {
                    is_first_token_late = true
                }
                Sli::Quantile(Measure::Latency, _) => is_late = true,
                Sli::Quantile(..) | Sli::Ratio(_) | Sli::Typical(_) | Sli::Scrape(_) => continue,
            }
            *bad += 1;
            *left += 1;
        }
        if is_first_token_late {
            self.first_tokens.add(None);
        }
        if is_late {
            self.durations.add(None);
        }
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

/// Whether one counted answer speaks against a gate; none if it doesn't say what the gate measures. An attempt without a
/// byte took longer than any threshold.
fn is_bad(gate: &Gate, seen: &Observation) -> Option<bool> {
    match &gate.sli {
        Sli::Ratio(Fault::Failed) => Some(seen.outcome.is_failure()),
        Sli::Ratio(Fault::Truncated) => Some(seen.outcome == Outcome::Truncated),
        Sli::Ratio(Fault::Blocked) => Some(seen.outcome == Outcome::Blocked),
        Sli::Ratio(Fault::Refused) => Some(seen.is_refused),
        Sli::Quantile(measure, _) => match value(*measure, seen) {
            Some(value) => Some(value > gate.threshold),
            None => is_slow_without(*measure).then_some(true),
        },
        Sli::Typical(_) | Sli::Scrape(_) => Some(false),
    }
}

/// Seconds or dollars.
fn value(measure: Measure, seen: &Observation) -> Option<f64> {
    match measure {
        Measure::FirstToken => seen.time_to_first_token.map(|time| time.as_secs_f64()),
        Measure::Latency => seen.time_to_first_token.map(|_| seen.duration.as_secs_f64()),
        Measure::PerToken => seen.time_per_token(),
        Measure::Cost => seen.dollars,
    }
}

/// Whether an answer without a value is one above all values; else it says nothing.
const fn is_slow_without(measure: Measure) -> bool {
    match measure {
        Measure::FirstToken | Measure::Latency => true,
        Measure::PerToken | Measure::Cost => false,
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
            time_to_first_token: first_token.map(Duration::from_millis),
            duration: Duration::from_millis(duration),
            ..Observation::bare(Variant::Candidate, outcome, 5)
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
    fn who_left_after_a_gates_time_counts_for_that_gate_and_no_other() {
        for (first_token, duration, left) in [
            (None, 1_000, [0, 0, 0, 0, 0]),
            (None, 1_001, [0, 0, 1, 0, 0]),
            (None, 2_001, [0, 0, 1, 1, 0]),
            (Some(10), 1_500, [0, 0, 0, 0, 0]),
            (Some(1_500), 2_000, [0, 0, 0, 0, 0]),
            (Some(10), 2_001, [0, 0, 0, 1, 0]),
            (Some(10), 99_000, [0, 0, 0, 1, 0]),
        ] {
            let mut evidence = Evidence::new(&gates(), 5);
            evidence.add(&gates(), &seen(Outcome::Ok, Some(10), 20));
            evidence.add(&gates(), &seen(Outcome::ClientAbort, first_token, duration));
            let counts = &evidence.candidate;
            assert_eq!((counts.counted, &counts.only_for[..], &counts.bad[..]), (1, &left[..], &left[..]));
            assert_eq!((0..5).map(|gate| counts.counted_for(gate) - 1).collect::<Vec<_>>(), left, "{duration}");
            assert_eq!(counts.failures_in_a_row, 0);
            assert_eq!(counts.first_tokens.quantile(0.0).is_none(), left[2] == 1, "no estimate hides who left");
            assert_eq!(counts.durations.quantile(0.0).is_none(), left[3] == 1);
        }
    }

    #[test]
    fn a_failure_of_an_earlier_stage_counts_now_and_a_success_does_not() {
        let first_stage = Evidence::new(&gates(), 0).next_stage(&gates(), 5);
        let mut evidence = first_stage.next_stage(&gates(), 7);
        let of = |generation, outcome| Observation { generation, ..seen(outcome, Some(1), 5_000) };
        for (generation, outcome, counted) in [
            (4, Outcome::UpstreamError, 0),
            (4, Outcome::Truncated, 0),
            (5, Outcome::Ok, 0),
            (6, Outcome::Ok, 0),
            (6, Outcome::ClientAbort, 0),
            (5, Outcome::UpstreamError, 1),
            (6, Outcome::Truncated, 2),
            (7, Outcome::Ok, 3),
        ] {
            evidence.add(&gates(), &of(generation, outcome));
            assert_eq!(evidence.candidate.counted, counted, "{generation} {outcome:?}");
        }
        assert_eq!((evidence.candidate.bad[0], evidence.candidate.bad[1]), (2, 1));
        assert_eq!(evidence.next_stage(&gates(), 9).first_generation, Some(5));
    }

    #[test]
    fn what_an_answer_does_not_say_counts_for_no_gate_on_it_and_a_block_only_for_its_own() {
        let gates: Vec<Gate> =
            ["blocked_ratio<1%", "refused_ratio<1%", "tpot_p95<50ms", "cost_p95<$0.01", "error_ratio<1%"]
                .map(|text| text.parse().unwrap())
                .to_vec();
        let mut evidence = Evidence::new(&gates, 5);
        let good = seen(Outcome::Ok, Some(100), 1_100);
        let said = Observation { stream_tokens: Some(11), dollars: Some(0.02), ..good };
        for observation in [
            good,
            said,
            Observation { stream_tokens: Some(101), is_refused: true, ..good },
            Observation { stream_tokens: Some(1), ..good },
            Observation { outcome: Outcome::Truncated, ..said },
            Observation { outcome: Outcome::Blocked, ..said },
        ] {
            evidence.add(&gates, &observation);
        }
        let counts = &evidence.candidate;
        assert_eq!((counts.counted, &counts.bad[..]), (5, &[1, 1, 1, 2, 1][..]));
        assert_eq!((0..5).map(|gate| counts.counted_for(gate)).collect::<Vec<_>>(), [6, 5, 2, 2, 5]);
        assert_eq!((counts.typical(Measure::PerToken).count, counts.typical(Measure::Cost).count), (2, 1));
        assert!((counts.spread(Measure::PerToken).quantile(0.05).unwrap() - 0.1).abs() < 0.002);
    }

    #[test]
    fn fallbacks_say_nothing() {
        let mut evidence = Evidence::new(&gates(), 5);
        for variant in [Variant::Candidate, Variant::Baseline] {
            for outcome in [Outcome::Ok, Outcome::UpstreamError, Outcome::Truncated, Outcome::ClientAbort] {
                let fallback = Observation { is_fallback: true, variant, ..seen(outcome, None, 9_000) };
                evidence.add(&gates(), &fallback);
            }
        }
        assert_eq!(evidence, Evidence::new(&gates(), 5));
    }

    #[test]
    fn evidence_of_an_older_journal_is_read_and_goes_on() {
        let mut written = serde_json::to_value(Evidence::new(&gates(), 5)).unwrap();
        written.as_object_mut().unwrap().remove("first_generation");
        for variant in ["candidate", "baseline"] {
            written[variant].as_object_mut().unwrap().remove("only_for");
        }
        let mut evidence: Evidence = serde_json::from_value(written).unwrap();
        evidence.add(&gates(), &seen(Outcome::ClientAbort, None, 9_000));
        assert_eq!((evidence.candidate.counted_for(0), evidence.candidate.counted_for(2)), (0, 1));
        evidence.add(&gates(), &Observation { generation: 4, ..seen(Outcome::Truncated, None, 1) });
        assert_eq!(evidence.candidate.counted, 0, "whether that was of this rollout is not known");
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
            Outcome::Blocked,
        ]);
        let times = (prop::option::of(0u64..3_000), 0u64..5_000);
        (outcome, times, 0u64..10, prop::bool::ANY, prop::bool::weighted(0.2)).prop_map(
            |(outcome, (first_token, duration), generation, candidate, is_fallback)| Observation {
                variant: if candidate { Variant::Candidate } else { Variant::Baseline },
                generation,
                is_fallback,
                ..seen(outcome, first_token, duration)
            },
        )
    }

    proptest! {
        #[test]
        fn counts_are_exact_and_of_this_rollout_only(all in prop::collection::vec(any_observation(), 0..200)) {
            let mut evidence = Evidence::new(&gates(), 0).next_stage(&gates(), 3).next_stage(&gates(), 5);
            all.iter().for_each(|observation| evidence.add(&gates(), observation));
            let is_of_stage = |o: &Observation| o.generation >= 5 || o.generation >= 3 && o.outcome.is_failure();
            let count = |variant, test: fn(&Observation) -> bool| {
                let of_variant = all.iter().filter(|o| o.variant == variant && !o.is_fallback && is_of_stage(o));
                of_variant.filter(|o| o.outcome.is_counted() && test(o)).count() as u64
            };
            let left = all.iter().filter(|o| {
                let is_left = o.variant == Variant::Candidate && o.outcome == Outcome::ClientAbort && !o.is_fallback;
                is_left && o.generation >= 5 && o.time_to_first_token.is_none() && o.duration > Duration::from_secs(1)
            }).count() as u64;
            prop_assert_eq!(evidence.candidate.counted, count(Variant::Candidate, |_| true));
            prop_assert_eq!(evidence.baseline.counted, count(Variant::Baseline, |_| true));
            prop_assert_eq!(evidence.candidate.bad[0], count(Variant::Candidate, |o| o.outcome.is_failure()));
            prop_assert_eq!(evidence.candidate.bad[2], count(Variant::Candidate, |o| {
                o.time_to_first_token.is_none_or(|time| time > Duration::from_secs(1))
            }) + left);
            prop_assert_eq!(evidence.candidate.counted_for(2), evidence.candidate.counted + left);
        }

        #[test]
        fn evidence_survives_being_written(all in prop::collection::vec(any_observation(), 0..50)) {
            let mut evidence = Evidence::new(&gates(), 5);
            all.iter().for_each(|observation| evidence.add(&gates(), observation));
            evidence.add_probe(Err("refused".to_owned()));
            evidence.add_scrape(&gates(), &Ok("waiting 1.5".to_owned()));
            let written = serde_json::to_vec(&evidence).unwrap();
            let mut read: Evidence = serde_json::from_slice(&written).unwrap();
            // Decimal texts may change the last bit of a mean, which decides nothing.
            for (read, written) in [(&mut read.candidate, &evidence.candidate), (&mut read.baseline, &evidence.baseline)] {
                prop_assert!(read.duration_times.is_nearly(&written.duration_times));
                prop_assert!(read.first_token_times.is_nearly(&written.first_token_times));
                prop_assert!(read.typical_cost.is_nearly(&written.typical_cost));
                prop_assert!(read.typical_token_time.is_nearly(&written.typical_token_time));
                (read.duration_times, read.first_token_times) = (written.duration_times, written.first_token_times);
                (read.typical_cost, read.typical_token_time) = (written.typical_cost, written.typical_token_time);
            }
            prop_assert_eq!(read, evidence);
        }
    }
}
