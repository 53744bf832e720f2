//! `dsctl host …`: acts on a deployment's host, which its agent carries out.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use spec::action::{Act, ActionOutcome, DaemonLimits};
use spec::id::DeploymentName;

use crate::args::{HostAskArgs, HostCommand, HostDiagnosticsArgs, HostUnitArgs};
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::host_desk::HostDesk;
use crate::site::Kept;
use crate::talk::{confirm, print, print_json, say};

#[derive(Debug, Serialize)]
struct HostReport<'a> {
    deployment: &'a str,
    action: &'a str,
    act: &'a Act,
    /// None while nobody waited for it.
    outcome: Option<&'a ActionOutcome>,
    /// What was fetched.
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    ForOutcome,
    No,
}

pub async fn run(context: &Context, command: HostCommand) -> Result<ExitCode, Failure> {
    match command {
        HostCommand::Restart(args) => one(context, &args.ask, Act::Restart(args.unit.clone()), wait(&args)).await,
        HostCommand::Drain(args) => {
            let unit = &args.unit.unit;
            if !args.yes {
                let question =
                    format!("{unit} finishes what it has and stays down until `dsctl host restart {unit}`. Go on?");
                confirm(&question, &format!("dsctl host drain {unit}"))?;
            }
            one(context, &args.unit.ask, Act::Drain(unit.clone()), wait(&args.unit)).await
        }
        HostCommand::Limit(args) => {
            let limits =
                DaemonLimits { unit: args.unit.unit.clone(), context: args.context, max_sequences: args.max_sequences };
            one(context, &args.unit.ask, Act::Limit(limits), wait(&args.unit)).await
        }
        HostCommand::Diagnostics(args) => diagnostics(context, &args).await,
    }
    .map(|()| ExitCode::SUCCESS)
}

fn wait(args: &HostUnitArgs) -> Wait {
    if args.no_wait { Wait::No } else { Wait::ForOutcome }
}

async fn one(context: &Context, args: &HostAskArgs, act: Act, wait: Wait) -> Result<(), Failure> {
    let desk = HostDesk::of(context, Kept::find(context, &args.place)?).await?;
    let action = desk.ask(act).await?;
    let outcome = match wait {
        Wait::No => None,
        Wait::ForOutcome => {
            say(format!("Asked for ({}); waiting for the host.", action.id));
            Some(desk.outcome(&action, args.timeout.0).await?)
        }
    };
    let done = outcome.as_ref().map(said).transpose()?;
    if args.json.json {
        let outcome = outcome.as_ref();
        return print_json(&HostReport {
            deployment: desk.name(),
            action: &action.id,
            act: &action.act,
            outcome,
            file: None,
        });
    }
    match done {
        Some(said) => print(said),
        None => print(format!("asked for: {}; `dsctl status --json` has its outcome", action.id)),
    }
}

fn said(outcome: &ActionOutcome) -> Result<&str, Failure> {
    match &outcome.result {
        Ok(said) => Ok(said),
        Err(why) => Err(Failure::new(Kind::Resource, why).next("dsctl status")),
    }
}

async fn diagnostics(context: &Context, args: &HostDiagnosticsArgs) -> Result<(), Failure> {
    let kept = Kept::find(context, &args.ask.place)?;
    let file = args.output.clone().unwrap_or_else(|| file_name(&kept.name));
    if file.exists() {
        let message = format!("--output: {} is there already", file.display());
        return Err(Failure::usage(message).next("dsctl host diagnostics --output ANOTHER-FILE"));
    }
    let desk = HostDesk::of(context, kept).await?;
    let action = desk.ask(Act::Diagnostics).await?;
    say(format!("Asked for ({}); waiting for the host.", action.id));
    let outcome = desk.outcome(&action, args.ask.timeout.0).await?;
    let size = said(&outcome)?.to_owned();
    keep(&file, &desk.diagnostics().await?)?;
    if args.ask.json.json {
        let outcome = Some(&outcome);
        let (action, act) = (action.id.as_str(), &action.act);
        return print_json(&HostReport { deployment: desk.name(), action, act, outcome, file: Some(file) });
    }
    print(format!("{}: {size}; secrets are taken out, read it before you send it", file.display()))
}

fn file_name(name: &DeploymentName) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    PathBuf::from(format!("dsctl-diagnostics-{name}-{now}.zip"))
}

/// For its owner alone.
fn keep(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", file.display()));
    let mut open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    open.write_all(bytes).and_then(|()| open.sync_all()).map_err(failed)
}
