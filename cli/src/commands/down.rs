//! `dsctl down`: stop all, free the ports, remove what the deployment consists of.

use std::io::ErrorKind;
use std::path::Path;

use engine::apply::Step;
use engine::graph::Graph;
use providers::local::{LocalProvider, pinned_weights};
use serde::Serialize;
use spec::amount::bytes_text;
use spec::id::DeploymentName;
use spec::rollout::RolloutReport;
use spec::route::GatewayStatus;

use crate::args::DownArgs;
use crate::commands::weights;
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::gateway::Gateway;
use crate::session::Session;
use crate::talk::{confirm, print, print_json, say};

#[derive(Debug, Serialize)]
struct DownReport {
    deployment: DeploymentName,
    removed: usize,
    weights_bytes_freed: u64,
}

pub async fn run(context: &Context, args: DownArgs) -> Result<(), Failure> {
    let name = &args.name.name;
    let layout = context.deployment(name)?;
    if !args.yes {
        let weights = if args.purge { ", its weights too" } else { "" };
        confirm(&format!("Stop {name} and remove what it consists of{weights}?"), "dsctl down")?;
    }
    if !args.force {
        refuse_while_rolling_out(&layout).await?;
    }
    let own = if args.purge { pinned_weights(&context.home)?.remove(name).unwrap_or_default() } else { Vec::new() };
    let removed = destroy(context, name, "dsctl down").await?;
    let weights_bytes_freed = weights::remove_unneeded(context, &own)?;
    if args.json.json {
        return print_json(&DownReport { deployment: name.clone(), removed, weights_bytes_freed });
    }
    let kept = match args.purge {
        true => format!("{} of weights removed", bytes_text(weights_bytes_freed)),
        false => "weights kept in the cache (--purge removes them)".to_owned(),
    };
    print(format!("{name} is gone: {removed} resources removed; {kept}."))
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
pub async fn destroy(context: &Context, name: &DeploymentName, command: &str) -> Result<usize, Failure> {
    let provider = LocalProvider::new(context.home.clone(), name.clone(), context.binaries()?);
    let mut session = Session::open(&context.home, name, provider, command).await?;
    let plan = session.engine.plan_destroy();
    let applied = session
        .apply(&plan, &Graph::default(), &mut |step| {
            if let Step::Done(change) = step {
                say(format!("  {} {}", change.action.symbol(), change.address));
            }
        })
        .await;
    if applied.is_err() {
        return session.release_after(applied).await.map(|()| 0);
    }
    // The lease goes with the folder, in one move: nobody can begin anew in what is being removed.
    remove_folder(context, name)?;
    Ok(plan.changes.len())
}

fn remove_folder(context: &Context, name: &DeploymentName) -> Result<(), Failure> {
    let root = context.home.deployment(name).root().to_owned();
    let failed = |path: &Path, error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let aside = tempfile::Builder::new()
        .prefix(".gone-")
        .tempdir_in(context.home.deployments())
        .map_err(|error| failed(&context.home.deployments(), error))?;
    match std::fs::rename(&root, aside.path().join(name.as_str())) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&root, error)),
        _ => {}
    }
    let path = aside.path().to_owned();
    aside.close().map_err(|error| failed(&path, error))
}
