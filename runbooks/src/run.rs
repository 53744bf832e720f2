//! Goes through a runbook: asks its questions, finds the cause, and in [`Mode::Act`] carries out the remedy and looks
//! whether it helped.
//!
//! ```text
//! step -yes/no-> step … -> cause -> remedy -> verification
//!      -can't be seen-> stop        (dry run: stop here)
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::amount::{Span, bytes_text};

use crate::incident::{Event, Witness};
use crate::measure::measure;
use crate::probe::{Probe, WeightsSeen};
use crate::runbook::{Branch, Cause, Check, MetricCheck, Reading, Remedy, Runbook, Step, Verification, WeightsWord};

/// Between two looks of a verification.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Looks, and says what it would do.
    DryRun,
    /// Carries the remedy out.
    Act,
}

/// What was seen, decided and done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub runbook: String,
    pub mode: Mode,
    pub steps: Vec<StepSeen>,
    pub decision: Decision,
    pub remedy: Option<RemedyReport>,
    /// Whom to call with what; there when the runbook did not help.
    pub call: Option<String>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSeen {
    pub step: String,
    pub ask: String,
    /// None: it could not be seen.
    pub answer: Option<bool>,
    /// The facts behind the answer, or why there is none.
    pub seen: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Decision {
    Cause { name: String, meaning: String, by_hand: Option<String> },
    NotThis { why: String },
    Undecided { step: String, why: String },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RemedyReport {
    pub remedy: Remedy,
    /// In words.
    pub what: String,
    pub back: Option<String>,
    pub outcome: RemedyOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum RemedyOutcome {
    /// Dry run.
    WouldBeDone,
    Verified {
        done: String,
        seen: String,
        after: Span,
    },
    NotVerified {
        done: String,
        seen: String,
        after: Span,
    },
    Failed {
        error: String,
    },
}

/// A report in a word, for exit codes and summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing was changed.
    NotThis,
    /// Remedied, and seen to have helped.
    Healed,
    /// Dry run: there is a remedy.
    WouldHeal,
    /// The cause is known, the rest is for a person.
    ByHand,
    /// Something could not be seen; nothing was changed.
    Undecided,
    /// The remedy failed, or did not help.
    NotHealed,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotThis => "not this",
            Self::Healed => "healed",
            Self::WouldHeal => "there is a remedy, and it was not carried out",
            Self::ByHand => "the rest is for a person",
            Self::Undecided => "undecided",
            Self::NotHealed => "not healed",
        }
    }
}

impl Report {
    pub const fn outcome(&self) -> Outcome {
        match (&self.decision, &self.remedy) {
            (Decision::NotThis { .. }, _) => Outcome::NotThis,
            (Decision::Undecided { .. }, _) => Outcome::Undecided,
            (Decision::Cause { .. }, None) => Outcome::ByHand,
            (Decision::Cause { .. }, Some(report)) => match report.outcome {
                RemedyOutcome::WouldBeDone => Outcome::WouldHeal,
                RemedyOutcome::Verified { .. } => Outcome::Healed,
                RemedyOutcome::NotVerified { .. } | RemedyOutcome::Failed { .. } => Outcome::NotHealed,
            },
        }
    }
}

/// Goes through a runbook. Failures are part of the report: someone has to act on it either way.
pub async fn run(runbook: &Runbook, probe: &dyn Probe, witness: &dyn Witness, mode: Mode) -> Report {
    witness.note(Event::Began { mode });
    let (steps, end) = walk(runbook, probe, witness).await;
    let (decision, cause) = match end {
        End::Cause(cause) => (decided(cause), Some(cause)),
        End::NotThis(why) => (Decision::NotThis { why }, None),
        End::Undecided { step, why } => (Decision::Undecided { step, why }, None),
    };
    witness.note(Event::Decided { decision: decision.clone() });
    let remedy = match cause {
        Some(cause) => heal(cause, probe, witness, mode).await,
        None => None,
    };
    let mut report = Report { runbook: runbook.name.clone(), mode, steps, decision, remedy, call: None };
    if matches!(report.outcome(), Outcome::Undecided | Outcome::NotHealed) {
        report.call = Some(runbook.call.clone());
    }
    report
}

enum End<'a> {
    Cause(&'a Cause),
    NotThis(String),
    Undecided { step: String, why: String },
}

async fn walk<'a>(runbook: &'a Runbook, probe: &dyn Probe, witness: &dyn Witness) -> (Vec<StepSeen>, End<'a>) {
    let mut seen = Vec::new();
    let mut next = runbook.steps.first();
    while let Some(step) = next {
        let answer = look(&step.see, probe).await;
        seen.push(step_seen(step, &answer));
        witness.note(Event::Seen(step_seen(step, &answer)));
        let branch = match answer {
            Ok(Look { yes: true, .. }) => &step.yes,
            Ok(Look { yes: false, .. }) => &step.no,
            Err(why) => return (seen, End::Undecided { step: step.name.clone(), why }),
        };
        match branch {
            Branch::Step(name) => next = runbook.step(name),
            Branch::NotThis(why) => return (seen, End::NotThis(why.clone())),
            Branch::Cause(name) => match runbook.cause(name) {
                Some(cause) => return (seen, End::Cause(cause)),
                None => next = None,
            },
        }
    }
    // Only a runbook that was never validated ends without a branch.
    (seen, End::Undecided { step: String::new(), why: "the runbook's steps lead nowhere".to_owned() })
}

fn step_seen(step: &Step, answer: &Result<Look, String>) -> StepSeen {
    let (answer, seen) = match answer {
        Ok(look) => (Some(look.yes), look.seen.clone()),
        Err(why) => (None, why.clone()),
    };
    StepSeen { step: step.name.clone(), ask: step.ask.clone(), answer, seen }
}

fn decided(cause: &Cause) -> Decision {
    Decision::Cause { name: cause.name.clone(), meaning: cause.meaning.clone(), by_hand: cause.by_hand.clone() }
}

async fn heal(cause: &Cause, probe: &dyn Probe, witness: &dyn Witness, mode: Mode) -> Option<RemedyReport> {
    let remedy = cause.remedy?;
    let outcome = match mode {
        Mode::DryRun => RemedyOutcome::WouldBeDone,
        Mode::Act => {
            witness.note(Event::Acting { what: remedy.to_string(), back: cause.back.clone() });
            match probe.act(&remedy).await {
                Err(error) => RemedyOutcome::Failed { error: error.chain() },
                Ok(done) => verify(cause.verify.as_ref(), done, probe).await,
            }
        }
    };
    witness.note(Event::Acted { outcome: outcome.clone() });
    Some(RemedyReport { remedy, what: remedy.to_string(), back: cause.back.clone(), outcome })
}

async fn verify(verification: Option<&Verification>, done: String, probe: &dyn Probe) -> RemedyOutcome {
    let Some(verification) = verification else {
        let seen = "the runbook has no verification for it".to_owned();
        return RemedyOutcome::NotVerified { done, seen, after: Span::default() };
    };
    let mut waited = Duration::ZERO;
    loop {
        let answer = look(&verification.see, probe).await;
        waited += window(&verification.see);
        let seen = match answer {
            Ok(Look { yes: true, seen }) => return RemedyOutcome::Verified { done, seen, after: Span(waited) },
            Ok(Look { yes: false, seen }) => seen,
            // Right after a restart nothing answers: that it can't be seen yet is no answer either way.
            Err(why) => why,
        };
        if waited >= verification.within.0 {
            return RemedyOutcome::NotVerified { done, seen, after: Span(waited) };
        }
        probe.wait(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
    }
}

/// Time that a look itself takes.
fn window(check: &Check) -> Duration {
    match check {
        Check::Metric(MetricCheck { window: Some(window), .. }) => window.0,
        _ => Duration::ZERO,
    }
}

struct Look {
    yes: bool,
    seen: String,
}

/// One look. The error says why nothing could be seen.
async fn look(check: &Check, probe: &dyn Probe) -> Result<Look, String> {
    match check {
        Check::Status(check) => {
            let status = probe.status().await.map_err(|error| error.chain())?;
            let state = status.units.get(&check.unit);
            let seen = state.map_or("not part of this deployment", |state| state.as_str());
            let yes = state.is_some_and(|state| check.is.contains(state));
            Ok(Look { yes, seen: format!("{} is {seen}", check.unit) })
        }
        Check::Phase(check) => {
            let status = probe.status().await.map_err(|error| error.chain())?;
            let place = check.name.as_str();
            let phase = status.phases.get(&check.name);
            let seen = phase.map_or_else(
                || format!("{place}: not part of this deployment"),
                |phase| format!("{place}: {:?}: {}", phase.state, phase.detail).to_lowercase(),
            );
            Ok(Look { yes: phase.is_some_and(|phase| check.is.contains(&phase.state)), seen })
        }
        Check::Metric(check) => look_at_metric(check, probe).await,
        Check::Log(check) => {
            let status = probe.status().await.map_err(|error| error.chain())?;
            let log = status.logs.get(&check.unit).ok_or_else(|| format!("{} has no log here", check.unit))?;
            let found = log.iter().rev().find(|line| check.says.iter().any(|text| contains(line, text)));
            let nothing = || format!("the last lines of {} say nothing of it", check.unit);
            Ok(Look { yes: found.is_some(), seen: found.map_or_else(nothing, |line| line.trim().to_owned()) })
        }
        Check::FreeSpace(check) => {
            let free = probe.free_space().await.map_err(|error| error.chain())?;
            Ok(Look { yes: free < check.below_gib << 30, seen: format!("{} are free", bytes_text(free)) })
        }
        Check::Rollout(check) => {
            let Some(report) = probe.rollout().await.map_err(|error| error.chain())? else {
                return Ok(Look { yes: false, seen: "there was no rollout".to_owned() });
            };
            let is_verdict = check.verdict.is_none_or(|verdict| verdict == report.verdict);
            let seen =
                format!("rollout {} is {} at {}: {}", report.id, report.phase.as_str(), report.weight, report.reason);
            Ok(Look { yes: check.phase.contains(&report.phase) && is_verdict, seen })
        }
        Check::Weights(check) => {
            let (word, seen) = match probe.weights().await.map_err(|error| error.chain())? {
                WeightsSeen::Sound => (WeightsWord::Sound, "all digests are right".to_owned()),
                WeightsSeen::Damaged(what) => (WeightsWord::Damaged, what),
                WeightsSeen::Missing(what) => (WeightsWord::Missing, what),
            };
            Ok(Look { yes: word == check.is, seen })
        }
    }
}

fn contains(line: &str, text: &str) -> bool {
    line.to_lowercase().contains(&text.to_lowercase())
}

async fn look_at_metric(check: &MetricCheck, probe: &dyn Probe) -> Result<Look, String> {
    let before = match check.window {
        None => Vec::new(),
        Some(window) => {
            let before = probe.scrape(check.source).await.map_err(|error| error.chain())?;
            probe.wait(window.0).await;
            before
        }
    };
    let after = probe.scrape(check.source).await.map_err(|error| error.chain())?;
    let value = measure(check, &before, &after).ok_or_else(|| no_evidence(check))?;
    let yes = check.above.is_some_and(|above| value > above) || check.below.is_some_and(|below| value < below);
    Ok(Look { yes, seen: format!("{} {} is {value:.3}", check.name, reading_text(check)) })
}

fn no_evidence(check: &MetricCheck) -> String {
    match check.window {
        None => format!("the {} does not show {}", check.source.as_str(), check.name),
        Some(window) => format!("nothing that {} counts happened within {window}", check.name),
    }
}

fn reading_text(check: &MetricCheck) -> String {
    let window = check.window.map(|window| format!(" over {window}")).unwrap_or_default();
    let reading = match check.read {
        Reading::Value => "now",
        Reading::Growth => "growth",
        Reading::Share => "share",
        Reading::P95 => "p95",
    };
    let labels: Vec<String> =
        check.labels.iter().map(|(label, values)| format!("{label} {}", values.join("|"))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!(" ({})", labels.join(", ")) };
    format!("{reading}{window}{labels}")
}
