//! `dsctl incident …`: what runbooks saw, decided and did.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use runbooks::{Incident, Outcome};
use serde::Serialize;

use crate::args::IncidentCommand;
use crate::context::Context;
use crate::exit::Failure;
use crate::incidents;
use crate::talk::{print, print_json, print_text};
use crate::view::table;

#[derive(Debug, Serialize)]
struct Row<'a> {
    id: &'a str,
    runbook: &'a str,
    alert: Option<&'a str>,
    by: &'a str,
    opened_at: Timestamp,
    seconds: i64,
    finding: Option<&'a str>,
    /// None: the run did not end, or goes on.
    outcome: Option<Outcome>,
}

pub fn run(context: &Context, command: &IncidentCommand) -> Result<(), Failure> {
    match command {
        IncidentCommand::List { name, json } => list(&incidents::all(context, &name.name)?, json.json),
        IncidentCommand::Show { incident, name, json } => {
            let found = incidents::find(context, &name.name, incident.as_deref())?;
            if json.json { print_json(&found) } else { print_text(&found.markdown()) }
        }
        IncidentCommand::Export { incident, name, output } => {
            let found = incidents::find(context, &name.name, incident.as_deref())?;
            match output {
                None => print_text(&found.markdown()),
                Some(path) => {
                    write(path, &found.markdown())?;
                    print(format!("wrote {}", path.display()))
                }
            }
        }
    }
}

fn row(incident: &Incident) -> Row<'_> {
    let opening = &incident.opening;
    Row {
        id: &opening.id,
        runbook: &opening.runbook,
        alert: opening.alert.as_deref(),
        by: &opening.by,
        opened_at: incident.opened_at(),
        seconds: incident.seconds(),
        finding: incident.finding(),
        outcome: incident.outcome(),
    }
}

fn list(all: &[Incident], json: bool) -> Result<(), Failure> {
    let rows: Vec<Row<'_>> = all.iter().map(row).collect();
    if json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        return print("no runbook was run yet");
    }
    let mut lines = vec![["INCIDENT", "ALERT", "BY", "SECONDS", "FINDING", "OUTCOME"].map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| {
        let outcome = row.outcome.map_or("did not end", Outcome::as_str);
        let (alert, finding) = (row.alert.unwrap_or("-"), row.finding.unwrap_or("-"));
        [row.id, alert, row.by, &row.seconds.to_string(), finding, outcome].map(str::to_owned).to_vec()
    }));
    print(table(&lines))
}

/// For its owner alone, and over nothing.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    if path.exists() {
        let message = format!("--output: {} is there already", path.display());
        return Err(Failure::usage(message).next("dsctl incident export --output ANOTHER-FILE"));
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
