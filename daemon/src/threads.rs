//! How many CPU threads the arithmetic uses.
//!
//! candle sizes its two thread pools from `RAYON_NUM_THREADS` alone, and without it takes the number of physical cores,
//! which on a virtual machine is often half of what may be used. A process can't change its own environment safely once
//! threads may run, so the daemon starts itself again, in place (same process id), with the variable set.
//!
//! The restart also shortens how long candle's threads spin at a barrier before they sleep. With its own 25 000 turns a
//! busy neighbour on one of two cores takes decoding from some 45 tokens/s to 3 to 7; with 1000 turns 14 to 18 remain.
//! Alone on the machine the short wait costs at most a quarter.

use std::ffi::OsStr;
use std::num::NonZeroUsize;

const VARIABLE: &str = "RAYON_NUM_THREADS";
const SPIN_VARIABLE: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";
const SPIN_LIMIT: &str = "1000";

/// What to do about the thread count.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    AsIs(usize),
    RestartWith(usize),
}

/// The flag wins over the environment, the environment over the number of cores.
fn decide(flag: Option<NonZeroUsize>, environment: Option<&OsStr>, cores: usize) -> Decision {
    let inherited = environment.and_then(|value| value.to_str()?.parse::<usize>().ok()).filter(|threads| *threads > 0);
    match (flag.map(NonZeroUsize::get), inherited) {
        (None, Some(threads)) => Decision::AsIs(threads),
        (Some(wanted), Some(threads)) if wanted == threads => Decision::AsIs(threads),
        (Some(wanted), _) => Decision::RestartWith(wanted),
        (None, None) => Decision::RestartWith(cores),
    }
}

/// Sets the thread count and returns it; only returns if the process has it already, or can't be restarted.
pub fn settle(flag: Option<NonZeroUsize>) -> std::io::Result<usize> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    match decide(flag, std::env::var_os(VARIABLE).as_deref(), cores) {
        Decision::AsIs(threads) => Ok(threads),
        Decision::RestartWith(threads) => Err(restart(threads)?),
    }
}

fn restart(threads: usize) -> std::io::Result<std::io::Error> {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(VARIABLE, threads.to_string());
    if std::env::var_os(SPIN_VARIABLE).is_none() {
        command.env(SPIN_VARIABLE, SPIN_LIMIT);
    }
    Ok(command.exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_then_environment_then_cores() {
        let two = NonZeroUsize::new(2);
        assert_eq!(decide(None, None, 6), Decision::RestartWith(6));
        assert_eq!(decide(None, Some(OsStr::new("3")), 6), Decision::AsIs(3));
        assert_eq!(decide(two, Some(OsStr::new("3")), 6), Decision::RestartWith(2));
        assert_eq!(decide(two, Some(OsStr::new("2")), 6), Decision::AsIs(2));
        assert_eq!(decide(None, Some(OsStr::new("zero")), 6), Decision::RestartWith(6));
    }
}
