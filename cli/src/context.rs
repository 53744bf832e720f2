//! What every command stands on: the home folder, the binaries' folder, how to talk.

use std::path::{Path, PathBuf};

use engine::lease::Holder;
use spec::host::ProcessId;
use spec::id::DeploymentName;
use spec::layout::{DeploymentLayout, HomeLayout};

use crate::exit::{Failure, Kind};
use crate::site::Kept;

#[derive(Debug, Clone)]
pub struct Context {
    pub home: HomeLayout,
}

impl Context {
    pub fn new(home: Option<PathBuf>) -> Result<Self, Failure> {
        let root = match home {
            Some(home) => std::path::absolute(&home)?,
            None => default_home()?,
        };
        Ok(Self { home: HomeLayout::new(root) })
    }

    /// The folder that dsctl itself runs from; its servers lie beside it.
    pub fn binaries(&self) -> Result<PathBuf, Failure> {
        let own = std::env::current_exe()?;
        Ok(own.parent().unwrap_or(Path::new("/")).to_owned())
    }

    /// The layout of a deployment that exists on this machine itself, not on a cloud.
    pub fn local_deployment(&self, name: &DeploymentName, command: &str) -> Result<DeploymentLayout, Failure> {
        let kept = Kept::named(self, name)?;
        kept.refuse_cloud(command)?;
        Ok(kept.layout)
    }

    /// The layout of a deployment that exists.
    pub fn deployment(&self, name: &DeploymentName) -> Result<DeploymentLayout, Failure> {
        let layout = self.home.deployment(name);
        if layout.root().is_dir() {
            return Ok(layout);
        }
        let there: Vec<String> = providers::local::deployments(&self.home)?.iter().map(ToString::to_string).collect();
        let others =
            if there.is_empty() { "there is none".to_owned() } else { format!("there is {}", there.join(", ")) };
        let message = format!("no deployment named {name}; {others}");
        Err(Failure::new(Kind::NoSuchDeployment, message).next("dsctl up --cloud local --model smollm2-135m"))
    }
}

fn default_home() -> Result<PathBuf, Failure> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| from("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("dsctl"))
        .ok_or_else(|| Failure::usage("no home folder: HOME is not set; name one with --home DIR"))
}

/// Who types here, for records.
pub fn user_at_machine() -> String {
    let named =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", sysinfo::System::host_name().unwrap_or_else(|| "unknown".to_owned()))
}

/// This process, for the lease.
pub fn holder(command: &str) -> Holder {
    let pid = std::process::id();
    Holder {
        command: command.to_owned(),
        host: sysinfo::System::host_name().unwrap_or_else(|| "unknown".to_owned()),
        pid,
        started: process_start(pid).unwrap_or_default(),
    }
}

/// Whether a holder is on this machine, so that its process can be looked at.
pub fn is_here(holder: &Holder) -> bool {
    holder.host == sysinfo::System::host_name().unwrap_or_else(|| "unknown".to_owned())
}

/// Whether a holder on this machine is known to be gone; one on another machine is waited out.
pub fn is_dead(holder: &Holder) -> bool {
    let process = ProcessId { pid: holder.pid, started: holder.started };
    is_here(holder) && !agent::process_is_alive(&process)
}

fn process_start(pid: u32) -> Option<u64> {
    let mut system = sysinfo::System::new();
    let pid = sysinfo::Pid::from_u32(pid);
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), true);
    system.process(pid).map(sysinfo::Process::start_time)
}
