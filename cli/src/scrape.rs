//! /metrics pages of a deployment's parts: fetched side by side, parsed into plain samples.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use runbooks::Sample;
use serde::Serialize;
use spec::alert::Part;
use spec::id::Variant;
use spec::layout::DeploymentLayout;

use crate::exit::Failure;
use crate::gateway::{gateway_files, root_cause};

/// No /metrics page takes longer.
const SCRAPE_LIMIT: Duration = Duration::from_secs(5);

/// Where a part shows its page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    pub part: Part,
    /// As units are called: `dsserve-baseline`.
    pub name: &'static str,
    pub url: String,
}

/// One look at all targets.
#[derive(Debug, Clone)]
pub struct Look {
    pub at: Instant,
    pub pages: Vec<Page>,
}

#[derive(Debug, Clone)]
pub struct Page {
    pub target: Target,
    /// Or why there is none.
    pub samples: Result<Vec<Sample>, String>,
}

/// All that a deployment on this machine has. Its agent is not among them: on this machine nothing gives it an address.
pub fn targets(layout: &DeploymentLayout) -> Result<Vec<Target>, Failure> {
    let files = gateway_files(layout)?;
    let gateway = Target { part: Part::Gateway, name: "dsgate", url: files.metrics_url() };
    let daemon = |(variant, name)| {
        let url = files.config.variants.get(&variant)?.metrics_url.clone()?;
        Some(Target { part: Part::Daemon, name, url })
    };
    let daemons = [(Variant::Candidate, "dsserve"), (Variant::Baseline, "dsserve-baseline")];
    Ok(std::iter::once(gateway).chain(daemons.into_iter().filter_map(daemon)).collect())
}

pub fn client() -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder().no_proxy().timeout(SCRAPE_LIMIT).build().map_err(Failure::failed)
}

pub async fn look(client: &reqwest::Client, targets: &[Target]) -> Look {
    let at = Instant::now();
    let pages = targets
        .iter()
        .map(|target| async { Page { target: target.clone(), samples: scrape(client, &target.url).await } });
    Look { at, pages: join_all(pages).await }
}

/// A page's samples, or what went wrong.
pub async fn scrape(client: &reqwest::Client, url: &str) -> Result<Vec<Sample>, String> {
    let text = async { client.get(url).send().await?.error_for_status()?.text().await };
    let text = text.await.map_err(|error| format!("{url}: {}", root_cause(&error)))?;
    samples(&text).map_err(|error| format!("{url}: {error}"))
}

/// A letter to the parser, which does not take the colon of names like `vllm:num_requests_waiting` for part of a name;
/// it can't be in a metric's name, so no two names become one.
const COLON: &str = "\u{2d0}";

pub fn samples(text: &str) -> std::io::Result<Vec<Sample>> {
    use prometheus_parse::Value;
    let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(without_colons(line))))?;
    let mut samples = Vec::new();
    for mut sample in scrape.samples {
        sample.metric = sample.metric.replace(COLON, ":");
        let labels: BTreeMap<String, String> =
            sample.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => {
                samples.push(Sample { name: sample.metric, labels, value });
            }
            Value::Histogram(buckets) => samples.extend(buckets.iter().map(|bucket| {
                let mut labels = labels.clone();
                labels.insert("le".to_owned(), bucket.less_than.to_string());
                Sample { name: format!("{}_bucket", sample.metric), labels, value: bucket.count }
            })),
            Value::Summary(_) => {}
        }
    }
    Ok(samples)
}

/// Only the name is touched: up to the labels or the value, or the third word of a comment.
fn without_colons(line: &str) -> String {
    let end = match line.strip_prefix("# ") {
        Some(comment) => 2 + comment.splitn(3, ' ').take(2).map(str::len).sum::<usize>() + 1,
        None => line.find(['{', ' ']).unwrap_or(line.len()),
    };
    let (name, rest) = line.split_at_checked(end).unwrap_or((line, ""));
    format!("{}{rest}", name.replace(':', COLON))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_gauges_and_buckets_are_read() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 5\nh_count 4\n";
        let read = samples(text).unwrap();
        let find = |name: &str, le: Option<&str>| {
            read.iter().find(|s| s.name == name && s.labels.get("le").map(String::as_str) == le).map(|s| s.value)
        };
        assert_eq!(find("a_total", None), Some(2.0));
        let text = "# HELP vllm:x Requests: all.\n# TYPE vllm:x gauge\nvllm:x{model_name=\"a:b\"} 7\n";
        let read = samples(text).unwrap();
        assert_eq!(
            (read[0].name.as_str(), read[0].labels["model_name"].as_str(), read[0].value),
            ("vllm:x", "a:b", 7.0)
        );
        assert_eq!(find("h_bucket", Some("1")), Some(3.0));
    }
}
