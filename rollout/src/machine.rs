//! The phases of a rollout and the moves between them: one total match.
//!
//! ```text
//!       promote (next stage), step back
//!               +---+
//!               v   |    promote (last stage)
//! start ----> baking ---------------------------> promoted
//!          pause | ^ resume  \
//!                v |          +-- roll back ----> rolled-back
//!              paused --------+-- abort --------> aborted
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use spec::amount::Weight;
use spec::rollout::{RolloutPhase, RolloutSpec};

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub phase: RolloutPhase,
    /// Index into the spec's stages.
    pub stage: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Pause,
    Resume,
    /// To the next stage, or to the end after the last.
    Promote,
    /// To the stage before.
    StepBack,
    RollBack,
    Abort,
}

/// A move that the phase doesn't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rollout that is {} can't be {}", .phase.as_str(), .attempted.participle())]
pub struct IllegalMove {
    pub phase: RolloutPhase,
    pub attempted: Move,
}

impl Move {
    pub const ALL: [Self; 6] = [Self::Pause, Self::Resume, Self::Promote, Self::StepBack, Self::RollBack, Self::Abort];

    const fn participle(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Promote => "promoted",
            Self::StepBack => "stepped back",
            Self::RollBack => "rolled back",
            Self::Abort => "aborted",
        }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::StepBack => "step back",
            Self::RollBack => "roll back",
            Self::Abort => "abort",
        })
    }
}

impl Position {
    pub const fn first(stage: usize) -> Self {
        Self { phase: RolloutPhase::Baking, stage }
    }

    /// Where a move leads in a rollout of so many stages.
    pub fn after(self, attempted: Move, stages: usize) -> Result<Self, IllegalMove> {
        use RolloutPhase as Phase;
        let Self { phase, stage } = self;
        let to = |phase| Ok(Self { phase, stage });
        match (phase, attempted) {
            (Phase::Baking, Move::Pause) => to(Phase::Paused),
            (Phase::Paused, Move::Resume) => to(Phase::Baking),
            (Phase::Baking, Move::Promote) if stage + 1 < stages => Ok(Self { phase, stage: stage + 1 }),
            (Phase::Baking, Move::Promote) => to(Phase::Promoted),
            (Phase::Baking | Phase::Paused, Move::StepBack) if stage > 0 => Ok(Self { phase, stage: stage - 1 }),
            (Phase::Baking | Phase::Paused, Move::RollBack) => to(Phase::RolledBack),
            (Phase::Baking | Phase::Paused, Move::Abort) => to(Phase::Aborted),
            (Phase::Baking, Move::Resume)
            | (Phase::Paused, Move::Pause | Move::Promote)
            | (Phase::Baking | Phase::Paused, Move::StepBack)
            | (
                Phase::Promoted | Phase::RolledBack | Phase::Aborted,
                Move::Pause | Move::Resume | Move::Promote | Move::StepBack | Move::RollBack | Move::Abort,
            ) => Err(IllegalMove { phase, attempted }),
        }
    }

    /// The candidate's weight that belongs to it.
    pub fn weight(self, spec: &RolloutSpec) -> Weight {
        match self.phase {
            RolloutPhase::Baking | RolloutPhase::Paused => spec.stages.get(self.stage).copied().unwrap_or(Weight::NONE),
            RolloutPhase::Promoted => Weight::ALL,
            RolloutPhase::RolledBack | RolloutPhase::Aborted => Weight::NONE,
        }
    }

    /// The next stage's weight, if the spec wants somebody's approval before it.
    pub fn needs_approval(self, spec: &RolloutSpec) -> Option<Weight> {
        let next = spec.stages.get(self.stage + 1).filter(|_| !self.phase.is_over())?;
        spec.approve_before.contains(next).then_some(*next)
    }

    pub const fn is_last(self, stages: usize) -> bool {
        self.stage + 1 >= stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [RolloutPhase; 5] = [
        RolloutPhase::Baking,
        RolloutPhase::Paused,
        RolloutPhase::Promoted,
        RolloutPhase::RolledBack,
        RolloutPhase::Aborted,
    ];

    fn spec() -> RolloutSpec {
        RolloutSpec::default()
    }

    fn all_positions() -> impl Iterator<Item = Position> {
        PHASES.into_iter().flat_map(|phase| (0..4).map(move |stage| Position { phase, stage }))
    }

    #[test]
    fn abort_and_rollback_reach_zero_from_every_live_phase() {
        for position in all_positions().filter(|position| !position.phase.is_over()) {
            for (attempted, phase) in [(Move::Abort, RolloutPhase::Aborted), (Move::RollBack, RolloutPhase::RolledBack)]
            {
                let after = position.after(attempted, 4).unwrap();
                assert_eq!((after.phase, after.weight(&spec())), (phase, Weight::NONE), "{position:?}");
            }
        }
    }

    #[test]
    fn what_is_over_stays_over_and_says_so() {
        for position in all_positions().filter(|position| position.phase.is_over()) {
            for attempted in Move::ALL {
                let error = position.after(attempted, 4).unwrap_err();
                assert_eq!(error, IllegalMove { phase: position.phase, attempted });
                assert!(error.to_string().contains(position.phase.as_str()), "{error}");
            }
        }
    }

    #[test]
    fn only_promote_raises_the_weight_and_only_while_baking() {
        for position in all_positions() {
            for attempted in Move::ALL {
                let Ok(after) = position.after(attempted, 4) else { continue };
                if after.weight(&spec()) > position.weight(&spec()) {
                    assert_eq!((position.phase, attempted), (RolloutPhase::Baking, Move::Promote));
                    assert_eq!(after.stage, position.stage + 1);
                }
            }
        }
    }

    #[test]
    fn pausing_twice_and_resuming_what_bakes_is_refused() {
        let baking = Position::first(1);
        let paused = baking.after(Move::Pause, 4).unwrap();
        assert_eq!(paused.after(Move::Resume, 4).unwrap(), baking);
        assert_eq!(paused.after(Move::Pause, 4).unwrap_err().to_string(), "a rollout that is paused can't be paused");
        assert_eq!(
            paused.after(Move::Promote, 4).unwrap_err().to_string(),
            "a rollout that is paused can't be promoted"
        );
        assert_eq!(baking.after(Move::Resume, 4).unwrap_err().to_string(), "a rollout that is baking can't be resumed");
    }

    #[test]
    fn stages_are_climbed_one_by_one_to_the_end() {
        let mut position = Position::first(0);
        let mut weights = vec![position.weight(&spec()).to_string()];
        while !position.phase.is_over() {
            position = position.after(Move::Promote, 4).unwrap();
            weights.push(position.weight(&spec()).to_string());
        }
        assert_eq!(weights, ["10%", "30%", "60%", "100%", "100%"]);
        assert_eq!(position.phase, RolloutPhase::Promoted);
    }
}
