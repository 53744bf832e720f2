//! From two looks at /metrics pages to values: gauges as they stand, counters by how they grew in between. Pure.

use std::collections::{BTreeMap, BTreeSet};

use runbooks::Sample;
use spec::alert::{Chosen, Part};
use spec::metric::{Metric, cost};

use crate::scrape::{Look, Page, Target};

/// Two looks, and the seconds between them.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    pub before: &'a Look,
    pub after: &'a Look,
}

impl Look {
    /// Of all pages that there are.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.pages.iter().flat_map(|page| page.samples.iter().flatten())
    }

    pub fn page(&self, target: &Target) -> Option<&Page> {
        self.pages.iter().find(|page| page.target == *target)
    }

    fn only(&self, target: &Target) -> Self {
        Self { at: self.at, pages: self.page(target).cloned().into_iter().collect() }
    }

    pub fn of_metric<'a>(&'a self, metric: &'a Metric) -> impl Iterator<Item = &'a Sample> {
        self.samples().filter(|sample| sample.name == metric.name)
    }

    pub fn pages_of(&self, part: Part) -> impl Iterator<Item = &Page> {
        self.pages.iter().filter(move |page| page.target.part == part)
    }

    /// The sum over the series that have this label value; none if there is no such series.
    pub fn value(&self, metric: &Metric, label: &str, value: &str) -> Option<f64> {
        let chosen = self.of_metric(metric).filter(|sample| has(sample, label, value));
        chosen.map(|sample| sample.value).reduce(|sum, next| sum + next)
    }
}

pub fn has(sample: &Sample, label: &str, value: &str) -> bool {
    sample.labels.get(label).is_some_and(|found| found == value)
}

fn of_name<'a>(samples: &'a [Sample], name: &'a str) -> impl Iterator<Item = &'a Sample> {
    samples.iter().filter(move |sample| sample.name == name)
}

/// A counter that went down was started anew: all it has, it has grown since. One that was not there was at zero.
fn grown(before: Option<f64>, after: f64) -> f64 {
    let grown = after - before.unwrap_or_default();
    if grown < 0.0 { after } else { grown }
}

impl Pair<'_> {
    pub fn seconds(&self) -> f64 {
        self.after.at.saturating_duration_since(self.before.at).as_secs_f64()
    }

    /// Growth of each series of a name, page by page: two daemons of one model have the same series. Of a part that did not
    /// answer at one of the looks nothing is known.
    fn growth<'b>(&'b self, name: &'b str) -> impl Iterator<Item = (&'b Sample, f64)> {
        let pages = self.after.pages.iter().filter_map(|after| {
            let before = self.before.page(&after.target)?.samples.as_ref().ok()?;
            Some((before, after.samples.as_ref().ok()?))
        });
        pages.flat_map(move |(before, after)| {
            let before: BTreeMap<_, f64> = of_name(before, name).map(|it| (&it.labels, it.value)).collect();
            of_name(after, name).map(move |it| (it, grown(before.get(&it.labels).copied(), it.value)))
        })
    }

    /// The same looks at one target only.
    pub fn at<T>(&self, target: &Target, see: impl FnOnce(Pair<'_>) -> T) -> T {
        see(Pair { before: &self.before.only(target), after: &self.after.only(target) })
    }

    /// Of the series that `is_chosen` takes; none if there is none.
    pub fn grown(&self, metric: &Metric, is_chosen: impl Fn(&Sample) -> bool) -> Option<f64> {
        let chosen = self.growth(metric.name).filter(|(sample, _)| is_chosen(sample));
        chosen.map(|(_, grown)| grown).reduce(|sum, next| sum + next)
    }

    /// None between looks at one moment.
    pub fn per_second(&self, metric: &Metric, is_chosen: impl Fn(&Sample) -> bool) -> Option<f64> {
        let seconds = self.seconds();
        (seconds > 0.0).then_some(())?;
        Some(self.grown(metric, is_chosen)? / seconds)
    }

    /// All values of a label that a metric has, in their order; a histogram's stand in its buckets.
    pub fn values_of(&self, metric: &Metric, label: &str) -> BTreeSet<String> {
        let bucket = format!("{}_bucket", metric.name);
        let of_it = self.after.samples().filter(|sample| sample.name == metric.name || sample.name == bucket);
        of_it.filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }

    /// A share of growth in growth; none where nothing grew.
    pub fn ratio(
        &self,
        metric: &Metric,
        label: &str,
        (part, whole): (Chosen, Chosen),
        by: (&str, &str),
    ) -> Option<f64> {
        let grown = |chosen: Chosen| {
            let is_chosen = |sample: &Sample| {
                has(sample, by.0, by.1) && sample.labels.get(label).is_some_and(|value| chosen.has(value))
            };
            self.grown(metric, is_chosen)
        };
        let whole = grown(whole).filter(|whole| *whole > 0.0)?;
        Some(grown(part).unwrap_or_default() / whole)
    }

    /// As Prometheus' `histogram_quantile` over the growth of the buckets; none where nothing grew.
    pub fn quantile(&self, metric: &Metric, share: f64, by: (&str, &str)) -> Option<f64> {
        let name = format!("{}_bucket", metric.name);
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (sample, grown) in self.growth(&name).filter(|(sample, _)| has(sample, by.0, by.1)) {
            let bound = upper_bound(sample)?;
            match buckets.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, count)) => *count += grown,
                None => buckets.push((bound, grown)),
            }
        }
        buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        quantile_of(&buckets, share)
    }

    /// In dollars: the machine at its hourly price, and what is paid by the token as fast as between the looks.
    pub fn cost_per_day(&self) -> Option<f64> {
        let machine = self.machine_hourly().map(|hourly| hourly * 24.0);
        let tokens = self.per_second(&cost::DOLLARS, |_| true).map(|pace| pace * 86_400.0);
        [machine, tokens].into_iter().flatten().reduce(|sum, next| sum + next)
    }

    pub fn machine_hourly(&self) -> Option<f64> {
        self.after.of_metric(&cost::MACHINE_HOURLY).map(|sample| sample.value).reduce(|sum, next| sum + next)
    }
}

fn upper_bound(sample: &Sample) -> Option<f64> {
    // `+Inf` and the `inf` of a parsed bucket are both read.
    sample.labels.get("le")?.parse().ok()
}

/// Of cumulative buckets in their order; within a bucket values are taken to lie evenly.
fn quantile_of(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let (last, total) = *buckets.last()?;
    if last.is_finite() || total <= 0.0 {
        return None;
    }
    let rank = share * total;
    let at = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (lower, below) = at.checked_sub(1).map_or((0.0, 0.0), |before| buckets[before]);
    let (upper, count) = buckets[at];
    if upper.is_infinite() {
        // All that is known is that it is over the last bound.
        return Some(lower);
    }
    Some(lower + (upper - lower) * (rank - below) / (count - below).max(f64::MIN_POSITIVE))
}

#[cfg(test)]
pub mod tests {
    use std::time::{Duration, Instant};

    use spec::metric::{daemon, gateway};

    use super::*;
    use crate::scrape::samples;

    pub fn page(part: Part, text: &str) -> Page {
        let target = Target { part, name: part.job(), url: "http://h/metrics".to_owned() };
        Page { target, samples: Ok(samples(text).unwrap()) }
    }

    pub fn dead(part: Part) -> Page {
        Page { samples: Err("http://h/metrics: Connection refused".to_owned()), ..page(part, "") }
    }

    /// Two looks, ten seconds apart.
    pub fn looks(before: Vec<Page>, after: Vec<Page>) -> (Look, Look) {
        let now = Instant::now();
        (Look { at: now, pages: before }, Look { at: now + Duration::from_secs(10), pages: after })
    }

    pub fn gateway_looks(before: &str, after: &str) -> (Look, Look) {
        looks(vec![page(Part::Gateway, before)], vec![page(Part::Gateway, after)])
    }

    fn histogram(counts: [u64; 4]) -> String {
        let name = gateway::TIME_TO_FIRST_TOKEN.name;
        let line = |(le, count)| format!("{name}_bucket{{variant=\"candidate\",le=\"{le}\"}} {count}\n");
        let lines: String = ["0.1", "1", "15", "+Inf"].into_iter().zip(counts).map(line).collect();
        format!("# TYPE {name} histogram\n{lines}{name}_count{{variant=\"candidate\"}} {}\n", counts[3])
    }

    #[test]
    fn a_quantile_is_of_what_came_between_and_read_as_prometheus_reads_it() {
        let p = |before, after, share| {
            let (before, after) = gateway_looks(&histogram(before), &histogram(after));
            Pair { before: &before, after: &after }.quantile(
                &gateway::TIME_TO_FIRST_TOKEN,
                share,
                ("variant", "candidate"),
            )
        };
        // Of 100 that came, 50 took up to 0.1 s and all up to 1 s: the 75th lies in the middle of 0.1 to 1.
        let found = p([900, 900, 900, 900], [950, 1000, 1000, 1000], 0.75).unwrap();
        assert!((found - 0.55).abs() < 1e-9, "{found}");
        assert_eq!(p([0; 4], [0, 0, 0, 10], 0.95), Some(15.0), "over the last bound, nobody knows how far");
        assert_eq!(p([5; 4], [5; 4], 0.95), None, "nothing came");
    }

    #[test]
    fn a_counter_that_began_anew_grew_by_all_it_has() {
        let (before, after) = gateway_looks(
            "# TYPE c counter\nc{variant=\"a\"} 100\nc{variant=\"b\"} 5\n",
            "# TYPE c counter\nc{variant=\"a\"} 30\nc{variant=\"b\"} 15\n",
        );
        let pair = Pair { before: &before, after: &after };
        let metric = Metric { name: "c", ..gateway::REQUESTS };
        assert_eq!(pair.grown(&metric, |_| true), Some(40.0));
        assert_eq!(pair.per_second(&metric, |sample| has(sample, "variant", "b")), Some(1.0));
        assert_eq!(pair.grown(&daemon::PROMPT_TOKENS, |_| true), None, "there is no such series");
    }

    #[test]
    fn two_parts_with_the_same_series_grow_each_for_itself_and_one_that_was_away_not_at_all() {
        let metric = Metric { name: "c", ..daemon::PROMPT_TOKENS };
        let at = |first, second| {
            let of = |value| page(Part::Daemon, &format!("# TYPE c counter\nc{{model_name=\"m\"}} {value}\n"));
            let mut second = of(second);
            second.target.name = "dsserve-baseline";
            vec![of(first), second]
        };
        let (before, mut after) = looks(at(100, 7), at(110, 1007));
        assert_eq!(Pair { before: &before, after: &after }.grown(&metric, |_| true), Some(1010.0));
        let one = after.pages[1].target.clone();
        assert_eq!(
            Pair { before: &before, after: &after }.at(&one, |pair| pair.grown(&metric, |_| true)),
            Some(1000.0)
        );
        let mut away = before.clone();
        away.pages[1].samples = Err("refused".to_owned());
        assert_eq!(Pair { before: &away, after: &after }.grown(&metric, |_| true), Some(10.0));
        after.pages.remove(0);
        assert_eq!(Pair { before: &away, after: &after }.grown(&metric, |_| true), None);
    }

    #[test]
    fn a_day_costs_the_machine_and_the_tokens_or_what_is_known_of_it() {
        let machine = "# TYPE dsctl_machine_cost_dollars_per_hour gauge\ndsctl_machine_cost_dollars_per_hour 2\n";
        let tokens = |dollars| {
            format!(
                "# TYPE dsctl_gateway_cost_dollars_total counter\ndsctl_gateway_cost_dollars_total{{variant=\"baseline\"}} {dollars}\n"
            )
        };
        let per_day = |before: &str, after: &str| {
            let (before, after) = gateway_looks(before, after);
            Pair { before: &before, after: &after }.cost_per_day()
        };
        assert_eq!(per_day("", machine), Some(48.0));
        assert_eq!(per_day(&tokens(1), &tokens(2)), Some(8640.0));
        assert_eq!(per_day(&tokens(1), &format!("{machine}{}", tokens(1))), Some(48.0));
        assert_eq!(per_day("", ""), None);
    }
}
