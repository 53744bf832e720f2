//! The host's GPUs as NVML sees them, under the names that dcgm-exporter gives the same values.
//!
//! ```text
//! nvml (the driver's library, loaded at run time) --Gpus::read--> GpuReading --samples--> /metrics
//!                                                                     ^
//! recorded (tests) ---------------------------------------------------+
//! ```
//! What a GPU does not support is absent, never zero. A GPU that fell off the bus shows as one that is not counted, with
//! the Xid that it left with, if there was one.

mod dcgm;
mod nvml;
mod reading;
#[cfg(test)]
mod recorded;

use std::fmt;
use std::sync::Arc;

pub use dcgm::{DCGM_EXPORTER, Exporter, exporter};
pub use nvml::NvmlGpus;
pub use reading::{GpuName, GpuReading, GpuState};
pub(crate) use reading::{count, samples};
#[cfg(test)]
pub use recorded::RecordedGpus;

/// Whoever can be asked how the GPUs are.
pub trait Gpus: Send + Sync + fmt::Debug {
    /// One reading for each GPU that was ever seen, in the driver's order. Blocks for some milliseconds a GPU.
    fn read(&self) -> Vec<GpuReading>;
}

/// A host without NVML: by that measure it has no GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoGpus;

impl Gpus for NoGpus {
    fn read(&self) -> Vec<GpuReading> {
        Vec::new()
    }
}

/// The GPUs of this host. That there is no NVML is said once, here: most hosts without a GPU have none.
pub fn of_this_host() -> Arc<dyn Gpus> {
    match NvmlGpus::open() {
        Ok(gpus) => Arc::new(gpus),
        Err(error) => {
            tracing::info!(%error, "no GPU is watched: NVML can't be used");
            Arc::new(NoGpus)
        }
    }
}
