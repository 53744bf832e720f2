//! The words of whoever is on call: `dsctl runbook`, `incident` and `chaos`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use spec::id::DeploymentName;

use super::{JsonArgs, NameArgs};

#[derive(Debug, Subcommand)]
pub enum RunbookCommand {
    /// All runbooks and the alerts they answer
    List(JsonArgs),
    /// Print a runbook as Markdown
    Show { runbook: String },
    /// What was run on a deployment, the last first
    History {
        #[command(flatten)]
        name: NameArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Go through a runbook: checks first, a remedy only if you agree
    Run {
        /// A runbook's name
        #[arg(required_unless_present = "alert")]
        runbook: Option<String>,
        /// The runbook that answers this alert
        #[arg(long, conflicts_with = "runbook", value_name = "ALERT")]
        alert: Option<String>,
        #[command(flatten)]
        name: NameArgs,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
        /// Carry out remedies without asking
        #[arg(long, short, conflicts_with = "dry_run")]
        yes: bool,
        #[command(flatten)]
        json: JsonArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// All that were kept of a deployment, the last first
    List {
        #[command(flatten)]
        name: NameArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// What happened in one, step by step
    Show {
        /// As `dsctl incident list` names it; the last one without it
        incident: Option<String>,
        #[command(flatten)]
        name: NameArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// The same as a page of Markdown, for the post-mortem
    Export {
        /// As `dsctl incident list` names it; the last one without it
        incident: Option<String>,
        #[command(flatten)]
        name: NameArgs,
        /// File to write; never one that exists [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl IncidentCommand {
    pub const fn name(&self) -> &DeploymentName {
        match self {
            Self::List { name, .. } | Self::Show { name, .. } | Self::Export { name, .. } => &name.name,
        }
    }
}

#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// What to break
    pub fault: Fault,
    #[command(flatten)]
    pub name: NameArgs,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Something that breaks in the night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// End the daemon as if it had crashed
    KillDaemon,
    /// End the gateway as if it had crashed; clients get no answer until it is back
    KillGateway,
    /// End the agent, so that nothing else is started again
    KillAgent,
    /// The agent first, then the daemon: nobody starts it again
    KillAgentAndDaemon,
    /// Change one byte of the weights in the cache that all deployments of this machine share
    DamageWeights,
}
