//! `dsctl up` on this machine: apply, wait for a real token, take back what did not come up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine::plan::{Action, Plan};
use providers::local::LocalProvider;
use serde::Serialize;
use spec::host::{HostStatus, Phase, PhaseState, UnitSpec};
use spec::host_monitoring::NODE_EXPORTER_UNIT;
use spec::id::Variant;
use spec::layout::DeploymentLayout;

use super::{ChangeReport, change_reports, drained, keep_deployment, show};
use crate::args::UpArgs;
use crate::commands::down;
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::gateway::{gateway_files, host_spec};
use crate::prepare::Prepared;
use crate::progress::HostProgress;
use crate::session::{Session, interrupted};
use crate::talk::{confirm, print, print_json, say};
use crate::trust::keep_authority;
use crate::view;
use crate::view::phases;
use crate::view::ready::Ready;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The agent must have taken the new host spec up by then.
const AGENT_LIMIT: Duration = Duration::from_secs(30);

/// What `up --json` prints.
#[derive(Debug, Serialize)]
struct UpReport {
    changed: bool,
    changes: Vec<ChangeReport>,
    #[serde(flatten)]
    ready: Ready,
    seconds: f64,
}

pub async fn carry_out(
    context: &Context,
    prepared: &Prepared,
    provider: &LocalProvider,
    plan: &Plan,
    args: &UpArgs,
    begun: Instant,
) -> Result<(), Failure> {
    let is_new = !prepared.layout.bucket().root().is_dir();
    if gets_its_first_baseline(prepared) {
        say(
            "\nNote: the baseline will have all the traffic, until `dsctl rollout start` moves it back here in stages.",
        );
    }
    if !plan.is_empty() {
        if !args.yes {
            confirm("\nApply this plan?", "dsctl up")?;
        }
        refuse_while_rolling_out(prepared, plan).await?;
        apply(context, prepared, plan, is_new && !args.keep_failed).await?;
    } else if read_status(&prepared.layout).is_some_and(|status| failed_phase(&status).is_some()) {
        // What failed before this command says nothing of now: a new generation is tried afresh.
        let session = open_session(prepared).await?;
        let retried = provider.retry().map_err(Failure::from);
        session.release_after(retried).await?;
    }
    match wait_until_ready(&prepared.layout, args.timeout.0).await {
        Ok(_) => {
            retire(prepared, plan).await?;
            report(prepared, plan, args, begun)
        }
        Err(failure) if is_new && !args.keep_failed && failure.kind == Kind::Resource => {
            Err(take_back(context, prepared, failure).await)
        }
        Err(failure) => Err(failure),
    }
}

/// The traffic that is served here now moves away: whoever confirms the plan should know.
fn gets_its_first_baseline(prepared: &Prepared) -> bool {
    let had = gateway_files(&prepared.layout).map(|files| files.config.variants.contains_key(&Variant::Baseline));
    matches!((had, &prepared.spec.baseline), (Ok(false), Some(_)))
}

async fn apply(context: &Context, prepared: &Prepared, plan: &Plan, take_back_failed: bool) -> Result<(), Failure> {
    say("");
    let mut session = open_session(prepared).await?;
    let applied = session.apply(plan, &prepared.graph, &mut |step| show(&step)).await;
    let applied = applied.and_then(|()| keep_deployment(prepared));
    match session.release_after(applied).await {
        Err(failure) if take_back_failed && failure.kind == Kind::Resource => {
            Err(take_back(context, prepared, failure).await)
        }
        other => other,
    }
}

/// What was replaced goes only now that the new one has answered with a real token.
async fn retire(prepared: &Prepared, plan: &Plan) -> Result<(), Failure> {
    if plan.retiring.is_empty() && plan.count(Action::Replace) == 0 {
        return Ok(());
    }
    let mut session = open_session(prepared).await?;
    let retired = session.retire(&mut |step| show(&step)).await;
    session.release_after(retired).await
}

async fn open_session(prepared: &Prepared) -> Result<Session, Failure> {
    Session::open(prepared.site.clone(), "dsctl up").await
}

/// Variants that change under a rollout would make its evidence that of something else.
async fn refuse_while_rolling_out(prepared: &Prepared, plan: &Plan) -> Result<(), Failure> {
    let host_changes = plan
        .changes
        .iter()
        .any(|change| change.address.kind() == providers::local::kind::HOST_SPEC && change.action == Action::Update);
    match down::live_rollout(&prepared.layout).await {
        Some(_) if host_changes => {
            let message = "a rollout is going on; a change of the deployment would change what it compares";
            Err(Failure::failed(message).next("dsctl rollout abort, or wait for its end"))
        }
        _ => Ok(()),
    }
}

/// A deployment that did not come up at its first try is removed again: nothing half-started is left.
async fn take_back(context: &Context, prepared: &Prepared, failure: Failure) -> Failure {
    let rescue = rescue_logs(&prepared.layout);
    say("");
    say("It did not come up; taking back what was started (--keep-failed leaves it).");
    let removed = down::destroy_local(context, &prepared.spec.name, "dsctl up").await;
    let mut failure = failure;
    if let Err(error) = removed {
        failure.message = format!("{}\ntaking it back failed too: {}", failure.message, error.message);
        failure.next = Some(format!("dsctl down --name {}", prepared.spec.name));
    }
    match rescue {
        Ok(Some(folder)) => {
            failure.message = format!("{}\nits logs are kept in {}", failure.message, folder.display());
            // There is no deployment any more whose logs could be asked for.
            if failure.next.as_deref().is_some_and(|next| next.starts_with("dsctl logs")) {
                failure.next = Some(format!("cat {}/*.log", folder.display()));
            }
        }
        Ok(None) => {}
        Err(error) => failure.message = format!("{}\nits logs could not be kept: {error}", failure.message),
    }
    failure
}

/// The units' logs outlive what is taken back, in the folder that the system cleans up.
fn rescue_logs(layout: &DeploymentLayout) -> std::io::Result<Option<std::path::PathBuf>> {
    let logs = layout.host().logs();
    if !logs.is_dir() {
        return Ok(None);
    }
    // A fresh folder of our own: a name that others can guess could be theirs.
    let kept = tempfile::Builder::new().prefix("dsctl-failed-").tempdir()?.keep();
    for entry in std::fs::read_dir(&logs)? {
        let entry = entry?;
        std::fs::copy(entry.path(), kept.join(entry.file_name()))?;
    }
    Ok(Some(kept))
}

/// Watches the host's status until a real token was generated.
async fn wait_until_ready(layout: &DeploymentLayout, limit: Duration) -> Result<HostStatus, Failure> {
    let mut progress = HostProgress::new();
    let waited = tokio::select! {
        waited = watch_status(layout, limit, &mut progress) => waited,
        _ = tokio::signal::ctrl_c() => Err(interrupted()),
    };
    progress.finish();
    waited
}

async fn watch_status(
    layout: &DeploymentLayout,
    limit: Duration,
    progress: &mut HostProgress,
) -> Result<HostStatus, Failure> {
    let generation = host_spec(layout)?.generation;
    let begun = Instant::now();
    let mut heard = false;
    loop {
        let agent = providers::local::living_agent(layout)?;
        // What another agent wrote is of the past; a newer generation is somebody's later `up`, and good enough.
        let status = read_status(layout)
            .filter(|status| status.generation >= generation && agent.is_none_or(|pid| pid == status.agent.pid));
        if let Some(status) = status {
            heard = true;
            progress.update(&status);
            if let Some(failure) = failed_phase(&status).or_else(|| drained(&status)) {
                return Err(failure);
            }
            if status.ready_since.is_some() {
                return Ok(status);
            }
        }
        if agent.is_none() && !providers::local::agent_is_alive(layout)? {
            return Err(Failure::new(Kind::Resource, "the agent is not running any more").next("dsctl logs agent"));
        }
        if !heard && begun.elapsed() > AGENT_LIMIT {
            return Err(Failure::new(Kind::Resource, "the agent does not report").next("dsctl logs agent"));
        }
        if begun.elapsed() > limit {
            return Err(Failure::new(Kind::TimedOut, "not ready in time; it goes on").next("dsctl status --watch"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn read_status(layout: &DeploymentLayout) -> Option<HostStatus> {
    let bytes = std::fs::read(layout.bucket().status(&providers::local::host_name())).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn failed_phase(status: &HostStatus) -> Option<Failure> {
    let phase =
        status.phases.iter().find(|line| line.state == PhaseState::Failed && line.phase != Phase::Monitoring)?;
    let failure = match &phase.failure {
        Some(failure) => {
            let message = format!("{}: {}", phase.phase.as_str(), phases::failure(failure));
            Failure::new(Kind::Resource, message).next(&failure.next)
        }
        None => Failure::new(Kind::Resource, format!("{}: {}", phase.phase.as_str(), phase.detail)),
    };
    Some(failure)
}

fn report(prepared: &Prepared, plan: &Plan, args: &UpArgs, begun: Instant) -> Result<(), Failure> {
    let files = gateway_files(&prepared.layout)?;
    let ca_file = keep_authority(prepared.layout.certificate_authority(), read_status(&prepared.layout).as_ref())?;
    let mut ready = Ready::new(
        prepared.spec.name.as_str(),
        files.endpoint(),
        (files.api_key_file, ca_file),
        prepared.spec.model.served_name.clone(),
        prepared.spec.baseline.is_some(),
    );
    ready.watchers = watchers(&prepared.layout)?;
    let seconds = begun.elapsed().as_secs_f64();
    if args.json.json {
        let changes = change_reports(plan);
        return print_json(&UpReport { changed: !plan.is_empty(), changes, ready, seconds });
    }
    say(format!("\n{} is ready ({seconds:.1} s).\n", prepared.spec.name));
    print(view::ready::ready(&ready))
}

/// Pages that a person opens: node exporter has none.
fn watchers(layout: &DeploymentLayout) -> Result<BTreeMap<String, String>, Failure> {
    let spec = host_spec(layout)?;
    let has_page = |unit: &&UnitSpec| unit.phase == Phase::Monitoring && unit.name.as_str() != NODE_EXPORTER_UNIT;
    let page = |unit: &UnitSpec| Some((unit.name.to_string(), format!("http://127.0.0.1:{}", unit.ports.first()?)));
    Ok(spec.units.iter().filter(has_page).filter_map(page).collect())
}
