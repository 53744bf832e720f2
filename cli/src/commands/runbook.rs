//! `dsctl runbook …`: what the person on call types; the deployment as the runner sees it is in `probe.rs`.

use std::process::ExitCode;

use runbooks::markdown::markdown;
use runbooks::{Decision, Library, Mode, Outcome, RemedyOutcome, Report, Runbook};
use serde::Serialize;

use crate::args::{IncidentCommand, JsonArgs, NameArgs, RunbookCommand};
use crate::commands;
use crate::context::Context;
use crate::exit::Failure;
use crate::incidents::OpenIncident;
use crate::probe::DeploymentProbe;
use crate::talk::{confirm, print, print_json, print_text, say};
use crate::view::table;

/// A report, and where it is kept.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    outcome: Outcome,
    incident: &'a str,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    alerts: &'a [String],
    symptom: &'a str,
}

pub async fn run(context: &Context, command: RunbookCommand) -> Result<ExitCode, Failure> {
    let library = library(context)?;
    match command {
        RunbookCommand::List(args) => list(&library, args.json)?,
        RunbookCommand::Show { runbook } => print_text(&markdown(find(&library, &runbook)?))?,
        RunbookCommand::Run { runbook, alert, name, dry_run, yes, json } => {
            let runbook = match (&runbook, &alert) {
                (Some(name), _) => find(&library, name)?,
                (None, Some(alert)) => library.for_alert(alert).map_err(Failure::usage)?,
                (None, None) => return Err(Failure::usage("name a runbook, or --alert").next("dsctl runbook list")),
            };
            context.local_deployment(&name.name, "dsctl runbook")?;
            let probe = DeploymentProbe::new(context.clone(), name.name);
            let incident = OpenIncident::open(context, &probe.name, runbook, alert.as_deref());
            let consent = if yes {
                Consent::Given
            } else if dry_run {
                Consent::Refused
            } else {
                Consent::Asked
            };
            let report = go_through(runbook, &probe, &incident, consent).await?;
            if json.json {
                print_json(&Told { report: &report, outcome: report.outcome(), incident: &incident.id })?
            } else {
                print(text(&report))?;
                say(format!("kept: dsctl incident show {}", incident.id));
            }
            return Ok(exit_code(report.outcome()));
        }
        RunbookCommand::History { name, json } => return history(context, name, json),
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(library: &'a Library, name: &str) -> Result<&'a Runbook, Failure> {
    library.find(name).map_err(|error| Failure::usage(error).next("dsctl runbook list"))
}

fn list(library: &Library, json: bool) -> Result<(), Failure> {
    let rows: Vec<Row<'_>> =
        library.all().iter().map(|it| Row { name: &it.name, alerts: &it.alerts, symptom: it.symptom.trim() }).collect();
    if json {
        return print_json(&rows);
    }
    let mut lines = vec![["RUNBOOK", "ALERTS", "SYMPTOM"].map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| vec![row.name.to_owned(), row.alerts.join(", "), row.symptom.to_owned()]));
    print(table(&lines))
}

fn history(context: &Context, name: NameArgs, json: JsonArgs) -> Result<ExitCode, Failure> {
    commands::incident::run(context, &IncidentCommand::List { name, json }).map(|()| ExitCode::SUCCESS)
}

/// Those of the program, and the user's own beside them.
fn library(context: &Context) -> Result<Library, Failure> {
    let folder = context.home.runbooks();
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", folder.display()));
    let mut own = Vec::new();
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return runbooks::runbooks().map_err(Failure::failed);
        }
        other => other.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            own.push((name, std::fs::read_to_string(&path).map_err(failed)?));
        }
    }
    let library = runbooks::runbooks().and_then(|library| library.with_own(&own));
    library.map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))
}

/// Whether remedies are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// `--yes`.
    Given,
    /// After a look.
    Asked,
    /// `--dry-run`.
    Refused,
}

/// Looks first; a remedy is carried out only with `--yes` or after a yes.
async fn go_through(
    runbook: &Runbook,
    probe: &DeploymentProbe,
    incident: &OpenIncident,
    consent: Consent,
) -> Result<Report, Failure> {
    let ended = |report: Report| {
        incident.close(&report);
        Ok(report)
    };
    if consent == Consent::Given {
        return ended(runbooks::run(runbook, probe, incident, Mode::Act).await);
    }
    let looked = runbooks::run(runbook, probe, incident, Mode::DryRun).await;
    if consent == Consent::Refused || looked.outcome() != Outcome::WouldHeal {
        return ended(looked);
    }
    say(text(&looked));
    if let Err(refused) = confirm("\nCarry it out?", &format!("dsctl runbook run {}", runbook.name)) {
        incident.close(&looked);
        return Err(refused);
    }
    ended(runbooks::run(runbook, probe, incident, Mode::Act).await)
}

/// 0: healed, would heal, or not this; 1: a person is needed.
fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Healed | Outcome::WouldHeal | Outcome::NotThis => ExitCode::SUCCESS,
        Outcome::ByHand | Outcome::Undecided | Outcome::NotHealed => ExitCode::FAILURE,
    }
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!("runbook {}", report.runbook)];
    for step in &report.steps {
        let answer = match step.answer {
            Some(true) => "yes",
            Some(false) => "no",
            None => "can't be seen",
        };
        lines.push(format!("  {} {answer}: {}", step.ask, step.seen));
    }
    match &report.decision {
        Decision::Cause { name, meaning, by_hand } => {
            lines.push(format!("cause: {name}. {}", meaning.trim()));
            lines.extend(by_hand.iter().map(|text| format!("by hand: {}", text.trim())));
        }
        Decision::NotThis { why } => lines.push(format!("not this: {}; nothing was changed", why.trim())),
        Decision::Undecided { step, why } => lines.push(format!("undecided at {step}: {why}; nothing was changed")),
    }
    if let Some(remedy) = &report.remedy {
        lines.push(format!("remedy: {}", remedy.what));
        lines.push(match &remedy.outcome {
            RemedyOutcome::WouldBeDone => "  not done: --yes carries it out".to_owned(),
            RemedyOutcome::Verified { done, seen, after } => format!("  {done}; it helped after {after}: {seen}"),
            RemedyOutcome::NotVerified { done, seen, after } => {
                format!("  {done}; it has not helped after {after}: {seen}")
            }
            RemedyOutcome::Failed { error } => format!("  failed: {error}"),
        });
        lines.extend(remedy.back.iter().map(|back| format!("  way back: {}", back.trim())));
    }
    lines.extend(report.call.iter().map(|call| format!("call: {}", call.trim())));
    lines.join("\n")
}
