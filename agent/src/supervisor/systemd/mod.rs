//! Units as services of systemd: each as a user of its own, confined, and started again by systemd while no agent lives.
//!
//! Their files lie under `/run`: what systemd has lost at a reboot is not there after it either, and the agent starts it anew.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use engine::store::create_private_folder;
use spec::host::ProcessId;
use spec::id::UnitName;

use super::{Adopted, Launch, Signal, Supervisor, SupervisorError};
use crate::process::{identify, is_alive};

mod accounts;
mod systemctl;
mod unit_file;

pub(crate) use accounts::number_of;

use systemctl::{Shown, show, systemctl};

const FOLDER: &str = "/run/systemd/system";
const PREFIX: &str = "dsctl-";
/// Between the start and its process number.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct SystemdSupervisor {
    /// Hidden from units but for what they need.
    home: PathBuf,
    running: HashMap<UnitName, ProcessId>,
}

impl SystemdSupervisor {
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_owned(), running: HashMap::new() }
    }

    /// Whether this machine's first process is systemd.
    pub fn is_here() -> bool {
        Path::new(FOLDER).is_dir()
    }

    fn prepare(&self, unit: &UnitName, launch: &Launch) -> io::Result<()> {
        let user = unit_file::user_of(launch);
        accounts::make(&[&user])?;
        if unit_file::has_cards(launch) {
            load_card_driver();
        }
        for path in &launch.shared {
            accounts::share(path)?;
        }
        create_private_folder(&launch.data)?;
        accounts::give(&launch.data, &user)?;
        create_private_folder(launch.log.parent().unwrap_or(Path::new(".")))?;
        fs::write(file_of(unit), unit_file::render(unit, launch, &self.home))?;
        systemctl(&["daemon-reload"]).map(|_| ())
    }

    /// What runs already as it should, or what is started now.
    fn bring_up(&self, unit: &UnitName, launch: &Launch) -> io::Result<ProcessId> {
        let service = service_of(unit);
        if recorded_fingerprint(unit)?.as_deref() == Some(launch.fingerprint.as_str())
            && let Some(process) = process_of(&show(&service)?)
        {
            return Ok(process);
        }
        self.prepare(unit, launch)?;
        // Systemd may be waiting to start the one before it.
        systemctl(&["stop", &service])?;
        systemctl(&["start", "--no-block", &service])?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = show(&service)?;
            if let Some(process) = process_of(&shown) {
                return Ok(process);
            }
            if shown.active == "failed" || Instant::now() > deadline {
                return Err(io::Error::other(format!("{service} is {}: {}", shown.active, shown.exit())));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// CUDA's part of the driver, which a unit without privileges can't load, and whose device must be there before it starts.
fn load_card_driver() {
    match Command::new("nvidia-modprobe").args(["-u", "-c", "0"]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => tracing::warn!(status = %output.status, "nvidia-modprobe"),
        // A host without cards.
        Err(error) => tracing::debug!(%error, "nvidia-modprobe"),
    }
}

fn service_of(unit: &UnitName) -> String {
    format!("{PREFIX}{unit}.service")
}

fn file_of(unit: &UnitName) -> PathBuf {
    Path::new(FOLDER).join(service_of(unit))
}

/// None if systemd has no such unit of ours.
fn recorded_fingerprint(unit: &UnitName) -> io::Result<Option<String>> {
    match fs::read_to_string(file_of(unit)) {
        Ok(file) => Ok(unit_file::fingerprint_in(&file).map(str::to_owned)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn process_of(shown: &Shown) -> Option<ProcessId> {
    let lives = matches!(shown.active.as_str(), "active" | "activating" | "reloading" | "deactivating");
    (lives && shown.main_pid != 0).then(|| identify(shown.main_pid))?
}

/// Systemd would start it again by itself, and the agent then find its port taken.
fn leave_to_the_agent(unit: &UnitName) {
    if let Err(error) = systemctl(&["stop", "--no-block", &service_of(unit)]) {
        tracing::warn!(%unit, %error, "systemd may start it beside the agent");
    }
}

fn failed(what: String) -> impl FnOnce(io::Error) -> SupervisorError {
    move |source| SupervisorError::Io { what, source }
}

impl Supervisor for SystemdSupervisor {
    fn recorded(&self) -> Result<Vec<UnitName>, SupervisorError> {
        let entries = fs::read_dir(FOLDER).map_err(failed(format!("listing {FOLDER}")))?;
        let name_in = |entry: fs::DirEntry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(".service")?.parse().ok()
        };
        let mut names: Vec<UnitName> = entries.flatten().filter_map(name_in).collect();
        names.sort();
        Ok(names)
    }

    fn adopt(&mut self, unit: &UnitName) -> Result<Option<Adopted>, SupervisorError> {
        let what = || failed(format!("looking at {unit}"));
        let Some(fingerprint) = recorded_fingerprint(unit).map_err(what())? else { return Ok(None) };
        let Some(process) = process_of(&show(&service_of(unit)).map_err(what())?) else {
            leave_to_the_agent(unit);
            return Ok(None);
        };
        self.running.insert(unit.clone(), process);
        Ok(Some(Adopted { process, fingerprint }))
    }

    fn start(&mut self, unit: &UnitName, launch: &Launch) -> Result<ProcessId, SupervisorError> {
        let process = self
            .bring_up(unit, launch)
            .map_err(|source| SupervisorError::Start { program: launch.program.clone(), source })?;
        self.running.insert(unit.clone(), process);
        Ok(process)
    }

    fn poll(&mut self, unit: &UnitName) -> Option<String> {
        let process = *self.running.get(unit)?;
        if is_alive(&process) {
            return None;
        }
        let exit = match show(&service_of(unit)) {
            // Only the clock was set: it is the same process, known by systemd.
            Ok(shown) if shown.main_pid == process.pid => {
                self.running.insert(unit.clone(), process_of(&shown)?);
                return None;
            }
            Ok(shown) => shown.exit(),
            Err(error) => format!("unknown: {error}"),
        };
        leave_to_the_agent(unit);
        self.running.remove(unit);
        Some(exit)
    }

    fn signal(&mut self, unit: &UnitName, signal: Signal) -> Result<(), SupervisorError> {
        let process = *self.running.get(unit).ok_or_else(|| SupervisorError::NotRunning { unit: unit.clone() })?;
        let service = service_of(unit);
        let sent = match signal {
            // By systemd, so that systemd does not start it again.
            Signal::Terminate => systemctl(&["stop", "--no-block", &service]),
            Signal::Kill => systemctl(&["kill", "--kill-who=main", "--signal=KILL", &service]),
        };
        match sent {
            // It ended in the meantime, and systemd no longer knows it.
            Err(error) if is_alive(&process) => Err(failed(format!("signalling {unit}"))(error)),
            _ => Ok(()),
        }
    }

    fn forget(&mut self, unit: &UnitName) -> Result<(), SupervisorError> {
        let path = file_of(unit);
        match fs::remove_file(&path) {
            Ok(()) => systemctl(&["daemon-reload"]).map(|_| ()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(failed(format!("removing {}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a host that systemd booted, as root: the booted host's tests run it there.
    #[test]
    #[ignore = "needs systemd as the first process, and root"]
    fn conforms() {
        assert!(SystemdSupervisor::is_here(), "systemd is not the first process here");
        let home = PathBuf::from("/var/lib/dsctl-conformance");
        create_private_folder(&home).unwrap();
        let program = home.join("dsgate");
        fs::copy("/usr/bin/sleep", &program).unwrap();
        let secret = home.join("secret");
        fs::write(&secret, "sesame").unwrap();
        let launch = Launch {
            args: vec!["600".to_owned()],
            reads: Vec::new(),
            shared: vec![secret],
            data: home.join("data"),
            log: home.join("logs/sleeper.log"),
            program,
            ..unit_file::tests::launch()
        };
        super::super::conformance::run(|| SystemdSupervisor::new(&home), &launch);
    }
}
