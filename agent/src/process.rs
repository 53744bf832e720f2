//! Processes by number and start time, so that a reused number is not taken for the old process.

use spec::host::ProcessId;
use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

/// The operating system derives a start time from the time of boot, which wanders a little with the clock.
const START_TOLERANCE_SECONDS: u64 = 2;

fn with_process<T>(pid: u32, look: impl FnOnce(&Process) -> T) -> Option<T> {
    let pid = Pid::from_u32(pid);
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
    system.process(pid).map(look)
}

/// The process that has this number now.
pub(crate) fn identify(pid: u32) -> Option<ProcessId> {
    with_process(pid, |process| ProcessId { pid, started: process.start_time() })
}

pub(crate) fn name_of(pid: u32) -> Option<String> {
    with_process(pid, |process| process.name().to_string_lossy().into_owned())
}

/// Dead ones that nobody has waited for yet count as dead.
pub(crate) fn is_alive(process: &ProcessId) -> bool {
    with_process(process.pid, |found| {
        found.start_time().abs_diff(process.started) <= START_TOLERANCE_SECONDS
            && !matches!(found.status(), ProcessStatus::Zombie | ProcessStatus::Dead)
    })
    .unwrap_or(false)
}

/// The process that was started with this variable in its environment: the oldest, if it has handed it on.
pub(crate) fn find_by_variable(variable: &str) -> Option<ProcessId> {
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing().without_tasks().with_environ(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    system
        .processes()
        .values()
        .filter(|process| process.environ().iter().any(|entry| entry == variable))
        .map(|process| ProcessId { pid: process.pid().as_u32(), started: process.start_time() })
        .filter(is_alive)
        .min_by_key(|process| (process.started, process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_number_is_another_process() {
        let own = identify(std::process::id()).unwrap();
        assert!(is_alive(&own));
        assert!(!is_alive(&ProcessId { started: own.started - 100, ..own }));
        assert!(!is_alive(&ProcessId { pid: u32::MAX / 4, ..own }));
    }
}
