//! Units as child processes: each in its own process group, with its output in a file, so that it outlives the agent.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use engine::store::{create_private_folder, write_durably};
use jiff::Timestamp;
use rustix::process::{Pid, kill_process_group};
use spec::host::ProcessId;
use spec::id::UnitName;
use spec::layout::HostLayout;

use super::{Adopted, Launch, Signal, Supervisor, SupervisorError, UnitRecord};
use crate::process::{find_by_variable, find_carrier, identify, is_alive};

/// What a unit inherits from the agent's environment; everything else is in its spec. Not `RUST_BACKTRACE`: the last
/// lines of a unit's log, which `dsctl up` shows, would be frames instead of the reason.
const INHERITED: [&str; 18] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RUST_LOG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "CUDA_VISIBLE_DEVICES",
];
const TOKEN_VARIABLE: &str = "DSCTL_UNIT_TOKEN";

#[derive(Debug)]
pub(crate) struct ChildSupervisor {
    host: HostLayout,
    running: HashMap<UnitName, Running>,
    started: u64,
}

#[derive(Debug)]
enum Running {
    Own(Child),
    /// Somebody else's child: it can be watched, not waited for.
    Adopted(UnitRecord, ProcessId),
}

impl Running {
    fn pid(&self) -> u32 {
        match self {
            Self::Own(child) => child.id(),
            Self::Adopted(_, process) => process.pid,
        }
    }
}

impl ChildSupervisor {
    pub fn new(host: HostLayout) -> Self {
        Self { host, running: HashMap::new(), started: 0 }
    }

    fn write_record(&self, unit: &UnitName, record: &UnitRecord) -> Result<(), SupervisorError> {
        let path = self.host.unit(unit);
        serde_json::to_vec_pretty(record)
            .map_err(io::Error::other)
            .and_then(|bytes| write_durably(&path, &bytes))
            .map_err(|source| io_error("writing", &path, source))
    }

    /// Unique on this machine: the agent's own identity, and a counter.
    fn next_token(&mut self, unit: &UnitName) -> String {
        self.started += 1;
        format!("{unit}-{}-{}-{}", std::process::id(), Timestamp::now().as_nanosecond(), self.started)
    }
}

fn io_error(verb: &str, path: &Path, source: io::Error) -> SupervisorError {
    SupervisorError::Io { what: format!("{verb} {}", path.display()), source }
}

/// The record of a unit; none if there is none.
pub(crate) fn read_record(host: &HostLayout, unit: &UnitName) -> Result<Option<UnitRecord>, SupervisorError> {
    let path = host.unit(unit);
    match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|source| SupervisorError::Record { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("reading", &path, source)),
    }
}

/// The process of a recorded unit, if it lives. It keeps its number and its environment when the clock is set; what it
/// started has the same environment and another number.
pub(crate) fn find_living(record: &UnitRecord) -> Option<ProcessId> {
    let variable = format!("{TOKEN_VARIABLE}={}", record.token);
    match record.process {
        Some(process) if is_alive(&process) => Some(process),
        Some(process) => find_carrier(process.pid, &variable),
        None => find_by_variable(&variable),
    }
}

fn command_of(launch: &Launch, token: &str, log: File) -> io::Result<Command> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .envs(&launch.env)
        .env(TOKEN_VARIABLE, token)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    Ok(command)
}

fn open_log(path: &Path) -> io::Result<File> {
    create_private_folder(path.parent().unwrap_or(Path::new(".")))?;
    OpenOptions::new().create(true).append(true).open(path)
}

fn kill_group(pid: u32, signal: Signal) -> io::Result<()> {
    let signal = match signal {
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    match kill_process_group(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Supervisor for ChildSupervisor {
    fn recorded(&self) -> Result<Vec<UnitName>, SupervisorError> {
        let folder = self.host.root().join("units");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(io_error("listing", &folder, source)),
        };
        let name_in = |entry: fs::DirEntry| {
            let path = entry.path();
            (path.extension()? == "json").then(|| path.file_stem()?.to_str()?.parse().ok())?
        };
        let mut names: Vec<UnitName> = entries.flatten().filter_map(name_in).collect();
        names.sort();
        Ok(names)
    }

    fn adopt(&mut self, unit: &UnitName) -> Result<Option<Adopted>, SupervisorError> {
        let Some(record) = read_record(&self.host, unit)? else {
            return Ok(None);
        };
        let Some(process) = find_living(&record) else {
            return Ok(None);
        };
        let found = UnitRecord { process: Some(process), ..record.clone() };
        if found != record {
            self.write_record(unit, &found)?;
        }
        self.running.insert(unit.clone(), Running::Adopted(found, process));
        Ok(Some(Adopted { process, fingerprint: record.fingerprint }))
    }

    fn start(&mut self, unit: &UnitName, launch: &Launch) -> Result<ProcessId, SupervisorError> {
        let log = open_log(&launch.log).map_err(|source| io_error("opening", &launch.log, source))?;
        let token = self.next_token(unit);
        let record = UnitRecord { fingerprint: launch.fingerprint.clone(), token, process: None };
        self.write_record(unit, &record)?;
        let failed = |source| SupervisorError::Start { program: launch.program.clone(), source };
        let child = command_of(launch, &record.token, log).and_then(|mut command| command.spawn()).map_err(failed)?;
        let pid = child.id();
        self.running.insert(unit.clone(), Running::Own(child));
        // Not yet waited for, so it has its entry even if it has ended by now.
        let process =
            identify(pid).unwrap_or_else(|| ProcessId { pid, started: Timestamp::now().as_second().unsigned_abs() });
        // The unit runs either way; without this write it is still found by its token.
        if let Err(error) = self.write_record(unit, &UnitRecord { process: Some(process), ..record }) {
            tracing::warn!(%unit, %error, "the unit's record is incomplete");
        }
        Ok(process)
    }

    fn poll(&mut self, unit: &UnitName) -> Option<String> {
        let exit = match self.running.get_mut(unit)? {
            Running::Own(child) => match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) => {
                    // What it started may have outlived it and hold its port.
                    if let Err(error) = kill_group(child.id(), Signal::Kill) {
                        tracing::warn!(%unit, %error, "killing what the unit left");
                    }
                    status.to_string()
                }
                Err(error) => format!("unknown: {error}"),
            },
            Running::Adopted(record, _) if find_living(record).is_some() => return None,
            Running::Adopted(..) => "unknown, adopted".to_owned(),
        };
        self.running.remove(unit);
        Some(exit)
    }

    fn signal(&mut self, unit: &UnitName, signal: Signal) -> Result<(), SupervisorError> {
        let running = self.running.get(unit).ok_or_else(|| SupervisorError::NotRunning { unit: unit.clone() })?;
        if let Running::Adopted(record, _) = running
            && find_living(record).is_none()
        {
            return Ok(());
        }
        kill_group(running.pid(), signal)
            .map_err(|source| SupervisorError::Io { what: format!("signalling {unit}"), source })
    }

    fn forget(&mut self, unit: &UnitName) -> Result<(), SupervisorError> {
        let path = self.host.unit(unit);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", &path, error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn sleeper(host: &HostLayout) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), "echo \"up $GREETING\"; exec sleep 600".to_owned()],
            env: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            log: host.log("sleeper"),
            fingerprint: "f".to_owned(),
            reads: Vec::new(),
            shared: Vec::new(),
            data: host.data(&"sleeper".parse().unwrap()),
            ports: Vec::new(),
            stop_grace: std::time::Duration::from_secs(1),
        }
    }

    #[test]
    fn conforms() {
        let folder = tempfile::tempdir().unwrap();
        let host = HostLayout::new(folder.path());
        super::super::conformance::run(|| ChildSupervisor::new(host.clone()), &sleeper(&host));
        assert_eq!(fs::read_to_string(host.log("sleeper")).unwrap().lines().next(), Some("up hello"));
    }

    #[test]
    fn a_start_cut_before_its_record_was_complete_is_found_by_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let host = HostLayout::new(folder.path());
        let unit: UnitName = "sleeper".parse().unwrap();
        let mut first = ChildSupervisor::new(host.clone());
        let process = first.start(&unit, &sleeper(&host)).unwrap();
        let record = read_record(&host, &unit).unwrap().unwrap();
        first.write_record(&unit, &UnitRecord { process: None, ..record }).unwrap();
        let mut second = ChildSupervisor::new(host);
        assert_eq!(second.adopt(&unit).unwrap().unwrap().process.pid, process.pid);
        second.signal(&unit, Signal::Kill).unwrap();
        while first.poll(&unit).is_none() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_unit_from_before_the_clock_was_set_is_known_by_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let host = HostLayout::new(folder.path());
        let unit: UnitName = "sleeper".parse().unwrap();
        let mut first = ChildSupervisor::new(host.clone());
        let process = first.start(&unit, &sleeper(&host)).unwrap();
        let record = read_record(&host, &unit).unwrap().unwrap();
        let told_before = ProcessId { started: process.started - 3600, ..process };
        let moved = UnitRecord { process: Some(told_before), ..record.clone() };
        first.write_record(&unit, &moved).unwrap();
        assert_eq!(find_living(&moved), Some(process));
        assert_eq!(find_living(&UnitRecord { token: "another".to_owned(), ..moved.clone() }), None, "a reused number");

        let mut second = ChildSupervisor::new(host.clone());
        assert_eq!(second.adopt(&unit).unwrap().unwrap().process, process);
        assert_eq!(read_record(&host, &unit).unwrap(), Some(record), "put right");
        second.running.insert(unit.clone(), Running::Adopted(moved, told_before));
        assert_eq!(second.poll(&unit), None, "set while it was watched");
        second.signal(&unit, Signal::Kill).unwrap();
        while first.poll(&unit).is_none() {
            std::thread::yield_now();
        }
        assert_eq!(second.poll(&unit).as_deref(), Some("unknown, adopted"));
    }

    #[test]
    fn a_record_that_is_none_is_an_error_and_not_a_unit_that_ended() {
        let folder = tempfile::tempdir().unwrap();
        let host = HostLayout::new(folder.path());
        let unit: UnitName = "sleeper".parse().unwrap();
        write_durably(&host.unit(&unit), b"{").unwrap();
        let mut supervisor = ChildSupervisor::new(host);
        assert_eq!(supervisor.recorded().unwrap(), std::slice::from_ref(&unit));
        let error = supervisor.adopt(&unit).unwrap_err().to_string();
        assert!(error.contains("sleeper.json is not a unit's record: EOF"), "{error}");
    }
}
