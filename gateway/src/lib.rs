//! dsgate: one OpenAI-compatible endpoint in front of two variants.
//!
//! ```text
//! client -> public: key, body -> proxy: limits, guards -> route: table, way -> ask -> commit, relay -> client
//!                                                           |                |         |
//!                                                         cache      breaker, health  observe -> metrics, log line, record
//! dsctl  -> admin -------------------------------------------------- carrier (rollout controller) <- observations
//! ```
//! Settings and route table are swapped whole while requests go on; the data plane needs nothing but the last of each,
//! so a controller that fails stops nothing.

mod account;
mod admin;
mod allowance;
mod answer;
mod args;
mod ask;
mod body;
mod breaker;
mod cache;
mod carrier;
mod commit;
mod config;
mod control;
mod cost;
mod entry;
mod failure;
mod follow;
mod guard;
mod headers;
mod health;
mod keys;
mod listen;
mod metrics;
mod observe;
mod page;
mod pick;
mod plane;
mod proxy;
mod public;
mod recorder;
mod relay;
mod route;
mod serve;
mod sse;
mod table;
mod tls;
mod trail;
mod upstream;
mod watchdog;
mod way;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

pub use args::{Args, LogFormat};
pub use serve::RunError;
pub use tls::{CertificateFiles, TlsError};

/// Runs the program from its command line to its end.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode, RunError> {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Help goes to stdout, a usage error to stderr; if that is closed there is nobody to tell.
            drop(error.print());
            return Ok(if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS });
        }
    };
    log_to_stderr(args.log_format);
    serve::run(&args)?;
    Ok(ExitCode::SUCCESS)
}

/// An error with its causes, on one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        // Some errors say their cause themselves.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = source.source();
    }
    text
}

fn log_to_stderr(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let result = match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // A second call in one process (as in tests) keeps the first one's lines.
    drop(result);
}
