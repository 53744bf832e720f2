//! dsctl: words the user types -> library calls. The only crate that prints or exits.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

mod args;
mod audit_kept;
mod clouds;
mod commands;
mod context;
mod exit;
mod folder;
mod gateway;
mod given;
mod host_desk;
mod incidents;
mod judge;
#[cfg(test)]
mod judge_contract;
mod machine_choice;
mod measure;
mod numbers;
mod prepare;
mod prepare_cloud;
mod probe;
mod progress;
mod resolve;
mod scrape;
mod session;
mod site;
mod talk;
mod trust;
mod view;

use args::{Cli, Command};
use context::Context;
use exit::Failure;
use spec::id::DeploymentName;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = wants_json(&cli.command);
    let name = deployment_of(&cli.command);
    // With it, 2 means changes: every error is 1.
    let is_detailed = match &cli.command {
        Command::Plan(args) => args.detailed_exitcode,
        Command::Drift(args) => args.detailed_exitcode,
        Command::Orphans(args) => args.detailed_exitcode,
        Command::Alerts(args) => args.detailed_exitcode,
        _ => false,
    };
    match run(cli) {
        Ok(code) => code,
        Err(mut failure) => {
            failure.next = failure.next.map(|next| talk::with_name(&next, name.as_ref()));
            tell(&failure, json);
            if is_detailed { ExitCode::FAILURE } else { failure.exit_code() }
        }
    }
}

/// Commands that only print need no runtime: `--help` and completion answer at once.
fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "dsctl", &mut script);
            talk::print_text(&String::from_utf8_lossy(&script)).map(done)
        }
        Command::Models(args) => commands::models::run(&args).map(done),
        Command::Gpus(args) if !args.live => commands::gpus::run(&args).map(done),
        Command::Init(args) => commands::init::run(&args).map(done),
        command => {
            let context = Context::new(cli.home)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let result = runtime.block_on(dispatch(&context, command));
            // A read of stdin or a slow name lookup must not keep a finished command alive.
            runtime.shutdown_background();
            result
        }
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Up(args) => commands::up::run(context, args).await.map(done),
        Command::Plan(args) => commands::plan::run(context, args).await,
        Command::Drift(args) => commands::drift::run(context, args).await,
        Command::Forget(args) => commands::forget::run(context, args).await.map(done),
        Command::Unlock(args) => commands::unlock::run(context, args).await.map(done),
        Command::Orphans(args) => commands::orphans::run(context, args).await,
        Command::Down(args) => commands::down::run(context, args).await.map(done),
        Command::Status(args) => commands::status::run(context, args).await,
        Command::Alerts(args) => commands::alerts::run(context, args).await,
        Command::Top(args) => commands::top::run(context, args).await.map(done),
        Command::Logs(args) => commands::logs::run(context, args).await.map(done),
        Command::Host(command) => commands::host::run(context, command).await,
        Command::Keys(command) => commands::keys::run(context, command).await.map(done),
        Command::Audit(command) => commands::audit::run(context, &command),
        Command::Weights(command) => commands::weights::run(context, command).await.map(done),
        Command::Rollout(command) => commands::rollout::run(context, command).await,
        Command::Runbook(command) => commands::runbook::run(context, command).await,
        Command::Incident(command) => commands::incident::run(context, &command).map(done),
        Command::Chaos(args) => commands::chaos::run(context, args).await.map(done),
        Command::Agent(args) => commands::agent::run(context, args).await.map(done),
        Command::Gpus(args) => commands::gpus::run_live(&args).await.map(done),
        Command::Completion { .. } | Command::Models(_) | Command::Init(_) => Ok(ExitCode::SUCCESS),
    }
}

fn done(_: ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// The deployment that a command is about, if it is not the default one.
fn deployment_of(command: &Command) -> Option<DeploymentName> {
    use args::{RolloutCommand, RunbookCommand};
    let name = match command {
        Command::Up(args) => args.spec.name.as_ref()?,
        Command::Plan(args) => args.spec.name.as_ref()?,
        Command::Drift(args) => &args.place.name.name,
        Command::Forget(args) => &args.place.name.name,
        Command::Unlock(args) => &args.place.name.name,
        Command::Down(args) => &args.place.name.name,
        Command::Status(args) => &args.place.name.name,
        Command::Alerts(args) => &args.name.name,
        Command::Top(args) => &args.name,
        Command::Logs(args) => &args.name.name,
        Command::Host(command) => &command.ask().place.name.name,
        Command::Keys(command) => &command.ask().place.name.name,
        Command::Audit(command) => &command.place().name.name,
        Command::Agent(args) => &args.name.name,
        Command::Runbook(RunbookCommand::Run { name, .. } | RunbookCommand::History { name, .. }) => &name.name,
        Command::Incident(command) => command.name(),
        Command::Chaos(args) => &args.name.name,
        Command::Rollout(command) => match command {
            RolloutCommand::Start(args) => &args.name.name,
            RolloutCommand::Status { name, .. }
            | RolloutCommand::Explain { name, .. }
            | RolloutCommand::Watch { name }
            | RolloutCommand::Page { name, .. }
            | RolloutCommand::History { name, .. } => &name.name,
            RolloutCommand::Pause(args)
            | RolloutCommand::Resume(args)
            | RolloutCommand::Abort(args)
            | RolloutCommand::Approve(args)
            | RolloutCommand::Undo(args) => &args.name.name,
            RolloutCommand::Validate { .. } | RolloutCommand::Plan { .. } | RolloutCommand::Simulate { .. } => {
                return None;
            }
        },
        Command::Weights(_)
        | Command::Models(_)
        | Command::Gpus(_)
        | Command::Orphans(_)
        | Command::Init(_)
        | Command::Completion { .. } => {
            return None;
        }
        Command::Runbook(RunbookCommand::List(_) | RunbookCommand::Show { .. }) => return None,
    };
    Some(name.clone()).filter(|name| name.as_str() != "default")
}

fn wants_json(command: &Command) -> bool {
    use args::{IncidentCommand, RolloutCommand, RunbookCommand, WeightsCommand};
    match command {
        Command::Up(args) => args.json.json,
        Command::Plan(args) => args.json.json,
        Command::Drift(args) => args.json.json,
        Command::Forget(args) => args.json.json,
        Command::Unlock(args) => args.json.json,
        Command::Down(args) => args.json.json,
        Command::Status(args) => args.json.json,
        Command::Alerts(args) => args.json.json,
        Command::Models(args) => args.json,
        Command::Gpus(args) => args.json.json,
        Command::Orphans(args) => args.json.json,
        Command::Host(command) => command.ask().json.json,
        Command::Keys(command) => command.ask().json.json,
        Command::Audit(command) => command.wants_json(),
        Command::Weights(WeightsCommand::List(json) | WeightsCommand::Verify(json)) => json.json,
        Command::Weights(WeightsCommand::Pull { json, .. } | WeightsCommand::Gc { json, .. }) => json.json,
        Command::Rollout(command) => match command {
            RolloutCommand::Start(args) => args.json.json,
            RolloutCommand::Status { json, .. }
            | RolloutCommand::Explain { json, .. }
            | RolloutCommand::Validate { json, .. }
            | RolloutCommand::Plan { json, .. }
            | RolloutCommand::Simulate { json, .. }
            | RolloutCommand::Page { json, .. }
            | RolloutCommand::History { json, .. } => json.json,
            RolloutCommand::Pause(args)
            | RolloutCommand::Resume(args)
            | RolloutCommand::Abort(args)
            | RolloutCommand::Approve(args)
            | RolloutCommand::Undo(args) => args.json.json,
            RolloutCommand::Watch { .. } => false,
        },
        Command::Runbook(
            RunbookCommand::List(json) | RunbookCommand::Run { json, .. } | RunbookCommand::History { json, .. },
        ) => json.json,
        Command::Incident(IncidentCommand::List { json, .. } | IncidentCommand::Show { json, .. }) => json.json,
        Command::Incident(IncidentCommand::Export { .. }) => false,
        Command::Chaos(args) => args.json.json,
        Command::Runbook(RunbookCommand::Show { .. }) => false,
        Command::Logs(_) | Command::Top(_) | Command::Init(_) | Command::Completion { .. } | Command::Agent(_) => false,
    }
}

/// The failure on stderr for the person, and as the one JSON value on stdout for the script that asked for JSON.
fn tell(failure: &Failure, json: bool) {
    let label = console::Style::new().for_stderr().red().bold().apply_to("error:");
    talk::say(format!("{label} {}", failure.message));
    if let Some(next) = &failure.next {
        talk::say(format!("next: {next}"));
    }
    if json {
        let error = serde_json::json!({
            "kind": failure.kind.name(), "message": failure.message, "next": failure.next,
        });
        // Nothing is left to be done about a stdout that can't be written.
        let _ = talk::print_json(&serde_json::json!({ "error": error }));
    }
}
