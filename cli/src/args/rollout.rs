//! The words of `dsctl rollout`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use spec::amount::{Span, Weight};
use spec::rollout::Gate;

use super::{JsonArgs, NameArgs};

#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Begin a rollout
    Start(Box<RolloutStartArgs>),
    /// Where the rollout is, and why
    Status {
        #[command(flatten)]
        name: NameArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Address of a page for a browser on this machine: weights, gates, latencies and events; it holds the admin token
    Page {
        #[command(flatten)]
        name: NameArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Why it is there, in sentences: what each gate says, how fast answers come, when they are enough
    Explain {
        #[command(flatten)]
        name: NameArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Check a rollout file without starting anything: exit 0 valid, 2 not
    Validate {
        /// Rollout file (rollout.yaml)
        file: PathBuf,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// How long each stage will take at a rate of requests, and what its gates can't tell in that time
    Plan {
        /// Rollout file (rollout.yaml) [default: the stages and gates that `start` has]
        #[arg(long, short, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Requests of both variants together
        #[arg(long, value_name = "COUNT")]
        requests_per_minute: f64,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// What a file's gates would have decided of recorded requests: exit 0, or 10 if they would have rolled back
    Simulate {
        /// Log of dsgate (`dsctl logs dsgate -n 100000`); what is no request in it is passed over
        #[arg(long, value_name = "LOG")]
        from: PathBuf,
        /// Rollout file (rollout.yaml) [default: the stages and gates that `start` has]
        #[arg(long, short, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// The same, again and again until it is over
    Watch {
        #[command(flatten)]
        name: NameArgs,
    },
    /// Hold the weight; failing gates still roll back
    Pause(MoveArgs),
    /// Go on after a pause
    Resume(MoveArgs),
    /// Stop and move traffic back to the baseline now
    Abort(MoveArgs),
    /// Let the next stage begin that `approve_before` of the rollout file names; its gates decide all the same
    Approve(MoveArgs),
    /// Take back what the last rollout promoted; or begin anew, at the first stage, what was rolled back
    Undo(MoveArgs),
    /// All that was decided and done
    History {
        #[command(flatten)]
        name: NameArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
}

#[derive(Debug, Args)]
pub struct MoveArgs {
    #[command(flatten)]
    pub name: NameArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct RolloutStartArgs {
    #[command(flatten)]
    pub name: NameArgs,
    /// Rollout file (rollout.yaml); flags win over it
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Weights of the candidate, rising to 100 [default: 10,30,60,100]
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,…")]
    pub stages: Vec<Weight>,
    /// Time that a stage is held at least [default: 30m]
    #[arg(long, value_name = "TIME")]
    pub bake: Option<Span>,
    /// Condition that must hold, e.g. 'error_ratio<5%' or 'ttft_p95<15s' [default: these two], or beside the baseline 'error_ratio<1.5x', 'latency<1.2x'; ' on_fail=hold' or ' on_fail=step_back' and ' dry_run' may follow
    #[arg(long = "gate", value_name = "SLI<THRESHOLD")]
    pub gates: Vec<Gate>,
    /// Answers of the candidate that a stage needs [default: 20]
    #[arg(long, value_name = "COUNT")]
    pub min_requests: Option<u64>,
    /// Chance of rolling back a candidate that is exactly at a threshold [default: 0.01]
    #[arg(long, value_name = "PROBABILITY")]
    pub alpha: Option<f64>,
    /// Failures in a row that roll back at once [default: 5]
    #[arg(long, value_name = "COUNT")]
    pub consecutive_failures: Option<u32>,
    /// Time between two decisions [default: 1s]
    #[arg(long, value_name = "TIME")]
    pub tick: Option<Span>,
    /// Wait until it is over: exit 0 promoted, 10 rolled back or aborted
    #[arg(long)]
    pub wait: bool,
    /// With --wait: stop waiting after this long, exit 9; the rollout goes on
    #[arg(long, value_name = "TIME", requires = "wait")]
    pub timeout: Option<Span>,
    #[command(flatten)]
    pub json: JsonArgs,
}
