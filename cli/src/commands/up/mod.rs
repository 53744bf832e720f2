//! `dsctl up`: plan, confirm, apply, ready.

use std::io::IsTerminal;
use std::time::Instant;

use engine::apply::Step;
use engine::plan::{Action, Plan};
use serde::Serialize;
use spec::host::{HostStatus, UnitState};

use crate::args::UpArgs;
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::prepare::{Prepared, Target, prepare, prepare_saved};
use crate::talk::say;
use crate::view;

mod cloud;
mod local;

#[derive(Debug, Serialize)]
struct ChangeReport {
    address: String,
    action: Action,
    reason: String,
}

pub async fn run(context: &Context, args: UpArgs) -> Result<(), Failure> {
    let begun = Instant::now();
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !args.yes && !can_ask {
        let message = "up asks before it changes anything, and there is no terminal to ask on; nothing was done";
        return Err(Failure::usage(message).next("the same command with --yes; `dsctl plan` shows what it would do"));
    }
    let prepared = match &args.plan_file {
        Some(path) => prepare_saved(context, path, &args.spec).await?,
        None => prepare(context, &args.spec, "dsctl up").await?,
    };
    let plan = prepared.plan("dsctl up").await?;
    if let Target::Cloud(target) = &prepared.target {
        say(view::cloud::report(&target.report));
    }
    say(view::plan::plan(&plan));
    if args.expect_no_changes && !plan.is_empty() {
        let message = "there are changes, and none were expected; nothing was done";
        return Err(Failure::new(Kind::UnexpectedChanges, message).next("dsctl plan"));
    }
    match &prepared.target {
        Target::Local(provider) => local::carry_out(context, &prepared, provider, &plan, &args, begun).await,
        Target::Cloud(target) => cloud::carry_out(&prepared, target, &plan, &args, begun).await,
    }
}

fn change_reports(plan: &Plan) -> Vec<ChangeReport> {
    let changing = plan.changes.iter().filter(|change| change.action != Action::NoOp);
    let report = |change: &engine::plan::Change| ChangeReport {
        address: change.address.to_string(),
        action: change.action,
        reason: change.reason.clone(),
    };
    changing.map(report).collect()
}

/// `up` alone means this from now on. It names where a key is, never the key.
fn keep_deployment(prepared: &Prepared) -> Result<(), Failure> {
    let text = spec::yaml::print(&prepared.deployment).map_err(Failure::failed)?;
    let path = prepared.layout.spec_file();
    engine::store::write_durably(&path, text.as_bytes())
        .map_err(|error| Failure::new(Kind::Resource, format!("{}: {error}", path.display())))
}

fn show(step: &Step<'_>) {
    match step {
        Step::Begins(_) => {}
        Step::Done(change) => say(format!("  {} {}", change.action.symbol(), change.address)),
        Step::Failed(change, message) => say(format!("  ✗ {}: {message}", change.address)),
        Step::NextCandidate(change, next) => {
            say(format!("  · {}: {}: {}; trying {}", change.address, next.from, next.why, next.to));
        }
    }
}

/// Who took a unit out of service on purpose is to put it back on purpose.
fn drained(status: &HostStatus) -> Option<Failure> {
    let unit = status.units.iter().find(|unit| unit.state == UnitState::Drained)?;
    let message = format!("{} is drained: it stays down until it is restarted", unit.name);
    Some(Failure::new(Kind::Resource, message).next(format!("dsctl host restart {}", unit.name)))
}
