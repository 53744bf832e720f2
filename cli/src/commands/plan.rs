//! `dsctl plan`: what `up` would do.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use engine::plan::Plan;
use engine::saved::SavedPlan;
use jiff::Timestamp;
use serde::Serialize;

use crate::args::PlanArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::prepare::{Prepared, Target, prepare};
use crate::prepare_cloud::CloudReport;
use crate::talk::{print, print_json, say};
use crate::view;

/// What `plan --json` prints.
#[derive(Serialize)]
struct PlanReport<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud: Option<&'a CloudReport>,
}

pub async fn run(context: &Context, args: PlanArgs) -> Result<ExitCode, Failure> {
    let prepared = prepare(context, &args.spec, "dsctl plan").await?;
    let plan = prepared.plan("dsctl plan").await?;
    let cloud = match &prepared.target {
        Target::Local(_) => None,
        Target::Cloud(target) => Some(&target.report),
    };
    if let Some(path) = &args.output {
        save(&prepared, &plan, path)?;
    }
    match (args.json.json, args.summary) {
        (true, _) => print_json(&PlanReport { plan: &plan, cloud })?,
        (false, true) => print(view::plan::summary(&plan))?,
        (false, false) => {
            let cloud = cloud.map(view::cloud::report).unwrap_or_default();
            print(format!("{cloud}{}{}", if cloud.is_empty() { "" } else { "\n" }, view::plan::plan(&plan)))?;
        }
    }
    if let Some(path) = &args.output {
        let path = path.display();
        say(format!("\nSaved. To do exactly this, or nothing if anything changed meanwhile:\n  dsctl up {path}"));
    }
    let code = if args.detailed_exitcode && !plan.is_empty() { 2 } else { 0 };
    Ok(ExitCode::from(code))
}

fn save(prepared: &Prepared, plan: &Plan, path: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
    let deployment = serde_json::to_value(&prepared.deployment).map_err(|error| failed(&error))?;
    let version = env!("CARGO_PKG_VERSION");
    let saved = SavedPlan::new(Timestamp::now(), version, deployment, prepared.graph.clone(), plan.clone());
    let bytes = saved.to_bytes().map_err(|error| failed(&error))?;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = made.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::usage(format!("{}: it exists already", path.display())),
        _ => failed(&error),
    })
}
