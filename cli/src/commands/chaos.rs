//! `dsctl chaos FAULT`: a game day. Breaks a deployment on this machine, and says how it is seen and healed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent::Observed;
use agent::weights::{Verdict, WeightsCache};
use providers::local::host_name;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::args::{ChaosArgs, Fault};
use crate::context::Context;
use crate::exit::Failure;
use crate::gateway::host_spec;
use crate::talk::{confirm, print, print_json};

const DAEMON: &str = "dsserve";
const GATEWAY: &str = "dsgate";

#[derive(Debug, Serialize)]
struct ChaosReport<'a> {
    deployment: &'a str,
    fault: Fault,
    done: &'a str,
    /// How it is seen and healed.
    next: &'a str,
}

pub async fn run(context: &Context, args: ChaosArgs) -> Result<(), Failure> {
    let name = &args.name.name;
    context.local_deployment(name, "dsctl chaos")?;
    let word = clap::ValueEnum::to_possible_value(&args.fault).map(|value| value.get_name().to_owned());
    let word = word.unwrap_or_default();
    if !args.yes {
        confirm(&format!("Break {name} on purpose ({word})?"), &format!("dsctl chaos {word}"))?;
    }
    let seen = agent::observe(&context.home, name, &host_name()).await.map_err(Failure::failed)?;
    let done = act(context, &args, &seen)?;
    let next = next(args.fault);
    if args.json.json {
        return print_json(&ChaosReport { deployment: name.as_str(), fault: args.fault, done: &done, next });
    }
    print(format!("{done}; next: {next}"))
}

fn act(context: &Context, args: &ChaosArgs, seen: &Observed) -> Result<String, Failure> {
    match args.fault {
        Fault::KillDaemon => end(DAEMON, unit(seen, DAEMON)?),
        Fault::KillGateway => end(GATEWAY, unit(seen, GATEWAY)?),
        Fault::KillAgent => end("agent", agent_process(context, args)?),
        Fault::KillAgentAndDaemon => {
            let daemon = unit(seen, DAEMON)?;
            let first = end("agent", agent_process(context, args)?)?;
            Ok(format!("{first}; {}", end(DAEMON, daemon)?))
        }
        Fault::DamageWeights => {
            let spec = host_spec(&context.home.deployment(&args.name.name))?;
            let known =
                agent::weights::check(&WeightsCache::new(&context.home), &spec.weights).map_err(Failure::failed)?;
            let whole = known.iter().find(|weights| weights.verdict == Verdict::Whole);
            let nothing = || Failure::failed("no weights of it are whole in the cache").next("dsctl weights verify");
            let path = &whole.ok_or_else(nothing)?.path;
            damage(path)?;
            Ok(format!("changed a byte of {}; what runs has read it already", path.display()))
        }
    }
}

const fn next(fault: Fault) -> &'static str {
    match fault {
        Fault::KillDaemon => "dsctl status --watch; the agent starts it again",
        Fault::KillGateway => "dsctl status --watch; the agent starts it again",
        Fault::KillAgent => "dsctl runbook run agent-dead",
        Fault::KillAgentAndDaemon => "dsctl runbook run --alert DaemonDown",
        Fault::DamageWeights => "dsctl runbook run weights-corrupt",
    }
}

fn unit(seen: &Observed, name: &str) -> Result<u32, Failure> {
    let unit = seen.units.iter().find(|unit| unit.name.as_str() == name);
    unit.and_then(|unit| unit.process)
        .map(|process| process.pid)
        .ok_or_else(|| Failure::failed(format!("{name} does not run, so it can't be ended")).next("dsctl status"))
}

fn agent_process(context: &Context, args: &ChaosArgs) -> Result<u32, Failure> {
    let found = providers::local::living_agent(&context.home.deployment(&args.name.name))?;
    found.ok_or_else(|| Failure::failed("no agent runs, so it can't be ended").next("dsctl status"))
}

/// As a crash would: nothing is finished, nothing is said.
fn end(name: &str, process: u32) -> Result<String, Failure> {
    let gone = || Failure::failed(format!("{name} ended by itself meanwhile")).next("dsctl status");
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    kill_process(pid, Signal::KILL).map_err(|error| Failure::failed(format!("ending {name}: {error}")))?;
    Ok(format!("ended {name} (pid {process})"))
}

/// Another file of the same size takes its place: what has the old one open reads on.
fn damage(path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let mut bytes = fs::read(path).map_err(failed)?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).ok_or_else(|| Failure::failed(format!("{} is empty", path.display())))?;
    *byte ^= 0x55;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    let beside = path.with_extension("damaged");
    fs::write(&beside, &bytes).map_err(failed)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}
