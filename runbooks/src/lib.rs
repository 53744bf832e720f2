//! On-call procedures as data, and the small runner for them.
//!
//! ```text
//! data/NAME.yaml -> Runbook: symptom, meaning, steps (checks) -> causes -> remedies, each verified
//! run(runbook, probe, mode): check -> check -> cause -> remedy -> verification -> Report
//! ```
//!
//! The runner decides; what it sees and does goes through the port [`Probe`]. Nothing is changed but in [`Mode::Act`].

pub mod incident;
pub mod library;
pub mod markdown;
pub mod measure;
pub mod probe;
pub mod run;
pub mod runbook;
mod validate;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod scenarios;

pub use incident::{Event, Incident, Opening, Record, Witness};
pub use library::{Library, LibraryError, runbooks};
pub use probe::{PhaseSeen, Probe, ProbeError, Sample, StateSeen, StatusSeen, WeightsSeen};
pub use run::{Decision, Mode, Outcome, RemedyOutcome, RemedyReport, Report, StepSeen, run};
pub use runbook::{Check, MetricSource, Remedy, Runbook, Unit};
