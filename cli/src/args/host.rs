//! The words of `dsctl host`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use spec::amount::Span;
use spec::id::UnitName;
use spec::virtual_key::{Budget, is_name};

use super::{JsonArgs, WhereArgs};

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Stop a unit politely and start it again; ends a drain
    Restart(HostUnitArgs),
    /// Let a unit finish what it has, then keep it down until it is restarted
    Drain(HostDrainArgs),
    /// Run a daemon with other limits than the deployment's, until `up` changes the host; without limits: back to its own
    Limit(HostLimitArgs),
    /// Fetch status, logs and measurements of the host in one file, without secrets
    Diagnostics(HostDiagnosticsArgs),
}

/// Of every act on a host.
#[derive(Debug, Args)]
pub struct HostAskArgs {
    #[command(flatten)]
    pub place: WhereArgs,
    #[command(flatten)]
    pub json: JsonArgs,
    /// How long the outcome is waited for; the act goes on all the same
    #[arg(long, default_value = "10m", value_name = "TIME")]
    pub timeout: Span,
}

#[derive(Debug, Args)]
pub struct HostUnitArgs {
    /// dsserve, dsserve-baseline or dsgate
    #[arg(default_value = "dsserve")]
    pub unit: UnitName,
    /// Ask for it and end
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub ask: HostAskArgs,
}

#[derive(Debug, Args)]
pub struct HostDrainArgs {
    #[command(flatten)]
    pub unit: HostUnitArgs,
    /// Don't ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct HostLimitArgs {
    /// Tokens a sequence may have
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(16..))]
    pub context: Option<u32>,
    /// Sequences generated at once
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_sequences: Option<u32>,
    #[command(flatten)]
    pub unit: HostUnitArgs,
}

#[derive(Debug, Args)]
pub struct HostDiagnosticsArgs {
    /// Where it is written [default: dsctl-diagnostics-NAME-TIME.zip here]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub ask: HostAskArgs,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a new key for clients; those before it go on to be taken, unless --retire-others
    Rotate(RotateArgs),
    /// Take only the newest key from now on; keys with a name stay
    RetireOthers(HostAskArgs),
    /// Make a key with a name and limits, in place of one with that name; it is shown once
    Create(KeyCreateArgs),
    /// List the keys with a name and what they may do
    List(KeyListArgs),
    /// Take a key with a name no more
    Revoke(KeyRevokeArgs),
}

#[derive(Debug, Args)]
pub struct KeyCreateArgs {
    /// Lower-case letters, digits, dashes; stands in metrics and in the audit log
    #[arg(value_name = "KEY-NAME", value_parser = key_name)]
    pub key_name: String,
    /// Models that it may ask for [default: all]
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    pub models: Vec<String>,
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests_per_minute: Option<u64>,
    /// Of prompts and answers together
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens_per_minute: Option<u64>,
    /// What may be spent on variants that have a price, e.g. 20/day or 300/month (UTC)
    #[arg(long, value_name = "DOLLARS/PERIOD")]
    pub budget: Option<Budget>,
    /// How long it is taken, e.g. 90d [default: until it is revoked]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Span>,
    #[command(flatten)]
    pub ask: HostAskArgs,
}

#[derive(Debug, Args)]
pub struct KeyListArgs {
    #[command(flatten)]
    pub ask: HostAskArgs,
}

#[derive(Debug, Args)]
pub struct KeyRevokeArgs {
    #[arg(value_name = "KEY-NAME", value_parser = key_name)]
    pub key_name: String,
    #[command(flatten)]
    pub ask: HostAskArgs,
}

fn key_name(given: &str) -> Result<String, &'static str> {
    if is_name(given) { Ok(given.to_owned()) } else { Err("lower-case letters, digits and dashes, at most 63") }
}

#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Take only the new key, at once: for a key that leaked
    #[arg(long)]
    pub retire_others: bool,
    #[command(flatten)]
    pub ask: HostAskArgs,
}

impl KeysCommand {
    pub fn ask(&self) -> &HostAskArgs {
        match self {
            Self::Rotate(args) => &args.ask,
            Self::RetireOthers(args) => args,
            Self::Create(args) => &args.ask,
            Self::List(args) => &args.ask,
            Self::Revoke(args) => &args.ask,
        }
    }
}

impl HostCommand {
    pub fn ask(&self) -> &HostAskArgs {
        match self {
            Self::Restart(args) => &args.ask,
            Self::Drain(args) => &args.unit.ask,
            Self::Limit(args) => &args.unit.ask,
            Self::Diagnostics(args) => &args.ask,
        }
    }
}
