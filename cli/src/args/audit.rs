//! The words of `dsctl audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{JsonArgs, NameArgs};

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that the log is as it was written: nothing changed, nothing taken out; exit 1 if not
    Verify(AuditVerifyArgs),
    /// Write records to stdout, with who asked where that is known
    Export(AuditExportArgs),
    /// Drop a user's key: nobody can tell any more whose the user's records are; the log stays whole
    Erase(AuditEraseArgs),
}

/// Which log.
#[derive(Debug, Args)]
pub struct AuditPlaceArgs {
    #[command(flatten)]
    pub name: NameArgs,
    /// A log that lies elsewhere, such as a copy [default: the deployment's own]
    #[arg(long, value_name = "DIR", requires = "key_file")]
    pub folder: Option<PathBuf>,
    /// File with that log's key: the deployment's secret audit-key
    #[arg(long, value_name = "FILE", requires = "folder")]
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct AuditVerifyArgs {
    #[command(flatten)]
    pub place: AuditPlaceArgs,
    /// The hash of a record that must be there, as an earlier check told it: so that nothing was cut off the end
    #[arg(long, value_name = "HASH")]
    pub expect: Option<String>,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct AuditExportArgs {
    #[command(flatten)]
    pub place: AuditPlaceArgs,
    /// From then on, e.g. 2026-11-01 or 2026-11-01T08:00:00Z; a day begins in UTC
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Timestamp>,
    /// Before then
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<Timestamp>,
    /// Of this user alone
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    pub format: AuditFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuditFormat {
    /// One JSON object a line
    Jsonl,
    Csv,
}

#[derive(Debug, Args)]
pub struct AuditEraseArgs {
    #[command(flatten)]
    pub place: AuditPlaceArgs,
    /// The user, as requests name it
    #[arg(long, value_name = "ID")]
    pub user: String,
    /// Don't ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

impl AuditCommand {
    pub fn place(&self) -> &AuditPlaceArgs {
        match self {
            Self::Verify(args) => &args.place,
            Self::Export(args) => &args.place,
            Self::Erase(args) => &args.place,
        }
    }

    pub fn wants_json(&self) -> bool {
        match self {
            Self::Verify(args) => args.json.json,
            Self::Export(_) => false,
            Self::Erase(args) => args.json.json,
        }
    }
}

fn parse_time(given: &str) -> Result<Timestamp, String> {
    let of_day = |date: Date| TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok();
    let time = given.parse().ok().or_else(|| given.parse().ok().and_then(of_day));
    time.ok_or_else(|| format!("{given} is neither a day like 2026-11-01 nor a time like 2026-11-01T08:00:00Z"))
}
