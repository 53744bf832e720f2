//! Requests as dsgate's log tells them, in either of its formats: what a backtest is made of. Pure.
//!
//! Other lines of the log are passed over. What the log does not say (tokens, prices) no gate can be tested on.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use spec::id::Variant;

use crate::ports::{Observation, Outcome};

/// An attempt and when its request was over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recorded {
    pub at: Timestamp,
    pub seen: Observation,
}

#[derive(Debug, Deserialize)]
struct Line {
    timestamp: Timestamp,
    message: String,
    /// Who answered; not always a variant.
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    generation: u64,
    first_byte_ms: Option<u64>,
    #[serde(default)]
    duration_ms: u64,
    /// What went wrong on the variants tried before, each with its name in front.
    #[serde(default)]
    failures: String,
}

/// All attempts of a log, by time.
pub fn read(log: &str) -> Vec<Recorded> {
    let mut all: Vec<Recorded> = log.lines().filter_map(line).flat_map(of).collect();
    all.sort_by_key(|recorded| recorded.at);
    all
}

fn line(line: &str) -> Option<Line> {
    if line.trim_start().starts_with('{') { serde_json::from_str(line).ok() } else { plain(line) }
}

/// `TIME LEVEL MESSAGE name=value name="value" …`
fn plain(line: &str) -> Option<Line> {
    let mut words = line.split_whitespace();
    let (timestamp, _level, message) = (words.next()?.parse().ok()?, words.next()?, words.next()?.to_owned());
    let fields: BTreeMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
    let text = |name: &str| fields.get(name).map(|value| value.trim_matches('"')).unwrap_or_default();
    let number = |name: &str| text(name).parse::<u64>().ok();
    Some(Line {
        timestamp,
        message,
        variant: Some(text("variant").to_owned()).filter(|variant| !variant.is_empty()),
        outcome: text("outcome").to_owned(),
        generation: number("generation").unwrap_or_default(),
        first_byte_ms: number("first_byte_ms"),
        duration_ms: number("duration_ms").unwrap_or_default(),
        failures: text("failures").to_owned(),
    })
}

fn variant_named(name: Option<&str>) -> Option<Variant> {
    Variant::ALL.into_iter().find(|variant| name == Some(variant.as_str()))
}

/// The attempt that answered, and before it the one that failed, if one did. A spare that answered is no variant, but what failed before is.
fn of(line: Line) -> Vec<Recorded> {
    if line.message != "request" {
        return Vec::new();
    }
    let Some(outcome) = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == line.outcome) else {
        return Vec::new();
    };
    let failed = variant_named(line.failures.split_whitespace().next());
    let failed = failed.map(|variant| Observation::bare(variant, Outcome::UpstreamError, line.generation));
    let answered = variant_named(line.variant.as_deref()).map(|variant| Observation {
        time_to_first_token: line.first_byte_ms.map(Duration::from_millis),
        duration: Duration::from_millis(line.duration_ms),
        is_fallback: failed.is_some(),
        ..Observation::bare(variant, outcome, line.generation)
    });
    failed.into_iter().chain(answered).map(|seen| Recorded { at: line.timestamp, seen }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_what_else_a_log_says_is_passed_over() {
        let log = r#"{"timestamp":"2026-11-27T20:00:01.5Z","level":"INFO","message":"request","variant":"candidate","generation":3,"outcome":"ok","first_byte_ms":40,"duration_ms":300}
2026-11-27T20:00:00.000001Z  INFO request method="POST" path="/v1/chat/completions" status=200 variant="baseline" generation=3 outcome="ok" first_byte_ms=9 duration_ms=10 failures="candidate answered 503"
2026-11-27T20:00:00.000001Z  INFO admin method=GET path="/admin/status" status=200
{"timestamp":"2026-11-27T20:00:03Z","level":"INFO","message":"request","variant":"spare","outcome":"ok","failures":"candidate answered 500"}
{"timestamp":"2026-11-27T20:00:00Z","level":"INFO","message":"admin","path":"/admin/status"}
no JSON at all
{"timestamp":"2026-11-27T20:00:02Z","level":"INFO","message":"request","outcome":"client_abort","duration_ms":1}"#;
        let all = read(log);
        let told: Vec<_> = all
            .iter()
            .map(|recorded| (recorded.seen.variant, recorded.seen.outcome, recorded.seen.is_fallback))
            .collect();
        assert_eq!(
            told,
            [
                (Variant::Candidate, Outcome::UpstreamError, false),
                (Variant::Baseline, Outcome::Ok, true),
                (Variant::Candidate, Outcome::Ok, false),
                (Variant::Candidate, Outcome::UpstreamError, false),
            ]
        );
        assert_eq!((all[2].seen.time_to_first_token, all[2].seen.generation), (Some(Duration::from_millis(40)), 3));
    }
}
