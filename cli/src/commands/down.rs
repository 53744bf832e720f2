//! `dsctl down`: stop all, free the ports, remove what the deployment consists of.

use std::collections::BTreeSet;

use engine::apply::Step;
use engine::graph::Graph;
use providers::local::{LocalProvider, pinned_weights};
use serde::Serialize;
use spec::amount::bytes_text;
use spec::id::DeploymentName;
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
        confirm(&format!("Stop {name} and remove what it consists of?"), "dsctl down")?;
    }
    if !args.force {
        refuse_while_rolling_out(&layout).await?;
    }
    let removed = destroy(context, name, "dsctl down").await?;
    let weights_bytes_freed = if args.purge { weights::collect(context)?.bytes_freed } else { 0 };
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
    let Ok(gateway) = Gateway::of(layout) else { return Ok(()) };
    let Ok(status) = gateway.get::<GatewayStatus>("/admin/status").await else { return Ok(()) };
    match status.rollout {
        Some(rollout) if !rollout.phase.is_over() => {
            let message = format!("a rollout sends {} of the traffic here", status.route_table.candidate);
            Err(Failure::new(Kind::Failed, message).next("dsctl rollout abort, or dsctl down --force"))
        }
        _ => Ok(()),
    }
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
    session.release().await?;
    applied?;
    std::fs::remove_dir_all(context.home.deployment(name).root())?;
    Ok(plan.changes.len())
}

/// Digests that the deployments on this machine need, as far as they are known.
pub fn needed_digests(context: &Context) -> BTreeSet<spec::id::Sha256> {
    let cache = agent::weights::WeightsCache::new(&context.home);
    let cached = agent::weights::list(&cache).unwrap_or_default();
    let pinned: Vec<_> = pinned_weights(&context.home).into_values().flatten().collect();
    let by_name = cached.iter().filter(|entry| pinned.iter().any(|spec| spec.name == entry.status.name));
    let by_digest = pinned.iter().filter_map(|spec| spec.sha256.clone());
    by_name.map(|entry| entry.status.sha256.clone()).chain(by_digest).collect()
}
