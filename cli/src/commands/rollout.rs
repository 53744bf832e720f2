//! `dsctl rollout …`: words to the controller inside the gateway.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use spec::id::Variant;
use spec::layout::DeploymentLayout;
use spec::rollout::{RolloutEvent, RolloutPhase, RolloutReport, RolloutSpec, Verdict};

use crate::args::{MoveArgs, RolloutCommand, RolloutStartArgs};
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::gateway::{Gateway, gateway_files};
use crate::session::interrupted;
use crate::talk::{print, print_json, say};
use crate::view;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The agent restarts a killed gateway well before this; a longer silence is the user's to know of.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

pub async fn run(context: &Context, command: RolloutCommand) -> Result<ExitCode, Failure> {
    let gateway = |args: &crate::args::NameArgs| Gateway::of(&context.local_deployment(&args.name, "dsctl rollout")?);
    match command {
        RolloutCommand::Start(args) => {
            refuse_without_baseline(&context.local_deployment(&args.name.name, "dsctl rollout")?)?;
            return start(&gateway(&args.name)?, *args).await;
        }
        RolloutCommand::Status { name, json } => {
            let report: RolloutReport = gateway(&name)?.get("/admin/rollout").await?;
            show(&report, json.json)?;
        }
        RolloutCommand::Page { name, json } => page(&gateway(&name)?, json.json)?,
        RolloutCommand::Explain { name, json } => {
            let report: RolloutReport = gateway(&name)?.get("/admin/rollout").await?;
            let explanation = view::explanation::explain(&report, jiff::Timestamp::now());
            if json.json { print_json(&explanation)? } else { print(view::explanation::text(&explanation))? }
        }
        RolloutCommand::Validate { file, json } => {
            let spec = read(&file)?;
            spec.validate().map_err(Failure::usage)?;
            if json.json { print_json(&spec)? } else { print(view::rollout::spec(&spec))? }
        }
        RolloutCommand::Plan { file, requests_per_minute, json } => {
            plan(file.as_deref(), requests_per_minute, json.json)?
        }
        RolloutCommand::Simulate { from, file, json } => return simulate(&from, file.as_deref(), json.json),
        RolloutCommand::Watch { name } => return watch(&gateway(&name)?).await,
        RolloutCommand::Pause(args) => go(&gateway(&args.name)?, "pause", &args).await?,
        RolloutCommand::Resume(args) => go(&gateway(&args.name)?, "resume", &args).await?,
        RolloutCommand::Abort(args) => go(&gateway(&args.name)?, "abort", &args).await?,
        RolloutCommand::Approve(args) => go(&gateway(&args.name)?, "approve", &args).await?,
        RolloutCommand::Undo(args) => go(&gateway(&args.name)?, "undo", &args).await?,
        RolloutCommand::History { name, json } => {
            let events: Vec<RolloutEvent> = gateway(&name)?.get("/admin/rollout/history").await?;
            if json.json { print_json(&events)? } else { print(view::rollout::history(&events))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The gateway would say so too, in the words of its configuration file.
fn refuse_without_baseline(layout: &DeploymentLayout) -> Result<(), Failure> {
    if gateway_files(layout)?.config.variants.contains_key(&Variant::Baseline) {
        return Ok(());
    }
    let message = "a rollout moves traffic from a baseline to this deployment, and it has no baseline";
    Err(Failure::failed(message).next("dsctl up --baseline URL, or --baseline local:MODEL to try with"))
}

/// Of the deployment's own machine only: the admin API listens on loopback.
fn page(gateway: &Gateway, json: bool) -> Result<(), Failure> {
    let address = gateway.page();
    if json { print_json(&serde_json::json!({ "page": address })) } else { print(address) }
}

/// Of a file alone: nothing needs to run for it.
fn plan(file: Option<&Path>, requests_per_minute: f64, json: bool) -> Result<(), Failure> {
    let spec = file.map(read).transpose()?.unwrap_or_default();
    spec.validate().map_err(Failure::usage)?;
    if !(requests_per_minute > 0.0 && requests_per_minute.is_finite()) {
        return Err(Failure::usage(format!("--requests-per-minute {requests_per_minute} is not above 0")));
    }
    let stages = rollout::forecast::forecast(&spec, requests_per_minute / 60.0);
    if json { print_json(&stages) } else { print(view::rollout::plan(&stages)) }
}

fn simulate(from: &Path, file: Option<&Path>, json: bool) -> Result<ExitCode, Failure> {
    let spec = file.map(read).transpose()?.unwrap_or_default();
    spec.validate().map_err(Failure::usage)?;
    let log = std::fs::read_to_string(from);
    let log = log.map_err(|error| Failure::usage(format!("{}: {error}", from.display())))?;
    let records = rollout::recorded::read(&log);
    if records.is_empty() {
        return Err(Failure::usage(format!("{}: no line tells of a request that was routed", from.display()))
            .next("dsctl logs dsgate --lines 100000"));
    }
    let played = rollout::backtest::backtest(&spec, &records);
    if json {
        print_json(&played)?
    } else {
        print(view::rollout::backtest(&played, &records))?
    }
    let is_rolled_back = played.verdict == Verdict::RollBack;
    Ok(if is_rolled_back { ExitCode::from(Kind::RolledBack as u8) } else { ExitCode::SUCCESS })
}

fn show(report: &RolloutReport, json: bool) -> Result<(), Failure> {
    if json { print_json(report) } else { print(view::rollout::report(report)) }
}

async fn go(gateway: &Gateway, verb: &str, args: &MoveArgs) -> Result<(), Failure> {
    let report: RolloutReport = gateway.post(&format!("/admin/rollout/{verb}"), None::<&()>).await?;
    show(&report, args.json.json)
}

async fn start(gateway: &Gateway, args: RolloutStartArgs) -> Result<ExitCode, Failure> {
    let spec = rollout_spec(&args)?;
    spec.validate().map_err(Failure::usage)?;
    let report: RolloutReport = gateway.post("/admin/rollout", Some(&spec)).await?;
    if !args.wait {
        show(&report, args.json.json)?;
        if !args.json.json {
            say("\nNext: dsctl rollout watch");
        }
        return Ok(ExitCode::SUCCESS);
    }
    say(format!("rollout {} started", report.id));
    let over = wait(gateway, args.timeout.map(|span| span.0), &mut TransitionLines::default()).await?;
    if args.json.json {
        print_json(&over)?;
    } else {
        print(view::rollout::report(&over))?;
    }
    Ok(exit_code(over.phase))
}

fn read(file: &Path) -> Result<RolloutSpec, Failure> {
    let place = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("{place}: {error}")))?;
    spec::yaml::parse(&text, &place).map_err(Failure::usage)
}

/// The file if there is one, flags laid over it.
fn rollout_spec(args: &RolloutStartArgs) -> Result<RolloutSpec, Failure> {
    let mut spec = match &args.file {
        None => RolloutSpec::default(),
        Some(path) => read(path)?,
    };
    if !args.stages.is_empty() {
        spec.stages.clone_from(&args.stages);
    }
    if !args.gates.is_empty() {
        spec.gates.clone_from(&args.gates);
    }
    spec.bake = args.bake.unwrap_or(spec.bake);
    spec.min_requests = args.min_requests.unwrap_or(spec.min_requests);
    spec.alpha = args.alpha.unwrap_or(spec.alpha);
    spec.consecutive_failures = args.consecutive_failures.unwrap_or(spec.consecutive_failures);
    spec.tick = args.tick.unwrap_or(spec.tick);
    Ok(spec)
}

fn exit_code(phase: RolloutPhase) -> ExitCode {
    match phase {
        RolloutPhase::RolledBack | RolloutPhase::Aborted => ExitCode::from(Kind::RolledBack as u8),
        RolloutPhase::Promoted | RolloutPhase::Baking | RolloutPhase::Paused => ExitCode::SUCCESS,
    }
}

/// Whoever wants to see each look at a rollout.
trait Look {
    fn look(&mut self, report: &RolloutReport);
}

/// A line when the stage or the phase changes.
#[derive(Default)]
struct TransitionLines {
    last: Option<(usize, RolloutPhase)>,
}

impl Look for TransitionLines {
    fn look(&mut self, report: &RolloutReport) {
        let now = (report.stage, report.phase);
        if self.last != Some(now) {
            self.last = Some(now);
            let stages = report.spec.stages.len();
            let (phase, weight) = (report.phase.as_str(), report.weight);
            say(format!("  stage {} of {stages}  weight {weight}  {phase}: {}", report.stage + 1, report.reason));
        }
    }
}

/// The whole report, drawn over the one before.
struct Screen {
    term: console::Term,
    lines: usize,
}

impl Look for Screen {
    fn look(&mut self, report: &RolloutReport) {
        let text = view::rollout::report(report);
        if self.term.is_term() {
            // A terminal that refuses to be cleared shows the reports one below the other.
            let _ = self.term.clear_last_lines(self.lines);
        }
        self.lines = text.lines().count();
        let _ = self.term.write_line(&text);
    }
}

async fn watch(gateway: &Gateway) -> Result<ExitCode, Failure> {
    let over = wait(gateway, None, &mut Screen { term: console::Term::stdout(), lines: 0 }).await?;
    Ok(exit_code(over.phase))
}

/// Looks until the rollout is over. A gateway that is being restarted is waited for.
async fn wait(gateway: &Gateway, limit: Option<Duration>, look: &mut impl Look) -> Result<RolloutReport, Failure> {
    let watching = async {
        let begun = Instant::now();
        let mut heard = Instant::now();
        loop {
            match gateway.get::<RolloutReport>("/admin/rollout").await {
                Ok(report) => {
                    heard = Instant::now();
                    look.look(&report);
                    if report.phase.is_over() {
                        return Ok(report);
                    }
                }
                Err(failure) if heard.elapsed() > SILENCE_LIMIT => return Err(failure),
                Err(_) => {}
            }
            if limit.is_some_and(|limit| begun.elapsed() > limit) {
                let message = "the rollout is not over in time; it goes on";
                return Err(Failure::new(Kind::TimedOut, message).next("dsctl rollout watch"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        over = watching => over,
        _ = tokio::signal::ctrl_c() => {
            let message = "stopped watching; the rollout goes on";
            Err(Failure { message: message.to_owned(), ..interrupted() }.next("dsctl rollout status"))
        }
    }
}
