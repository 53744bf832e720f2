//! The command line of dsgate.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Split OpenAI API traffic between two upstreams, and carry the rollout from one to the other.
#[derive(Debug, Clone, Parser)]
#[command(name = "dsgate", version, about)]
pub struct Args {
    /// The configuration file (JSON); read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Folder for the route table and the rollout journal
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// How log lines are written to stderr
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}
