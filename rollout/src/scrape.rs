//! One number out of a page in the Prometheus text format. Pure.

use std::io;

use prometheus_parse::{Scrape, Value};

/// Stands in for the colon of names like `vllm:num_requests_waiting`, which the parser doesn't take for part of a name.
/// It is a letter to the parser and can't be part of a metric's name, so no two names become one.
const COLON: char = '\u{2d0}';

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScrapeError {
    #[error("the page has no metric {name}")]
    Absent { name: String },
    #[error("{name}: {unreadable} of {lines} samples can't be read")]
    Unreadable { name: String, unreadable: usize, lines: usize },
    #[error("{name}: the samples' sum is not a number")]
    NotANumber { name: String },
}

/// The sum of all samples with exactly this name, whatever their labels.
pub(crate) fn sum(page: &str, name: &str) -> Result<f64, ScrapeError> {
    let lines: Vec<String> = page.lines().filter(|line| name_of(line) == name).map(without_labels).collect();
    if lines.is_empty() {
        return Err(ScrapeError::Absent { name: name.to_owned() });
    }
    let count = lines.len();
    let unreadable = |unreadable| ScrapeError::Unreadable { name: name.to_owned(), unreadable, lines: count };
    let scrape = Scrape::parse(lines.into_iter().map(io::Result::Ok)).map_err(|_| unreadable(count))?;
    let values: Vec<f64> = scrape.samples.iter().filter_map(|sample| number(&sample.value)).collect();
    if values.len() != count {
        return Err(unreadable(count - values.len().min(count)));
    }
    let sum: f64 = values.iter().sum();
    if sum.is_nan() { Err(ScrapeError::NotANumber { name: name.to_owned() }) } else { Ok(sum) }
}

/// The name a sample line begins with; empty for comments and blank lines.
fn name_of(line: &str) -> &str {
    let line = line.trim_start();
    if line.starts_with('#') {
        return "";
    }
    line.split(|c: char| c == '{' || c.is_whitespace()).next().unwrap_or_default()
}

/// The line without its labels, which a sum doesn't need: a brace or a comma in a label's value would end the sample.
fn without_labels(line: &str) -> String {
    let line = line.trim_start();
    let name = name_of(line);
    let rest = &line[name.len()..];
    let value = match rest.trim_start().strip_prefix('{') {
        Some(labels) => labels_end(labels).map_or("", |end| &labels[end..]),
        None => rest,
    };
    format!("{} {}", name.replace(':', &COLON.to_string()), value.trim_start())
}

/// Where the labels end, the closing brace included; a brace inside quotes doesn't count.
fn labels_end(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in labels.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Counter(number) | Value::Gauge(number) | Value::Untyped(number) => Some(*number),
        // Types are left out, so that no sample becomes part of a whole.
        Value::Histogram(_) | Value::Summary(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = "\
# HELP vllm:num_requests_waiting Requests that wait.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine=\"0\",model_name=\"a{b}, \\\"c\\\"\"} 3.0
vllm:num_requests_waiting{engine=\"1\",model_name=\"a\"} 4 1700000000000
vllm:num_requests_waiting_by_reason{reason=\"x\"} 100
# TYPE up gauge
up 1
empty_labels{} 2
# TYPE seconds histogram
seconds_bucket{le=\"1\"} 5
seconds_bucket{le=\"+Inf\"} 7
seconds_sum 12.5
half NaN
broken one
broken 1
cut{engine=\"0\" 1
";

    #[test]
    fn samples_of_one_name_are_summed_over_their_labels() {
        for (name, expected) in [
            ("vllm:num_requests_waiting", 7.0),
            ("vllm:num_requests_waiting_by_reason", 100.0),
            ("up", 1.0),
            ("empty_labels", 2.0),
            ("seconds_sum", 12.5),
        ] {
            assert_eq!(sum(PAGE, name), Ok(expected), "{name}");
        }
    }

    #[test]
    fn what_is_not_there_or_not_readable_is_no_number() {
        for (name, hint) in [
            ("vllm", "no metric vllm"),
            ("num_requests_waiting", "no metric"),
            ("seconds", "no metric seconds"),
            ("half", "not a number"),
            ("broken", "1 of 2 samples"),
            ("cut", "1 of 1 samples"),
        ] {
            let error = sum(PAGE, name).unwrap_err().to_string();
            assert!(error.contains(hint), "{name}: {error}");
        }
        assert!(sum("<html>busy</html>", "up").is_err());
    }

    proptest! {
        #[test]
        fn no_page_breaks_it(page in "\\PC*", name in "[a-z:_]{1,8}") {
            let _ = sum(&page, &name);
        }

        #[test]
        fn no_label_changes_the_sum(label in "[^\"\\\\\n\r]*", value in -1_000i32..1_000) {
            let page = format!("a:b{{l=\"{label}\"}} {value}\na:b {value}\n");
            prop_assert_eq!(sum(&page, "a:b"), Ok(f64::from(value) * 2.0));
        }
    }
}
