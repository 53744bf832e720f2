//! `dsctl alerts`: what would wake somebody, without Prometheus: two looks at the parts' own /metrics.

use std::process::ExitCode;

use serde::Serialize;
use spec::amount::Span;
use spec::id::DeploymentName;

use crate::args::AlertsArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::judge::{AlertState, Judgement, Surroundings, judge};
use crate::measure::Pair;
use crate::scrape::{client, look, targets};
use crate::talk::{print, print_json};
use crate::view;

/// Everything that `alerts` shows.
#[derive(Debug, Serialize)]
pub struct AlertReport {
    pub deployment: DeploymentName,
    /// Between the two looks.
    pub interval: Span,
    pub alerts: Vec<Judgement>,
}

pub async fn run(context: &Context, args: AlertsArgs) -> Result<ExitCode, Failure> {
    if args.interval.0.is_zero() {
        return Err(Failure::usage("--for: between two looks some time must pass, e.g. 15s"));
    }
    let name = args.name.name;
    let targets = targets(&context.local_deployment(&name, "dsctl alerts")?)?;
    let client = client()?;
    let before = look(&client, &targets).await;
    tokio::select! {
        () = tokio::time::sleep(args.interval.0) => {}
        _ = tokio::signal::ctrl_c() => return Err(Failure::new(crate::exit::Kind::Interrupted, "interrupted")),
    }
    let after = look(&client, &targets).await;
    let around = Surroundings {
        disk_used: disk_used(context.home.root()),
        budget_per_day: args.budget_per_day.map(|usd| usd.dollars()),
    };
    let alerts = judge(Pair { before: &before, after: &after }, &around);
    let report = AlertReport { deployment: name, interval: args.interval, alerts };
    if args.json.json {
        print_json(&report)?;
    } else {
        print(view::alerts::alerts(&report))?;
    }
    let is_firing = report.alerts.iter().any(|judgement| judgement.state == AlertState::Firing);
    Ok(match (is_firing, args.detailed_exitcode) {
        (false, _) => ExitCode::SUCCESS,
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(2),
    })
}

/// As node exporter's rule counts: what a user may still write is free.
fn disk_used(root: &std::path::Path) -> Option<f64> {
    let seen = rustix::fs::statvfs(root).ok()?;
    (seen.f_blocks > 0).then(|| 1.0 - seen.f_bavail as f64 / seen.f_blocks as f64)
}
