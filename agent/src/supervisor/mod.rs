//! The port between the agent and whatever runs its units. One conformance suite runs on the real and the fake one.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::host::ProcessId;
use spec::id::UnitName;

mod child;
#[cfg(test)]
pub(crate) mod fake;
mod systemd;

pub(crate) use child::{ChildSupervisor, find_living, read_record};
pub(crate) use systemd::{SystemdSupervisor, number_of};

/// A unit's command line with everything resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Where its output is appended to.
    pub log: PathBuf,
    /// Of all that would make it another unit.
    pub fingerprint: String,
    /// What it reads besides its program, and anybody may.
    pub reads: Vec<PathBuf>,
    /// What only it may read: secrets, files of the host spec.
    pub shared: Vec<PathBuf>,
    /// The folder that it may write to.
    pub data: PathBuf,
    pub ports: Vec<u16>,
    /// Between the polite and the impolite signal.
    pub stop_grace: Duration,
}

/// A running unit that an earlier agent started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adopted {
    pub process: ProcessId,
    pub fingerprint: String,
}

/// Kept on disk for each unit, so that no second one is ever started beside a running one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitRecord {
    pub fingerprint: String,
    /// In the process's environment: finds it when the agent died between the start and the next line, and when the clock
    /// was set since then, which moves the start times that the operating system tells.
    pub token: String,
    pub process: Option<ProcessId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Kill,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SupervisorError {
    #[error("starting {program}: {source}", program = .program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{path} is not a unit's record: {source}; the unit may run: end it by hand, then remove the file", path = .path.display())]
    Record { path: PathBuf, source: serde_json::Error },
    #[error("unit {unit} does not run")]
    NotRunning { unit: UnitName },
}

/// Starts, watches and signals processes. A started unit outlives this value: dropping it stops nothing.
pub(crate) trait Supervisor: Send {
    /// Units that were started and not forgotten since, running or not.
    fn recorded(&self) -> Result<Vec<UnitName>, SupervisorError>;

    /// Takes over a recorded unit that still runs; none if it does not. An error if that can't be told.
    fn adopt(&mut self, unit: &UnitName) -> Result<Option<Adopted>, SupervisorError>;

    /// Recorded before and after, so that a crash in between leaves no unknown process.
    fn start(&mut self, unit: &UnitName, launch: &Launch) -> Result<ProcessId, SupervisorError>;

    /// How it ended; none while it runs. Said once.
    fn poll(&mut self, unit: &UnitName) -> Option<String>;

    /// To the unit and the processes it started.
    fn signal(&mut self, unit: &UnitName, signal: Signal) -> Result<(), SupervisorError>;

    /// Drops the record of a unit that has ended; forgetting the unknown is Ok.
    fn forget(&mut self, unit: &UnitName) -> Result<(), SupervisorError>;
}

#[cfg(test)]
pub(crate) mod conformance {
    use std::time::Instant;

    use super::*;

    fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "waited too long");
            std::thread::yield_now();
        }
    }

    /// `make` gives agents on the same host, one after the other.
    pub fn run<S: Supervisor>(make: impl Fn() -> S, launch: &Launch) {
        let unit: UnitName = "sleeper".parse().unwrap();
        let mut first = make();
        assert_eq!(first.recorded().unwrap(), []);
        assert_eq!(first.adopt(&unit).unwrap(), None);
        assert!(first.signal(&unit, Signal::Kill).is_err());
        let process = first.start(&unit, launch).unwrap();
        assert_eq!(first.poll(&unit), None);
        drop(first);

        let mut second = make();
        assert_eq!(second.recorded().unwrap(), std::slice::from_ref(&unit));
        let adopted = second.adopt(&unit).unwrap().unwrap();
        assert_eq!((adopted.process.pid, adopted.fingerprint.as_str()), (process.pid, launch.fingerprint.as_str()));
        assert_eq!(second.poll(&unit), None);
        second.signal(&unit, Signal::Terminate).unwrap();
        wait_for(|| second.poll(&unit));
        assert_eq!(second.poll(&unit), None, "said once");

        let again = second.start(&unit, launch).unwrap();
        assert_ne!(again, process);
        second.signal(&unit, Signal::Kill).unwrap();
        assert_eq!(wait_for(|| second.poll(&unit)), "signal: 9 (SIGKILL)");
        assert_eq!(make().adopt(&unit).unwrap(), None);
        second.forget(&unit).unwrap();
        second.forget(&unit).unwrap();
        assert_eq!(second.recorded().unwrap(), []);
    }
}
