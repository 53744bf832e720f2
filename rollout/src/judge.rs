//! One gate's verdict from a stage's evidence, with the numbers that led to it. Pure.

use spec::amount::Span;
use spec::rollout::{Against, Fault, Gate, GateReport, Measure, OnFail, RolloutSpec, Sli, Verdict};

use crate::evidence::{Counts, Evidence, Readings};
use crate::statistics::{alpha_of_each, answers_until, answers_until_refuted, ln_evidence, ln_limit, share_interval};

mod beside;

use beside::Beside;

/// Ticks in a row over a scrape gate's threshold that roll back: one reading alone may be a blip.
pub(crate) const BAD_READINGS: u32 = 3;

/// All gates, in the spec's order.
pub(crate) fn judge_all(spec: &RolloutSpec, evidence: &Evidence) -> Vec<GateReport> {
    let judge = |(at, gate): (usize, &Gate)| match (gate.against, allowed(gate)) {
        (Against::Baseline, _) => Beside { spec, evidence, gate }.judge(),
        (Against::Slo, Some(allowed)) => Share { spec, evidence, gate, at, allowed }.judge(),
        (Against::Slo, None) => judge_readings(gate, evidence.readings.get(at).unwrap_or(&Readings::default())),
    };
    spec.gates.iter().enumerate().map(judge).map(as_the_gate_says).collect()
}

/// What a gate that failed leads to.
fn as_the_gate_says(mut report: GateReport) -> GateReport {
    match (report.verdict, report.gate.on_fail) {
        (Verdict::RollBack, OnFail::Hold) => {
            report.verdict = Verdict::Hold;
            report.reason.push_str("; it failed, and holds as it should");
        }
        (Verdict::RollBack, OnFail::StepBack) => report.verdict = Verdict::StepBack,
        (Verdict::RollBack, OnFail::Rollback) | (Verdict::Promote | Verdict::Hold | Verdict::StepBack, _) => {}
    }
    report
}

/// A gate's part of the rollout's chance: tests that decide share it; scrapes are none, dry runs do not decide.
pub(crate) fn alpha(spec: &RolloutSpec) -> f64 {
    let is_test = |gate: &&Gate| !gate.dry_run && !matches!(gate.sli, Sli::Scrape(_));
    alpha_of_each(spec.alpha, spec.gates.iter().filter(is_test).count())
}

/// The share of answers that may speak against a gate; none for a gate that isn't about answers.
pub(crate) const fn allowed(gate: &Gate) -> Option<f64> {
    match &gate.sli {
        Sli::Ratio(_) => Some(gate.threshold),
        Sli::Quantile(_, quantile) => Some(quantile.allowed_above()),
        Sli::Typical(_) | Sli::Scrape(_) => None,
    }
}

/// A gate on a share of the answers. A quantile is one: "p95 < 15s" says that at most 5% take longer than 15s.
struct Share<'a> {
    spec: &'a RolloutSpec,
    evidence: &'a Evidence,
    gate: &'a Gate,
    at: usize,
    allowed: f64,
}

impl Share<'_> {
    fn judge(&self) -> GateReport {
        let candidate = &self.evidence.candidate;
        let (total, bad) = (candidate.counted_for(self.at), self.bad(candidate));
        let (verdict, reason) = self.verdict(total, bad);
        let observed = self.observed(candidate);
        GateReport { gate: self.gate.clone(), samples: total, observed, verdict, reason }
    }

    fn verdict(&self, total: u64, bad: u64) -> (Verdict, String) {
        let ln_evidence = ln_evidence(self.allowed, bad, total);
        let ln_limit = ln_limit(alpha(self.spec), self.spec.most_stages());
        let gate = self.gate;
        let seen = format!("{gate}: {}{}", self.counts(total, bad), self.baseline());
        if total == 0 {
            (Verdict::Hold, format!("{gate}: no data{}", self.why_none()))
        } else if ln_evidence >= ln_limit {
            let (evidence, limit) = (e_value(ln_evidence), e_value(ln_limit));
            (Verdict::RollBack, format!("{seen}; the evidence against it is {evidence}, the limit {limit}"))
        } else if total < self.spec.min_requests {
            (Verdict::Hold, format!("{seen}; {total} of {} answers", self.spec.min_requests))
        } else if !self.is_below(total, bad) {
            let ahead = self.ahead(total, bad, ln_limit);
            (Verdict::Hold, format!("{seen}; not below, and not yet enough evidence to roll back; {ahead}"))
        } else {
            (Verdict::Promote, seen)
        }
    }

    /// Answers came, and none of them says what the gate measures.
    fn why_none(&self) -> String {
        let said = match self.gate.sli {
            Sli::Quantile(Measure::PerToken, _) => "is a stream that says its tokens",
            Sli::Quantile(Measure::Cost, _) => "says its tokens, or the candidate has no price",
            Sli::Quantile(..) | Sli::Ratio(_) | Sli::Typical(_) | Sli::Scrape(_) => return String::new(),
        };
        match self.evidence.candidate.counted {
            0 => String::new(),
            answers => format!(": none of {answers} answers {said}"),
        }
    }

    /// How many more answers decide, and what the truth can be by now.
    fn ahead(&self, total: u64, bad: u64, ln_limit: f64) -> String {
        let better = match answers_until(|more| self.is_below(total + more, bad)) {
            Some(1) => "1 more good one passes".to_owned(),
            Some(answers) => format!("{answers} more good ones pass"),
            None => "no number of good ones passes any more".to_owned(),
        };
        let worse = match answers_until_refuted(self.allowed, bad, total, ln_limit) {
            Some(answers) => format!("about {answers} more like these roll back"),
            None => "more like these do not decide".to_owned(),
        };
        let share = share_interval(bad, total, alpha(self.spec));
        let (low, high) = (percent(share.low), percent(share.high));
        format!("{better}, {worse} (the share lies between {low} and {high})")
    }

    fn bad(&self, counts: &Counts) -> u64 {
        counts.bad.get(self.at).copied().unwrap_or_default()
    }

    fn is_below(&self, total: u64, bad: u64) -> bool {
        match &self.gate.sli {
            Sli::Ratio(_) => (bad as f64) < self.allowed * total as f64,
            // At most this share may lie above: that is what makes the quantile no more than the threshold.
            Sli::Quantile(..) => bad as f64 <= self.allowed * total as f64 + 1e-9,
            Sli::Typical(_) | Sli::Scrape(_) => false,
        }
    }

    fn observed(&self, counts: &Counts) -> Option<f64> {
        match &self.gate.sli {
            Sli::Ratio(_) => match counts.counted_for(self.at) {
                0 => None,
                total => Some(self.bad(counts) as f64 / total as f64),
            },
            Sli::Quantile(measure, quantile) => counts.spread(*measure).quantile(quantile.allowed_above()),
            Sli::Typical(_) | Sli::Scrape(_) => None,
        }
    }

    fn counts(&self, total: u64, bad: u64) -> String {
        let share = percent(bad as f64 / total as f64);
        match &self.gate.sli {
            Sli::Ratio(fault) => format!("{bad} of {total} answers {} ({share})", what_is_wrong(*fault)),
            Sli::Quantile(measure, _) => format!(
                "{bad} of {total} answers {} ({share}, {} allowed)",
                what_is_above(*measure, self.gate.threshold),
                percent(self.allowed)
            ),
            Sli::Typical(_) | Sli::Scrape(_) => String::new(),
        }
    }

    fn baseline(&self) -> String {
        let baseline = &self.evidence.baseline;
        match baseline.counted_for(self.at) {
            0 => String::new(),
            total => format!(" (baseline {} of {total})", self.bad(baseline)),
        }
    }
}

const fn what_is_wrong(fault: Fault) -> &'static str {
    match fault {
        Fault::Failed => "failed",
        Fault::Truncated => "were cut short",
        Fault::Blocked => "were blocked by a guard",
        Fault::Refused => "were refused by the upstream's filter",
    }
}

fn what_is_above(measure: Measure, threshold: f64) -> String {
    let span = || Span(std::time::Duration::from_secs_f64(threshold));
    match measure {
        Measure::FirstToken => format!("took longer than {} to their first byte", span()),
        Measure::Latency => format!("took longer than {}", span()),
        Measure::PerToken => format!("took longer than {} a token", span()),
        Measure::Cost => format!("cost more than ${threshold}"),
    }
}

fn judge_readings(gate: &Gate, readings: &Readings) -> GateReport {
    let threshold = gate.threshold;
    let (verdict, reason) = match (readings.last, &readings.trouble) {
        (Some(value), None) if readings.bad_in_a_row >= BAD_READINGS => {
            (Verdict::RollBack, format!("{gate}: {value}, not below in {} readings in a row", readings.bad_in_a_row))
        }
        (Some(value), None) if value < threshold => (Verdict::Promote, format!("{gate}: {value}")),
        (Some(value), None) => {
            let streak = readings.bad_in_a_row;
            (Verdict::Hold, format!("{gate}: {value}, not below in {streak} of {BAD_READINGS} readings in a row"))
        }
        (_, Some(trouble)) => (Verdict::Hold, format!("{gate}: no data: {trouble}")),
        (None, None) => (Verdict::Hold, format!("{gate}: no data: not read yet")),
    };
    let observed = readings.last.filter(|value| value.is_finite());
    GateReport { gate: gate.clone(), samples: readings.count, observed, verdict, reason }
}

fn percent(ratio: f64) -> String {
    let text = format!("{:.1}", ratio * 100.0);
    format!("{}%", text.strip_suffix(".0").unwrap_or(&text))
}

/// Evidence as a number; what is over a million is only that.
fn e_value(ln: f64) -> String {
    let value = ln.exp();
    if value > 1e6 { "over 1000000".to_owned() } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(gate: &str) -> RolloutSpec {
        RolloutSpec { gates: vec![gate.parse().unwrap()], ..RolloutSpec::default() }
    }

    fn judge(gate: &str, total: u64, bad: u64) -> (Verdict, String) {
        let spec = spec(gate);
        let mut evidence = Evidence::new(&spec.gates, 1);
        (evidence.candidate.counted, evidence.candidate.bad) = (total, vec![bad]);
        let report = judge_all(&spec, &evidence).remove(0);
        assert_eq!(report.samples, total);
        (report.verdict, report.reason)
    }

    #[test]
    fn a_share_is_held_until_there_is_enough_and_rolled_back_when_it_is_clear() {
        for (gate, total, bad, verdict, reason) in [
            ("error_ratio<5%", 0, 0, Verdict::Hold, "error_ratio<5%: no data"),
            ("error_ratio<5%", 12, 0, Verdict::Hold, "error_ratio<5%: 0 of 12 answers failed (0%); 12 of 20 answers"),
            ("error_ratio<5%", 20, 0, Verdict::Promote, "error_ratio<5%: 0 of 20 answers failed (0%)"),
            (
                "error_ratio<5%",
                20,
                1,
                Verdict::Hold,
                "error_ratio<5%: 1 of 20 answers failed (5%); not below, and not yet enough evidence to roll back; 1 more good one passes, more like these do not decide (the share lies between 0% and 38.7%)",
            ),
            ("error_ratio<5%", 21, 1, Verdict::Promote, "error_ratio<5%: 1 of 21 answers failed (4.8%)"),
            (
                "ttft_p95<15s",
                20,
                1,
                Verdict::Promote,
                "ttft_p95<15s: 1 of 20 answers took longer than 15s to their first byte (5%, 5% allowed)",
            ),
            (
                "ttft_p99<15s",
                20,
                1,
                Verdict::Hold,
                "ttft_p99<15s: 1 of 20 answers took longer than 15s to their first byte (5%, 1% allowed); not below, and not yet enough evidence to roll back; 80 more good ones pass, about 200 more like these roll back (the share lies between 0% and 38.7%)",
            ),
            (
                "latency_p50<2s",
                20,
                20,
                Verdict::RollBack,
                "latency_p50<2s: 20 of 20 answers took longer than 2s (100%, 50% allowed); the evidence against it is 125819, the limit 400",
            ),
        ] {
            assert_eq!(judge(gate, total, bad), (verdict, reason.to_owned()));
        }
        let (verdict, reason) = judge("error_ratio<5%", 4, 4);
        assert_eq!(verdict, Verdict::RollBack, "{reason}");
        assert!(
            reason.starts_with("error_ratio<5%: 4 of 4 answers failed (100%); the evidence against it is "),
            "{reason}"
        );
    }

    #[test]
    fn a_report_has_the_estimate_and_the_baselines_count() {
        let spec = spec("error_ratio<5%");
        let mut evidence = Evidence::new(&spec.gates, 1);
        (evidence.candidate.counted, evidence.candidate.bad) = (40, vec![1]);
        (evidence.baseline.counted, evidence.baseline.bad) = (180, vec![2]);
        let report = judge_all(&spec, &evidence).remove(0);
        assert_eq!(report.observed, Some(0.025));
        assert_eq!(report.reason, "error_ratio<5%: 1 of 40 answers failed (2.5%) (baseline 2 of 180)");
    }

    #[test]
    fn who_left_waiting_is_in_the_numbers_of_the_gate_on_times_only() {
        let gates = ["error_ratio<5%", "ttft_p95<15s"].map(|gate| gate.parse().unwrap()).to_vec();
        let spec = RolloutSpec { gates, ..RolloutSpec::default() };
        let mut evidence = Evidence::new(&spec.gates, 1);
        (evidence.candidate.counted, evidence.candidate.bad) = (20, vec![0, 10]);
        evidence.candidate.only_for = vec![0, 10];
        let reports = judge_all(&spec, &evidence);
        assert_eq!((reports[0].samples, reports[0].verdict), (20, Verdict::Promote), "{}", reports[0].reason);
        assert_eq!((reports[1].samples, reports[1].verdict), (30, Verdict::RollBack), "{}", reports[1].reason);
        assert!(reports[1].reason.contains("10 of 30 answers took longer than 15s"), "{}", reports[1].reason);
    }

    #[test]
    fn a_gate_whose_measure_no_answer_says_holds_and_says_why() {
        for (gate, reason) in [
            ("tpot_p95<50ms", "tpot_p95<50ms: no data: none of 30 answers is a stream that says its tokens"),
            (
                "cost_p50<$0.01",
                "cost_p50<$0.01: no data: none of 30 answers says its tokens, or the candidate has no price",
            ),
        ] {
            let spec = spec(gate);
            let mut evidence = Evidence::new(&spec.gates, 1);
            (evidence.candidate.counted, evidence.candidate.unmeasured) = (30, vec![30]);
            let report = judge_all(&spec, &evidence).remove(0);
            assert_eq!((report.verdict, report.reason.as_str()), (Verdict::Hold, reason));
        }
        let (verdict, reason) = judge("cost_p50<$0.01", 20, 20);
        assert_eq!(verdict, Verdict::RollBack);
        assert!(reason.contains("20 of 20 answers cost more than $0.01 (100%, 50% allowed)"), "{reason}");
    }

    #[test]
    fn a_gate_that_steps_back_says_so_and_more_tries_need_more_evidence() {
        let (gate, bad) = ("latency_p50<2s", 14);
        assert_eq!(judge(gate, 20, 20).0, Verdict::RollBack);
        assert_eq!(judge(&format!("{gate} on_fail=step_back"), 20, 20).0, Verdict::StepBack);
        let needed = |gate: &str| {
            (1..100)
                .find(|bad| judge(gate, *bad, *bad).0 != Verdict::Hold && judge(gate, *bad, *bad).0 != Verdict::Promote)
        };
        assert!(needed(&format!("{gate} on_fail=step_back")) > needed(gate), "{bad}");
    }

    #[test]
    fn readings_need_three_in_a_row_and_no_reading_is_never_a_pass() {
        let spec = spec("scrape:waiting<10");
        let mut evidence = Evidence::new(&spec.gates, 1);
        let mut judge_after = |page: Result<&str, &str>| {
            evidence.add_scrape(&spec.gates, &page.map(str::to_owned).map_err(str::to_owned));
            let report = judge_all(&spec, &evidence).remove(0);
            (report.verdict, report.reason)
        };
        for (page, verdict, reason) in [
            (Ok("waiting 9"), Verdict::Promote, "scrape:waiting<10: 9"),
            (Ok("waiting 10"), Verdict::Hold, "scrape:waiting<10: 10, not below in 1 of 3 readings in a row"),
            (Err("refused"), Verdict::Hold, "scrape:waiting<10: no data: refused"),
            (Ok("other 1"), Verdict::Hold, "scrape:waiting<10: no data: the page has no metric waiting"),
            (Ok("waiting 11"), Verdict::Hold, "scrape:waiting<10: 11, not below in 1 of 3 readings in a row"),
            (Ok("waiting +Inf"), Verdict::Hold, "scrape:waiting<10: inf, not below in 2 of 3 readings in a row"),
            (Ok("waiting 12"), Verdict::RollBack, "scrape:waiting<10: 12, not below in 3 readings in a row"),
        ] {
            assert_eq!(judge_after(page), (verdict, reason.to_owned()), "{page:?}");
        }
    }
}
