//! Processes by number and start time, so that a reused number is not taken for the old process.

use spec::host::ProcessId;
use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

/// The operating system derives a start time from the time of boot, which wanders a little with the clock. A clock that is
/// set moves it by more than that: then only [`find_carrier`] knows the process again.
const START_TOLERANCE_SECONDS: u64 = 2;

fn with_process<T>(pid: u32, look: impl FnOnce(&Process) -> T) -> Option<T> {
    look_at(pid, ProcessRefreshKind::nothing().without_tasks(), look)
}

fn look_at<T>(pid: u32, kind: ProcessRefreshKind, look: impl FnOnce(&Process) -> T) -> Option<T> {
    let pid = Pid::from_u32(pid);
    let mut system = System::new();
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

/// Whether this very process lives: the number is not another's by now. Dead ones that nobody has waited for yet count as
/// dead. A process that was started before the clock was set is not known again.
pub fn is_alive(process: &ProcessId) -> bool {
    with_process(process.pid, |found| is_same_start(found.start_time(), process.started) && is_living(found))
        .unwrap_or(false)
}

fn is_same_start(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= START_TOLERANCE_SECONDS
}

fn is_living(process: &Process) -> bool {
    !matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead)
}

fn carries(process: &Process, variable: &str) -> bool {
    process.environ().iter().any(|entry| entry == variable)
}

/// The process of this number, if it lives and was started with this variable in its environment.
pub(crate) fn find_carrier(pid: u32, variable: &str) -> Option<ProcessId> {
    let kind = ProcessRefreshKind::nothing().without_tasks().with_environ(UpdateKind::Always);
    let look = |process: &Process| (is_living(process) && carries(process, variable)).then(|| process.start_time());
    look_at(pid, kind, look).flatten().map(|started| ProcessId { pid, started })
}

/// The process that was started with this variable in its environment: the oldest, if it has handed it on.
pub(crate) fn find_by_variable(variable: &str) -> Option<ProcessId> {
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing().without_tasks().with_environ(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    system
        .processes()
        .values()
        .filter(|process| is_living(process) && carries(process, variable))
        .map(|process| ProcessId { pid: process.pid().as_u32(), started: process.start_time() })
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
