//! `dsctl up` on a cloud: apply, say what it costs, wait until the machine reports a real token.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine::plan::{Action, Plan};
use engine::state::State;
use providers::cloud::HostView;
use serde::Serialize;
use spec::host::{HostStatus, Phase, PhaseLine, PhaseState};

use super::{ChangeReport, change_reports, drained, keep_deployment, show};
use crate::args::UpArgs;
use crate::exit::{Failure, Kind};
use crate::prepare::Prepared;
use crate::prepare_cloud::CloudTarget;
use crate::progress::HostProgress;
use crate::session::{Session, interrupted};
use crate::talk::{confirm, print, print_json, say};
use crate::trust::keep_authority;
use crate::view;
use crate::view::phases;

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A machine boots, fetches dsctl and reports by then; if not, its console says why.
const SILENCE_LIMIT: Duration = Duration::from_secs(15 * 60);
/// A phase that has failed is tried again on the machine, and told again, within that time.
const FAILURE_PATIENCE: Duration = Duration::from_secs(15);
/// Lines of the console that are shown.
const CONSOLE_LINES: usize = 12;

/// What `up --json` prints.
#[derive(Debug, Serialize)]
struct UpReport {
    deployment: String,
    cloud: String,
    region: String,
    changed: bool,
    changes: Vec<ChangeReport>,
    /// Whether the machine answered with a real token; false with `--no-wait`.
    ready: bool,
    endpoint: Option<String>,
    /// Where the key for clients lies.
    api_key: Option<String>,
    /// Whom clients of the endpoint must trust; none if they need nothing for it, or it is not known yet.
    ca_file: Option<PathBuf>,
    model: String,
    /// None = a price is unknown.
    hourly_usd: Option<f64>,
    monthly_usd: Option<f64>,
    seconds: f64,
}

pub async fn carry_out(
    prepared: &Prepared,
    target: &CloudTarget,
    plan: &Plan,
    args: &UpArgs,
    begun: Instant,
) -> Result<(), Failure> {
    if !plan.is_empty() && !args.yes {
        confirm("\nApply this plan?", "dsctl up")?;
    }
    let state = apply(prepared, plan).await?;
    let host = host(target, &state, args).await.inspect_err(|_| say(view::cloud::what_exists(&state)))?;
    let state = if host.is_ready() { retire(prepared, state).await? } else { state };
    let made = Made { prepared, target, plan, state: &state, host: &host };
    report(&made, args, begun)
}

/// What is there when it is over.
struct Made<'a> {
    prepared: &'a Prepared,
    target: &'a CloudTarget,
    plan: &'a Plan,
    state: &'a State,
    host: &'a HostView,
}

async fn apply(prepared: &Prepared, plan: &Plan) -> Result<State, Failure> {
    let mut session = Session::open(prepared.site.clone(), "dsctl up").await?;
    // Before anything is made: whatever becomes of this process, `dsctl up` and `dsctl down` know where to look.
    let applied = match keep_deployment(prepared) {
        Ok(()) if !plan.is_empty() => {
            say("");
            session.apply(plan, &prepared.graph, &mut |step| show(&step)).await
        }
        kept => kept,
    };
    let state = session.engine.state().clone();
    if applied.is_err() {
        say(view::cloud::what_exists(&state));
    }
    session.release_after(applied).await?;
    Ok(state)
}

/// What was replaced goes only now that the new one has answered with a real token.
async fn retire(prepared: &Prepared, state: State) -> Result<State, Failure> {
    if state.replaced.is_empty() {
        return Ok(state);
    }
    let mut session = Session::open(prepared.site.clone(), "dsctl up").await?;
    let retired = session.retire(&mut |step| show(&step)).await;
    let state = session.engine.state().clone();
    session.release_after(retired).await?;
    Ok(state)
}

async fn host(target: &CloudTarget, state: &State, args: &UpArgs) -> Result<HostView, Failure> {
    if args.no_wait {
        return Ok(target.adapter.host(&target.region, state).await?);
    }
    say("\nEverything is made; waiting for the machine to report (--no-wait does not).");
    wait_until_ready(target, state, args.timeout.0).await
}

async fn wait_until_ready(target: &CloudTarget, state: &State, limit: Duration) -> Result<HostView, Failure> {
    let mut progress = HostProgress::new();
    let waited = tokio::select! {
        waited = watch(target, state, limit, &mut progress) => waited,
        _ = tokio::signal::ctrl_c() => Err(interrupted()),
    };
    progress.finish();
    waited
}

async fn watch(
    target: &CloudTarget,
    state: &State,
    limit: Duration,
    progress: &mut HostProgress,
) -> Result<HostView, Failure> {
    let begun = Instant::now();
    let mut failing: Option<Instant> = None;
    loop {
        let host = target.adapter.host(&target.region, state).await?;
        // What it says may be older than what was just put right, and it tries again by itself. An agent that can't take the new
        // host spec up says so under the one before.
        match host.status.as_ref().and_then(failed_phase) {
            Some(failure) if failing.get_or_insert_with(Instant::now).elapsed() >= FAILURE_PATIENCE.min(limit) => {
                return Err(failure);
            }
            Some(_) => {}
            None => failing = None,
        }
        match host.current() {
            Some(status) => {
                progress.update(status);
                if status.ready_since.is_some() {
                    return Ok(host);
                }
                if let Some(failure) = drained(status) {
                    return Err(failure);
                }
            }
            None if begun.elapsed() > SILENCE_LIMIT => return Err(silent(&host)),
            None => {}
        }
        if begun.elapsed() > limit {
            return Err(Failure::new(Kind::TimedOut, "not ready in time; it goes on").next("dsctl status"));
        }
        tokio::time::sleep(LOOK_EVERY.min(limit)).await;
    }
}

fn failed_phase(status: &HostStatus) -> Option<Failure> {
    // The host serves without what watches it: that is said at the end.
    let failed = |phase: &&PhaseLine| phase.state == PhaseState::Failed && phase.phase != Phase::Monitoring;
    let phase = status.phases.iter().find(failed)?;
    let detail = phase.failure.as_ref().map_or_else(|| phase.detail.clone(), phases::failure);
    let message = format!("{}: {detail}", phase.phase.as_str());
    Some(Failure::new(Kind::Resource, message).next("dsctl up, or dsctl down"))
}

/// Why what watches the host does not run.
fn unwatched(host: &HostView) -> Option<&str> {
    let phases = host.current().map(|status| status.phases.as_slice()).unwrap_or_default();
    let failed = |phase: &&PhaseLine| phase.state == PhaseState::Failed && phase.phase == Phase::Monitoring;
    phases.iter().find(failed).map(|phase| phase.detail.as_str())
}

fn silent(host: &HostView) -> Failure {
    let lines: Vec<&str> = host.console.lines().collect();
    let last = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
    let console = if last.is_empty() { "nothing".to_owned() } else { format!("\n  {}", last.join("\n  ")) };
    let minutes = SILENCE_LIMIT.as_secs() / 60;
    let message = format!("the machine has not reported in {minutes} minutes; its console says: {console}");
    Failure::new(Kind::Resource, message).next("dsctl up (waits again), or dsctl down")
}

fn report(made: &Made<'_>, args: &UpArgs, begun: Instant) -> Result<(), Failure> {
    let Made { prepared, target, plan, state, host } = made;
    let monthly_usd = view::cloud::monthly(state);
    let report = UpReport {
        deployment: prepared.spec.name.to_string(),
        cloud: prepared.spec.cloud.to_string(),
        region: target.region.clone(),
        changed: !plan.is_empty(),
        changes: change_reports(plan),
        ready: host.is_ready(),
        endpoint: host.endpoint.clone(),
        api_key: host.api_key.clone(),
        ca_file: keep_authority(prepared.layout.certificate_authority(), host.current())?,
        model: prepared.spec.model.served_name.clone(),
        hourly_usd: monthly_usd.map(view::cloud::an_hour),
        monthly_usd,
        seconds: begun.elapsed().as_secs_f64(),
    };
    if args.json.json {
        return print_json(&report);
    }
    let how = if report.ready { "is ready" } else { "is made; its machine was not waited for" };
    say(format!("\n{} {how} ({:.1} s).\n", report.deployment, report.seconds));
    print(text(&report))?;
    if let Some(why) = unwatched(host) {
        say(format!("\nNote: it is not watched yet: {why}; `dsctl status` says when it is."));
    }
    if plan.count(Action::Replace) > 0 && !report.ready {
        say("\nWhat was replaced lives on until the new machine is ready: `dsctl up` removes it then.");
    }
    Ok(())
}

fn text(report: &UpReport) -> String {
    let unknown = "not known yet".to_owned();
    let ca_file = report.ca_file.as_ref().map(|file| format!("CA file   {}\n", file.display())).unwrap_or_default();
    format!(
        "endpoint  {}\nAPI key   {}\n{ca_file}model     {}\n{}costs     {}",
        report.endpoint.as_ref().unwrap_or(&unknown),
        report.api_key.as_ref().unwrap_or(&unknown),
        report.model,
        try_it(report),
        view::cloud::cost(report.monthly_usd),
    )
}

/// A line to paste, once there is somebody to answer; the key lies in the bucket, and is whoever may read it's to fetch.
fn try_it(report: &UpReport) -> String {
    let Some(endpoint) = report.endpoint.as_ref().filter(|_| report.ready) else { return String::new() };
    let trust = view::curl_trust(report.ca_file.as_deref());
    format!("try it    curl -s {trust}{endpoint}/models -H \"Authorization: Bearer $API_KEY\"\n")
}
