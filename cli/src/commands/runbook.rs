//! `dsctl runbook …`: what the person on call types; the deployment as the runner sees it is in `probe.rs`.

use std::process::ExitCode;

use runbooks::markdown::markdown;
use runbooks::{Decision, Library, Mode, Outcome, RemedyOutcome, Report, Runbook};
use serde::Serialize;

use crate::args::RunbookCommand;
use crate::context::Context;
use crate::exit::Failure;
use crate::probe::DeploymentProbe;
use crate::talk::{confirm, print, print_json, print_text, say};
use crate::view::table;

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    alerts: &'a [String],
    symptom: &'a str,
}

pub async fn run(context: &Context, command: RunbookCommand) -> Result<ExitCode, Failure> {
    let library = runbooks::runbooks().map_err(Failure::failed)?;
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
            let report = go_through(runbook, &probe, dry_run, yes).await?;
            if json.json {
                print_json(&report)?
            } else {
                print(text(&report))?
            }
            return Ok(exit_code(report.outcome()));
        }
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

/// Looks first; a remedy is carried out only with `--yes` or after a yes.
async fn go_through(runbook: &Runbook, probe: &DeploymentProbe, dry_run: bool, yes: bool) -> Result<Report, Failure> {
    if yes {
        return Ok(runbooks::run(runbook, probe, Mode::Act).await);
    }
    let looked = runbooks::run(runbook, probe, Mode::DryRun).await;
    if dry_run || looked.outcome() != Outcome::WouldHeal {
        return Ok(looked);
    }
    say(text(&looked));
    confirm("\nCarry it out?", &format!("dsctl runbook run {}", runbook.name))?;
    Ok(runbooks::run(runbook, probe, Mode::Act).await)
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
