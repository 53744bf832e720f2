//! What the journal of a rollout holds: enough to go on from any record.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spec::amount::Weight;
use spec::rollout::RolloutSpec;

use crate::decide::Decision;
use crate::evidence::Evidence;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The first record.
    Started {
        spec: RolloutSpec,
        stage: usize,
        found: Weight,
        /// Begun only to take a candidate away that this rollout had promoted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<String>,
    },
    /// A weight is about to be asked for; it takes the place of an earlier intent that has no outcome yet.
    WeightIntended {
        cause: Cause,
        weight: Weight,
        generation: u64,
        reason: String,
    },
    /// The weight intended last is in force and on the gateway's disk.
    WeightSet {
        weight: Weight,
        generation: u64,
    },
    PromotedStage {
        stage: usize,
        reason: String,
    },
    SteppedBack {
        stage: usize,
        reason: String,
    },
    /// The next stage may begin.
    Approved {
        stage: usize,
    },
    Paused,
    /// Paused by itself, since the stage was not passed in its longest time.
    BakedTooLong {
        reason: String,
    },
    Resumed,
    Promoted {
        reason: String,
    },
    RolledBack {
        reason: String,
    },
    Aborted {
        reason: String,
    },
    /// What is known; not part of the history that is shown.
    Evidence {
        evidence: Box<Evidence>,
        decision: Decision,
    },
}

/// Why a weight is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// To the first stage.
    Start,
    /// Back to the rollout's own weight, after the table in force turned out to have another.
    Restore,
    Promote,
    StepBack,
    RollBack,
    Abort,
}

/// A change of weight that was asked for and isn't concluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub cause: Cause,
    pub weight: Weight,
    pub generation: u64,
    pub reason: String,
    /// The weight is in force; what is left is the record that concludes.
    pub is_set: bool,
}

impl Event {
    /// As a person reads it; none for what isn't shown.
    pub const fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Started { .. } => "started",
            Self::WeightIntended { .. } => "weight-intended",
            Self::WeightSet { .. } => "weight-set",
            Self::PromotedStage { .. } => "promoted-stage",
            Self::SteppedBack { .. } => "stepped-back",
            Self::Approved { .. } => "approved",
            Self::Paused => "paused",
            Self::BakedTooLong { .. } => "baked-too-long",
            Self::Resumed => "resumed",
            Self::Promoted { .. } => "promoted",
            Self::RolledBack { .. } => "rolled-back",
            Self::Aborted { .. } => "aborted",
            Self::Evidence { .. } => return None,
        })
    }

    pub fn detail(&self) -> String {
        match self {
            Self::Started { found, undoes: Some(promoted), .. } => format!("takes {found} back, undoing {promoted}"),
            Self::Started { spec, found, undoes: None, .. } => {
                let stages: Vec<String> = spec.stages.iter().map(Weight::to_string).collect();
                format!("stages {}, bake {}, from {found}", stages.join(" "), spec.bake)
            }
            Self::WeightIntended { generation, reason, .. } => format!("generation {generation}: {reason}"),
            Self::WeightSet { generation, .. } => format!("generation {generation}"),
            Self::PromotedStage { reason, .. }
            | Self::SteppedBack { reason, .. }
            | Self::BakedTooLong { reason }
            | Self::Promoted { reason }
            | Self::RolledBack { reason }
            | Self::Aborted { reason } => reason.clone(),
            Self::Approved { stage } => format!("stage {}, by hand", stage + 1),
            Self::Paused | Self::Resumed => "by hand".to_owned(),
            Self::Evidence { decision, .. } => decision.reason.clone(),
        }
    }
}

/// The id of a rollout: when it began, and a number that tells it from others of the same second. Ids sort by time,
/// also when the clock was set back since the last one.
pub(crate) fn next_id(now: Timestamp, last: Option<&str>) -> String {
    let stamp = now.strftime("%Y%m%dT%H%M%S").to_string();
    let last = last.and_then(|id| id.split_once('-')).and_then(|(stamp, n)| Some((stamp, n.parse::<u32>().ok()?)));
    match last {
        Some((last_stamp, number)) if last_stamp >= stamp.as_str() => format!("{last_stamp}-{:04}", number + 1),
        Some(_) | None => format!("{stamp}-0001"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_whatever_the_clock_does() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let first = next_id(at("2026-11-23T15:45:00Z"), None);
        assert_eq!(first, "20261123T154500-0001");
        let second = next_id(at("2026-11-23T15:45:00.9Z"), Some(&first));
        assert_eq!(second, "20261123T154500-0002");
        let set_back = next_id(at("2026-11-23T15:00:00Z"), Some(&second));
        assert_eq!(set_back, "20261123T154500-0003");
        assert_eq!(next_id(at("2026-11-23T15:45:01Z"), Some(&set_back)), "20261123T154501-0001");
    }
}
