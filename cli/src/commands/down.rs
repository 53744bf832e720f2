//! `dsctl down`: stop all, free the ports, remove what the deployment consists of.

use engine::apply::Step;
use engine::graph::Graph;
use engine::state::State;
use providers::local::{LocalProvider, pinned_weights};
use serde::Serialize;
use spec::amount::bytes_text;
use spec::deployment::Cloud;
use spec::id::DeploymentName;
use spec::rollout::RolloutReport;
use spec::route::GatewayStatus;

use crate::args::DownArgs;
use crate::audit_kept;
use crate::commands::weights;
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::folder;
use crate::gateway::Gateway;
use crate::session::Session;
use crate::site::{Kept, Site};
use crate::talk::{confirm, print, print_json, say};
use crate::view;

#[derive(Debug, Serialize)]
struct DownReport {
    deployment: DeploymentName,
    removed: usize,
    weights_bytes_freed: u64,
    /// What it does not cost any more, in US dollars; none if a price was unknown. Absent for this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    saved_hourly_usd: Option<f64>,
}

pub async fn run(context: &Context, args: DownArgs) -> Result<(), Failure> {
    folder::sweep(context)?;
    let kept = Kept::find(context, &args.place)?;
    match kept.cloud() {
        Cloud::Local => down_local(context, &kept, &args).await,
        _ => down_cloud(context, &kept, &args).await,
    }
}

async fn down_local(context: &Context, kept: &Kept, args: &DownArgs) -> Result<(), Failure> {
    let name = &kept.name;
    if !args.yes {
        let weights = if args.purge { ", its weights too" } else { "" };
        confirm(&format!("Stop {name} and remove what it consists of{weights}?"), "dsctl down")?;
    }
    if !args.force {
        refuse_while_rolling_out(&kept.layout).await?;
    }
    let own = if args.purge { pinned_weights(&context.home)?.remove(name).unwrap_or_default() } else { Vec::new() };
    let removed = destroy_local(context, name, "dsctl down").await?;
    let weights_bytes_freed = weights::remove_unneeded(context, &own)?;
    if args.json.json {
        let deployment = name.clone();
        return print_json(&DownReport { deployment, removed, weights_bytes_freed, saved_hourly_usd: None });
    }
    let kept = match args.purge {
        true => format!("{} of weights removed", bytes_text(weights_bytes_freed)),
        false => "weights kept in the cache (--purge removes them)".to_owned(),
    };
    print(format!("{name} is gone: {removed} resources removed; {kept}."))
}

async fn down_cloud(context: &Context, kept: &Kept, args: &DownArgs) -> Result<(), Failure> {
    let name = &kept.name;
    let Some(site) = kept.site(context).await? else {
        // Nothing was ever begun: there is nothing but the wish.
        folder::remove(context, name)?;
        if args.json.json {
            let deployment = name.clone();
            return print_json(&DownReport { deployment, removed: 0, weights_bytes_freed: 0, saved_hourly_usd: None });
        }
        return print(format!("{name} is gone: nothing of it was ever made."));
    };
    let deployment = &kept.deployment;
    if deployment.audit.is_some() || deployment.guards.is_some() || !deployment.compliance.is_empty() {
        say("Note: an audit log lies on the host's disk and goes with it; copy it first if it must be kept.");
    }
    if !args.yes {
        confirm(&format!("Remove {name} and all it consists of on {}?", kept.cloud()), "dsctl down")?;
    }
    let mut session = Session::open(site, "dsctl down").await?;
    let state = session.engine.state().clone();
    let done = remove_all(&mut session, name).await;
    if done.is_err() {
        say(view::cloud::what_exists(session.engine.state()));
    }
    let removed = match (done, &kept.deployment.state) {
        (Ok(removed), None) => {
            // The lease goes with the folder, in one move: nobody can begin anew in what is being removed.
            folder::remove(context, name)?;
            removed
        }
        (done, _) => session.release_after(done).await?,
    };
    folder::remove(context, name)?;
    say_what_is_kept(&state);
    let monthly = view::cloud::monthly(&state);
    if args.json.json {
        let (deployment, saved_hourly_usd) = (name.clone(), monthly.map(view::cloud::an_hour));
        return print_json(&DownReport { deployment, removed, weights_bytes_freed: 0, saved_hourly_usd });
    }
    let saved = view::cloud::cost(monthly);
    print(format!("{name} is gone: {removed} resources removed; it no longer costs {saved}."))
}

/// A bucket with audit records outlives its deployment.
fn say_what_is_kept(state: &State) {
    for resource in state.resources.values() {
        if let Some(days) = resource.inputs.get("audit_days").and_then(serde_json::Value::as_u64) {
            let id = &resource.remote_id.0;
            say(format!(
                "Note: {id} is kept for {days} days if it holds audit records; `dsctl orphans` lists it then."
            ));
        }
    }
}

/// What a crash left that no record has, then everything of the record, then another look: what was not seen at first may
/// show by then.
async fn remove_all(session: &mut Session, name: &DeploymentName) -> Result<usize, Failure> {
    let strays = session.remove_unknown().await?;
    let plan = session.engine.plan_destroy();
    let removed = plan.changes.len() + plan.retiring.len() + strays;
    session.apply(&plan, &Graph::default(), &mut |step| show(&step)).await?;
    session.wait(session.engine.may_yet_show()).await?;
    let removed = removed + session.remove_unknown().await?;
    let left = session.engine.unknown().await?;
    if left.is_empty() {
        return Ok(removed);
    }
    let ids: Vec<&str> = left.iter().map(|owned| owned.remote_id.0.as_str()).collect();
    let message = format!("{name}: all of the record is gone, but these carry its tags still: {}", ids.join(", "));
    Err(Failure::new(Kind::Resource, message).next("dsctl orphans"))
}

/// Clients would lose their answers: the baseline must have the traffic again first. A gateway that does not answer
/// carries none.
async fn refuse_while_rolling_out(layout: &spec::layout::DeploymentLayout) -> Result<(), Failure> {
    match live_rollout(layout).await {
        Some(rollout) => {
            let message = format!("a rollout sends {} of the traffic here", rollout.weight);
            Err(Failure::new(Kind::Failed, message).next("dsctl rollout abort, or dsctl down --force"))
        }
        None => Ok(()),
    }
}

/// The rollout that is going on, as far as the gateway answers.
pub async fn live_rollout(layout: &spec::layout::DeploymentLayout) -> Option<RolloutReport> {
    let status: GatewayStatus = Gateway::of(layout).ok()?.get("/admin/status").await.ok()?;
    status.rollout.filter(|rollout| !rollout.phase.is_over())
}

/// Removes every resource of a deployment, then its folder. What is gone already is no error.
pub async fn destroy_local(context: &Context, name: &DeploymentName, command: &str) -> Result<usize, Failure> {
    let provider = LocalProvider::new(context.home.clone(), name.clone(), context.binaries()?);
    let site = Site::local(&context.home.deployment(name), name, provider);
    let mut session = Session::open(site, command).await?;
    let audit = audit_kept::begin(context, name)?;
    let plan = session.engine.plan_destroy();
    let applied = session.apply(&plan, &Graph::default(), &mut |step| show(&step)).await;
    if applied.is_err() {
        if let Some(Err(lost)) = audit.as_ref().map(audit_kept::KeptAudit::put_back) {
            say(format!("the audit log lies aside: {}", lost.message));
        }
        return session.release_after(applied).await.map(|()| 0);
    }
    if let Some(audit) = &audit {
        say(audit.finish()?);
    }
    // The lease goes with the folder, in one move: nobody can begin anew in what is being removed.
    folder::remove(context, name)?;
    Ok(plan.changes.len())
}

fn show(step: &Step<'_>) {
    if let Step::Done(change) = step {
        say(format!("  {} {}", change.action.symbol(), change.address));
    }
}
