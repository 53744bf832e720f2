//! An incident: what one run of a runbook saw, decided and did, by whom and when. Written as it happens, a line an event, so that
//! whatever ends the run, what had happened by then is there.
//!
//! ```text
//! opened -> began -> seen … -> decided -> acting -> acted -> closed
//!           (a look, and the act after a yes, are two passes of one incident)
//! ```

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::run::{Decision, Mode, Outcome, RemedyOutcome, StepSeen};

/// Who hears of what the runner does, as it does it.
pub trait Witness: Send + Sync {
    /// What can't be kept is the witness's own trouble: nobody is left unhealed over it.
    fn note(&self, event: Event);
}

/// Nobody hears of it.
impl Witness for () {
    fn note(&self, _: Event) {}
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    Opened(Opening),
    /// A pass through the runbook.
    Began {
        mode: Mode,
    },
    Seen(StepSeen),
    Decided {
        decision: Decision,
    },
    /// Before it is done: a run that ends here leaves the deployment in a state that nobody saw.
    Acting {
        what: String,
        back: Option<String>,
    },
    Acted {
        outcome: RemedyOutcome,
    },
    Closed {
        outcome: Outcome,
        call: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    pub id: String,
    pub deployment: String,
    pub runbook: String,
    pub symptom: String,
    /// What woke somebody.
    pub alert: Option<String>,
    /// `user@machine`.
    pub by: String,
    /// Of dsctl.
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub at: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}

impl Record {
    /// With its end of line.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// One that was read again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incident {
    pub opening: Opening,
    pub records: Vec<Record>,
    /// The last line is not whole: whoever wrote it ended in the middle.
    pub is_torn: bool,
}

/// Why a file is no incident.
#[derive(Debug, thiserror::Error)]
pub enum IncidentError {
    #[error("line {line}: {source}")]
    Line { line: usize, source: serde_json::Error },
    #[error("it does not begin with who opened it")]
    NotOpened,
}

impl Incident {
    pub fn parse(text: &str) -> Result<Self, IncidentError> {
        let (whole, rest) = text.rsplit_once('\n').unwrap_or(("", text));
        let read = |(at, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|source| IncidentError::Line { line: at + 1, source })
        };
        let records: Vec<Record> = whole.lines().enumerate().map(read).collect::<Result<_, _>>()?;
        match records.first().map(|record| &record.event) {
            Some(Event::Opened(opening)) => Ok(Self { opening: opening.clone(), is_torn: !rest.is_empty(), records }),
            _ => Err(IncidentError::NotOpened),
        }
    }

    pub fn opened_at(&self) -> Timestamp {
        self.records.first().map_or(Timestamp::UNIX_EPOCH, |record| record.at)
    }

    /// None: the run never ended, or goes on.
    pub fn outcome(&self) -> Option<Outcome> {
        self.records.iter().rev().find_map(|record| match record.event {
            Event::Closed { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    /// From the first look to the last line.
    pub fn seconds(&self) -> i64 {
        let last = self.records.last().map_or(Timestamp::UNIX_EPOCH, |record| record.at);
        last.as_second() - self.opened_at().as_second()
    }

    /// What was found, in a word or two.
    pub fn finding(&self) -> Option<&str> {
        self.records.iter().rev().find_map(|record| match &record.event {
            Event::Decided { decision: Decision::Cause { name, .. } } => Some(name.as_str()),
            Event::Decided { decision: Decision::NotThis { .. } } => Some("not this"),
            Event::Decided { decision: Decision::Undecided { .. } } => Some("undecided"),
            _ => None,
        })
    }

    /// For the post-mortem.
    pub fn markdown(&self) -> String {
        let Opening { id, deployment, runbook, symptom, alert, by, version } = &self.opening;
        let woken = alert.as_ref().map(|alert| format!(" for the alert {alert}")).unwrap_or_default();
        let end = match self.outcome() {
            Some(outcome) => format!("{}, after {} s", outcome.as_str(), self.seconds()),
            None => "the run did not end; its last line is the last that is known".to_owned(),
        };
        let mut page = format!(
            "# Incident {id}\n\n- Deployment: {deployment}\n- Runbook: {runbook}{woken}\n- Symptom: {}\n- By: {by}, dsctl \
             {version}\n- Opened: {}\n- Outcome: {end}\n\n## What happened\n\n| UTC | |\n|---|---|\n",
            symptom.trim(),
            self.opened_at(),
        );
        for record in &self.records[1..] {
            let time = record.at.strftime("%H:%M:%S");
            // Writing to a String does not fail.
            let _ = writeln!(page, "| {time} | {} |", told(&record.event).replace('|', "\\|").replace('\n', " "));
        }
        page
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Opened(_) => "opened".to_owned(),
        Event::Began { mode: Mode::DryRun } => "looked, changing nothing".to_owned(),
        Event::Began { mode: Mode::Act } => "looked, to act".to_owned(),
        Event::Seen(step) => {
            let answer = step.answer.map_or("can't be seen", |yes| if yes { "yes" } else { "no" });
            format!("{} **{answer}**: {}", step.ask.trim(), step.seen)
        }
        Event::Decided { decision } => match decision {
            Decision::Cause { name, meaning, by_hand } => {
                let by_hand = by_hand.as_ref().map(|text| format!(" By hand: {}", text.trim())).unwrap_or_default();
                format!("cause: **{name}**. {}{by_hand}", meaning.trim())
            }
            Decision::NotThis { why } => format!("not this: {}", why.trim()),
            Decision::Undecided { step, why } => format!("undecided at {step}: {why}"),
        },
        Event::Acting { what, back } => {
            let back = back.as_ref().map(|back| format!(" (way back: {})", back.trim())).unwrap_or_default();
            format!("began: **{what}**{back}")
        }
        Event::Acted { outcome } => match outcome {
            RemedyOutcome::WouldBeDone => "not done".to_owned(),
            RemedyOutcome::Verified { done, seen, after } => format!("{done}; it helped after {after}: {seen}"),
            RemedyOutcome::NotVerified { done, seen, after } => {
                format!("{done}; it has not helped after {after}: {seen}")
            }
            RemedyOutcome::Failed { error } => format!("failed: {error}"),
        },
        Event::Closed { outcome, call } => {
            let call = call.as_ref().map(|call| format!("; call {}", call.trim())).unwrap_or_default();
            format!("closed: {}{call}", outcome.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64, event: Event) -> Record {
        Record { at: Timestamp::from_second(second).unwrap(), event }
    }

    fn opening() -> Opening {
        Opening {
            id: "i1".to_owned(),
            deployment: "default".to_owned(),
            runbook: "agent-dead".to_owned(),
            symptom: "it is gone".to_owned(),
            alert: Some("AgentDown".to_owned()),
            by: "ada@desk".to_owned(),
            version: "0.1.0".to_owned(),
        }
    }

    fn records() -> Vec<Record> {
        let seen = StepSeen {
            step: "s".to_owned(),
            ask: "Is it gone?".to_owned(),
            answer: Some(true),
            seen: "agent | dead".to_owned(),
        };
        let cause = Decision::Cause { name: "agent-gone".to_owned(), meaning: "m".to_owned(), by_hand: None };
        vec![
            at(10, Event::Opened(opening())),
            at(11, Event::Began { mode: Mode::Act }),
            at(12, Event::Seen(seen)),
            at(12, Event::Decided { decision: cause }),
            at(12, Event::Acting { what: "up".to_owned(), back: Some("down".to_owned()) }),
        ]
    }

    fn text(records: &[Record]) -> String {
        records.iter().map(|record| record.line().unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_read_again_whole() {
        let written = records();
        let incident = Incident::parse(&text(&written)).unwrap();
        assert_eq!((&incident.records, incident.is_torn), (&written, false));
        assert_eq!((incident.outcome(), incident.finding(), incident.seconds()), (None, Some("agent-gone"), 2));
    }

    /// Cut at any byte, everything that was whole is still told.
    #[test]
    fn a_line_that_was_not_finished_takes_none_of_the_others_with_it() {
        let all = text(&records());
        let first = all.find('\n').unwrap() + 1;
        for cut in first..all.len() {
            let incident = Incident::parse(&all[..cut]).unwrap();
            assert_eq!(incident.records.len(), all[..cut].matches('\n').count());
            assert_eq!(incident.is_torn, !all[..cut].ends_with('\n'));
        }
        assert!(matches!(Incident::parse(&all[..first - 1]), Err(IncidentError::NotOpened)));
        let other = all.replacen("\"event\":\"began\"", "\"event\":\"begun\"", 1);
        assert!(matches!(Incident::parse(&other), Err(IncidentError::Line { line: 2, .. })));
    }

    #[test]
    fn a_page_says_who_what_and_when_and_that_it_did_not_end() {
        let page = Incident::parse(&text(&records())).unwrap().markdown();
        for part in [
            "# Incident i1",
            "- Runbook: agent-dead for the alert AgentDown",
            "the run did not end",
            "| 00:00:12 | Is it gone? **yes**: agent \\| dead |",
            "| 00:00:12 | began: **up** (way back: down) |",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
    }
}
