//! From scraped samples to one number: pure arithmetic.

use std::collections::BTreeMap;

use crate::probe::Sample;
use crate::runbook::{MetricCheck, Reading};

type Labels = BTreeMap<String, Vec<String>>;

/// The number that a check speaks of, from two scrapes a window apart (`value` reads the later one). None = no evidence:
/// the metric is not there, or nothing happened that a share or a quantile could be taken of.
pub fn measure(check: &MetricCheck, before: &[Sample], after: &[Sample]) -> Option<f64> {
    match check.read {
        Reading::Value => sum(&check.name, &check.labels, after),
        Reading::Growth => growth(&check.name, &check.labels, before, after),
        Reading::Share => {
            let all = growth(&check.name, &check.of, before, after).filter(|all| *all > 0.0)?;
            Some(growth(&check.name, &check.labels, before, after).unwrap_or(0.0) / all)
        }
        Reading::P95 => quantile(0.95, &buckets(check, before, after)),
    }
}

fn chosen(sample: &Sample, name: &str, labels: &Labels) -> bool {
    sample.name == name
        && labels.iter().all(|(label, values)| sample.labels.get(label).is_some_and(|value| values.contains(value)))
}

fn sum(name: &str, labels: &Labels, samples: &[Sample]) -> Option<f64> {
    let mut values = samples.iter().filter(|sample| chosen(sample, name, labels)).map(|sample| sample.value).peekable();
    values.peek().is_some().then(|| values.sum())
}

/// Series by series, because each starts again at 0 when its process does: what is below its old value all came since.
fn growth(name: &str, labels: &Labels, before: &[Sample], after: &[Sample]) -> Option<f64> {
    let mut grown = after.iter().filter(|sample| chosen(sample, name, labels)).map(|sample| {
        let old = before.iter().find(|old| old.name == sample.name && old.labels == sample.labels);
        let old = old.map_or(0.0, |old| old.value);
        if sample.value >= old { sample.value - old } else { sample.value }
    });
    let first = grown.next()?;
    Some(first + grown.sum::<f64>())
}

/// Growth of each cumulative bucket, by upper bound.
fn buckets(check: &MetricCheck, before: &[Sample], after: &[Sample]) -> Vec<(f64, f64)> {
    let name = format!("{}_bucket", check.name);
    let mut bounds: Vec<f64> = after
        .iter()
        .filter(|sample| chosen(sample, &name, &check.labels))
        .filter_map(|sample| bound(sample.labels.get("le")?))
        .collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let of_bound = |samples: &[Sample], wanted: f64| -> Vec<Sample> {
        let is_wanted = |sample: &&Sample| sample.labels.get("le").and_then(|le| bound(le)) == Some(wanted);
        samples.iter().filter(is_wanted).cloned().collect()
    };
    bounds
        .into_iter()
        .filter_map(|wanted| {
            let (before, after) = (of_bound(before, wanted), of_bound(after, wanted));
            Some((wanted, growth(&name, &check.labels, &before, &after)?))
        })
        .collect()
}

fn bound(text: &str) -> Option<f64> {
    if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() }
}

/// As PromQL's `histogram_quantile`: linear inside a bucket; the last finite bound if it lies beyond.
fn quantile(rank: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
    let wanted = rank * total;
    let at = buckets.iter().position(|(_, count)| *count >= wanted)?;
    let (below, before) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let (upper, count) = buckets[at];
    if upper.is_infinite() {
        return (at > 0).then_some(below);
    }
    Some(below + (upper - below) * (wanted - before) / (count - before))
}

#[cfg(test)]
mod tests {
    use crate::runbook::Check;

    use super::*;

    fn check(yaml: &str) -> MetricCheck {
        match spec::yaml::parse::<Check>(yaml, "check").unwrap() {
            Check::Metric(check) => check,
            other => panic!("{other:?}"),
        }
    }

    fn sample(name: &str, labels: &[(&str, &str)], value: f64) -> Sample {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        Sample { name: name.to_owned(), labels, value }
    }

    #[test]
    fn a_share_is_of_what_grew_and_survives_a_restart() {
        let check = check(
            "metric: {source: gateway, name: n, read: share, window: 5s, above: 0.05, labels: {outcome: [bad]}, \
             of: {outcome: [ok, bad]}}",
        );
        let at = |ok, bad, other| {
            [("ok", ok), ("bad", bad), ("other", other)]
                .map(|(outcome, value)| sample("n", &[("outcome", outcome)], value))
        };
        assert_eq!(measure(&check, &at(10.0, 10.0, 0.0), &at(13.0, 11.0, 50.0)), Some(0.25));
        assert_eq!(measure(&check, &at(100.0, 100.0, 0.0), &at(3.0, 1.0, 0.0)), Some(0.25));
        assert_eq!(measure(&check, &at(1.0, 1.0, 0.0), &at(1.0, 1.0, 9.0)), None);
        assert_eq!(measure(&check, &[], &[]), None);
    }

    #[test]
    fn a_quantile_is_read_from_the_growth_of_the_buckets() {
        let check = check("metric: {source: gateway, name: h, read: p95, window: 5s, above: 1}");
        let at = |one: f64, two: f64, all: f64| {
            [("1", one), ("2", two), ("+Inf", all)].map(|(le, value)| sample("h_bucket", &[("le", le)], value))
        };
        assert_eq!(measure(&check, &at(5.0, 5.0, 5.0), &at(5.0, 25.0, 25.0)), Some(1.95));
        assert_eq!(measure(&check, &at(0.0, 0.0, 0.0), &at(1.0, 2.0, 20.0)), Some(2.0));
        assert_eq!(measure(&check, &at(5.0, 5.0, 5.0), &at(5.0, 5.0, 5.0)), None);
    }

    #[test]
    fn a_value_is_the_sum_of_the_chosen_samples() {
        let check = check("metric: {source: daemon, name: g, read: value, above: 0, labels: {m: [a]}}");
        let samples =
            [sample("g", &[("m", "a")], 2.0), sample("g", &[("m", "b")], 5.0), sample("x", &[("m", "a")], 7.0)];
        assert_eq!(measure(&check, &[], &samples), Some(2.0));
        assert_eq!(measure(&check, &[], &samples[1..]), None);
    }
}
