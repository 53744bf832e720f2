//! A supervisor without processes: a table that tests look into and change.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spec::host::ProcessId;
use spec::id::UnitName;

use super::{Adopted, Launch, Signal, Supervisor, SupervisorError};

/// What outlives an agent.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub units: BTreeMap<UnitName, FakeUnit>,
    pub starts: Vec<(UnitName, Launch)>,
    pub signals: Vec<(UnitName, Signal)>,
    /// Units that take no notice of the polite signal.
    pub stubborn: Vec<UnitName>,
    /// Units that take no notice of the impolite one either.
    pub immortal: Vec<UnitName>,
    /// Units whose records can't be read.
    pub unreadable: Vec<UnitName>,
    next_pid: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct FakeUnit {
    pub process: ProcessId,
    pub fingerprint: String,
    pub exit: Option<String>,
    is_polled: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FakeSupervisor {
    world: Arc<Mutex<World>>,
}

impl FakeSupervisor {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn end(&self, unit: &UnitName, exit: &str) {
        self.world().units.get_mut(unit).unwrap().exit = Some(exit.to_owned());
    }
}

impl Supervisor for FakeSupervisor {
    fn recorded(&self) -> Result<Vec<UnitName>, SupervisorError> {
        Ok(self.world().units.keys().cloned().collect())
    }

    fn adopt(&mut self, unit: &UnitName) -> Result<Option<Adopted>, SupervisorError> {
        let world = self.world();
        if world.unreadable.contains(unit) {
            return Err(SupervisorError::Io { what: format!("reading {unit}.json"), source: ErrorKind::Other.into() });
        }
        Ok(world
            .units
            .get(unit)
            .filter(|found| found.exit.is_none())
            .map(|found| Adopted { process: found.process, fingerprint: found.fingerprint.clone() }))
    }

    fn start(&mut self, unit: &UnitName, launch: &Launch) -> Result<ProcessId, SupervisorError> {
        let mut world = self.world();
        world.next_pid += 1;
        let process = ProcessId { pid: world.next_pid, started: 1 };
        let fingerprint = launch.fingerprint.clone();
        world.units.insert(unit.clone(), FakeUnit { process, fingerprint, exit: None, is_polled: false });
        world.starts.push((unit.clone(), launch.clone()));
        Ok(process)
    }

    fn poll(&mut self, unit: &UnitName) -> Option<String> {
        let mut world = self.world();
        let found = world.units.get_mut(unit)?;
        let exit = found.exit.clone().filter(|_| !found.is_polled)?;
        found.is_polled = true;
        Some(exit)
    }

    fn signal(&mut self, unit: &UnitName, signal: Signal) -> Result<(), SupervisorError> {
        let mut world = self.world();
        let is_immortal = world.immortal.contains(unit);
        let is_stubborn = is_immortal || world.stubborn.contains(unit);
        world.signals.push((unit.clone(), signal));
        let found = world.units.get_mut(unit).filter(|found| found.exit.is_none());
        let found = found.ok_or_else(|| SupervisorError::NotRunning { unit: unit.clone() })?;
        match signal {
            Signal::Terminate if is_stubborn => {}
            Signal::Terminate => found.exit = Some("signal: 15 (SIGTERM)".to_owned()),
            Signal::Kill if is_immortal => {}
            Signal::Kill => found.exit = Some("signal: 9 (SIGKILL)".to_owned()),
        }
        Ok(())
    }

    fn forget(&mut self, unit: &UnitName) -> Result<(), SupervisorError> {
        self.world().units.remove(unit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        let supervisor = FakeSupervisor::default();
        let launch = Launch {
            program: "x".into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            log: "x.log".into(),
            fingerprint: "f".to_owned(),
            reads: Vec::new(),
            shared: Vec::new(),
            data: "/data".into(),
            ports: Vec::new(),
            stop_grace: std::time::Duration::from_secs(1),
        };
        super::super::conformance::run(|| supervisor.clone(), &launch);
    }
}
