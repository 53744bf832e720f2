//! The machine of a local deployment: a detached `dsctl agent`. Alive means that its lock is held, which no crash and
//! no reuse of process numbers can fake.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine::provider::ProviderError;
use engine::store::create_private_folder;
use serde_json::Value;
use spec::host::RunState;
use spec::id::{DeploymentName, Sha256};
use spec::layout::{DeploymentLayout, HomeLayout};

use super::{host_name, host_spec};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A start is a fork, a read of a small file and a lock.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Above the units' own grace periods.
const STOP_LIMIT: Duration = Duration::from_secs(120);

fn error(message: impl ToString) -> ProviderError {
    ProviderError::permanent("agent.local", message)
}

pub fn is_alive(layout: &DeploymentLayout) -> Result<bool, ProviderError> {
    let path = layout.host().agent_lock();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(other) => return Err(ProviderError::permanent(path.display(), other)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(other)) => Err(ProviderError::permanent(path.display(), other)),
    }
}

/// Starts the agent unless one is alive, and waits until it is.
pub async fn start(home: &HomeLayout, deployment: &DeploymentName, inputs: &Value) -> Result<(), ProviderError> {
    let layout = home.deployment(deployment);
    if is_alive(&layout)? {
        return Ok(());
    }
    let mut child = spawn(home, deployment, inputs)?;
    let begun = Instant::now();
    while !is_alive(&layout)? {
        if let Some(status) = child.try_wait().map_err(error)? {
            return Err(error(format!("the agent ended at once ({status}){}", log_tail(&layout))));
        }
        if begun.elapsed() > START_LIMIT {
            return Err(error(format!("the agent did not come up in {} s", START_LIMIT.as_secs())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn spawn(home: &HomeLayout, deployment: &DeploymentName, inputs: &Value) -> Result<Child, ProviderError> {
    let digest: Sha256 = inputs["sha256"].as_str().unwrap_or_default().parse().map_err(error)?;
    let log_path = home.deployment(deployment).host().log("agent");
    let log = open_log(&log_path).map_err(|cause| ProviderError::permanent(log_path.display(), cause))?;
    let log_again = log.try_clone().map_err(error)?;
    let binary = home.artifact(&digest, "dsctl");
    Command::new(&binary)
        .arg("--home")
        .arg(home.root())
        .args(["agent", "--name", deployment.as_str(), "--host", host_name().as_str()])
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_again)
        .current_dir("/")
        .spawn()
        .map_err(|cause| ProviderError::permanent(binary.display(), cause))
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        create_private_folder(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn log_tail(layout: &DeploymentLayout) -> String {
    let text = fs::read_to_string(layout.host().log("agent")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.iter().rev().map(|line| format!("\n  {line}")).collect()
}

/// The process number of the living agent: it writes its own into the lock that it holds.
pub fn living_agent(layout: &DeploymentLayout) -> Result<Option<u32>, ProviderError> {
    if !is_alive(layout)? {
        return Ok(None);
    }
    let path = layout.host().agent_lock();
    let text = fs::read_to_string(&path).map_err(|cause| ProviderError::permanent(path.display(), cause))?;
    Ok(text.trim().parse().ok())
}

/// Ends the agent but not its units: the next agent adopts them.
pub async fn leave(layout: &DeploymentLayout) -> Result<(), ProviderError> {
    if !is_alive(layout)? {
        return Ok(());
    }
    let pid = living_agent(layout)?.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    let pid = pid.ok_or_else(|| error("its lock does not say which process it is"))?;
    match rustix::process::kill_process(pid, rustix::process::Signal::TERM) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => wait_until_gone(layout, START_LIMIT).await,
        Err(cause) => Err(error(cause)),
    }
}

/// Stops all units through the agent, started again if it is dead, and waits until they are gone.
pub async fn stop(home: &HomeLayout, deployment: &DeploymentName, inputs: &Value) -> Result<(), ProviderError> {
    let layout = home.deployment(deployment);
    if !ask_to_stop(&layout)? {
        return Ok(());
    }
    wait_until_gone(&layout, STOP_LIMIT).await?;
    // Whatever ended the agent, its units may live. One more finds them by their records, stops them, and says if it can't.
    let mut sweeper = spawn(home, deployment, inputs)?;
    let begun = Instant::now();
    loop {
        match sweeper.try_wait().map_err(error)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let message =
                    format!("units may still run: the agent could not stop them ({status}){}", log_tail(&layout));
                return Err(error(message));
            }
            None if begun.elapsed() > STOP_LIMIT => {
                return Err(error(format!(
                    "units were not stopped in {} s{}",
                    STOP_LIMIT.as_secs(),
                    log_tail(&layout)
                )));
            }
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Has a living agent stop all units and end; nothing if none lives.
pub async fn wind_up(layout: &DeploymentLayout) -> Result<(), ProviderError> {
    if !is_alive(layout)? || !ask_to_stop(layout)? {
        return Ok(());
    }
    wait_until_gone(layout, STOP_LIMIT).await
}

/// False if there is no host spec, so that nothing was ever started.
fn ask_to_stop(layout: &DeploymentLayout) -> Result<bool, ProviderError> {
    let Some(mut spec) = host_spec::load(layout)? else { return Ok(false) };
    if spec.run != RunState::Stopped {
        spec.run = RunState::Stopped;
        spec.generation += 1;
        host_spec::store(layout, &spec)?;
    }
    Ok(true)
}

async fn wait_until_gone(layout: &DeploymentLayout, limit: Duration) -> Result<(), ProviderError> {
    let begun = Instant::now();
    while is_alive(layout)? {
        if begun.elapsed() > limit {
            let message = format!("the agent did not end in {} s{}", limit.as_secs(), log_tail(layout));
            return Err(error(message));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
