//! What can go wrong for those who call the controller, in kinds that an admin API can answer with.

use engine::journal::JournalError;
use spec::amount::Weight;
use spec::rollout::InvalidRollout;

use crate::machine::IllegalMove;
use crate::ports::TrafficError;
use crate::replay::ReplayError;

#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// 404.
    #[error("there was no rollout yet; start one first")]
    NoRollout,
    /// 409.
    #[error("rollout {id} is still going on; abort it or wait for its end")]
    Active { id: String },
    /// 409.
    #[error("the candidate has {in_force} of the traffic already; there is no stage left to go to")]
    NothingLeft { in_force: Weight },
    /// 409.
    #[error(
        "the candidate has {in_force} of the traffic, which is none of the stages ({}): going to the next one would skip \
         its evidence. Set the weight to 0% or to one of the stages, or make {in_force} a stage",
        .stages.iter().map(Weight::to_string).collect::<Vec<_>>().join(", ")
    )]
    BetweenStages { in_force: Weight, stages: Vec<Weight> },
    /// 409.
    #[error("nothing waits for an approval{}", .approved.map(|weight| format!(": {weight} has it")).unwrap_or_default())]
    NothingToApprove { approved: Option<Weight> },
    /// 409.
    #[error("nothing begins in the lockout {lockout}: start it after that, or take it out of the rollout")]
    LockedOut { lockout: String },
    /// 409.
    #[error(transparent)]
    IllegalMove(#[from] IllegalMove),
    /// 422.
    #[error(transparent)]
    Invalid(#[from] InvalidRollout),
    /// 500. What was asked may have been recorded and then takes effect later: look at the report.
    #[error("the rollout's journal can't be used: {0}")]
    Journal(#[from] JournalError),
    /// 500.
    #[error("the journal of rollout {id} makes no sense: {source}")]
    Unreadable { id: String, source: ReplayError },
    /// 500. The intent is recorded; every tick tries again.
    #[error("the weight is not in force yet, and is tried again: {0}")]
    Traffic(#[from] TrafficError),
}
