//! GPUs of tests: readings as data.

use spec::metric::gpu;

use super::{GpuName, GpuReading, GpuState, Gpus};

#[derive(Debug, Clone)]
pub struct RecordedGpus(pub Vec<GpuReading>);

impl RecordedGpus {
    /// So many GPUs that say 1 to everything.
    pub fn healthy(count: u32) -> Self {
        let reading = |index| GpuReading {
            name: GpuName { index, uuid: format!("GPU-{index}"), model: "NVIDIA L40S".to_owned() },
            state: GpuState::Answers,
            values: gpu::ALL.iter().map(|metric| (*metric, 1.0)).collect(),
        };
        Self((0..count).map(reading).collect())
    }
}

impl Gpus for RecordedGpus {
    fn read(&self) -> Vec<GpuReading> {
        self.0.clone()
    }
}
