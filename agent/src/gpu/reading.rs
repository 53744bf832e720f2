//! What one GPU said of itself, and how that is written.

use nvml_wrapper::error::NvmlError;
use spec::metric::{Metric, gpu, host};

use crate::exposition::Sample;

/// What stays the same of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuName {
    pub index: u32,
    pub uuid: String,
    /// E.g. `NVIDIA L40S`.
    pub model: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuState {
    Answers,
    /// Off the bus: only a reset or a new machine brings it back.
    Lost,
}

/// One look at a GPU.
#[derive(Debug, Clone)]
pub struct GpuReading {
    pub name: GpuName,
    pub state: GpuState,
    /// In the units of their metrics; what the GPU does not support is not there.
    pub values: Vec<(Metric, f64)>,
}

impl GpuReading {
    /// Sums up what NVML answered. `last_xid` is none where Xids can't be watched.
    pub fn new(name: GpuName, answers: Vec<(Metric, Result<f64, NvmlError>)>, last_xid: Option<u64>) -> Self {
        let is_lost = answers.iter().any(|(_, answer)| matches!(answer, Err(NvmlError::GpuLost)));
        if is_lost {
            return Self::lost(name, last_xid);
        }
        let known = answers.into_iter().filter_map(|(metric, answer)| Some((metric, answer.ok()?)));
        let values = known.chain(last_xid.map(|xid| (gpu::LAST_XID, xid as f64))).collect();
        Self { name, state: GpuState::Answers, values }
    }

    /// Why it is gone is the one thing that can still be said.
    pub fn lost(name: GpuName, last_xid: Option<u64>) -> Self {
        let xid = last_xid.filter(|xid| *xid != 0);
        Self { name, state: GpuState::Lost, values: xid.map(|xid| (gpu::LAST_XID, xid as f64)).into_iter().collect() }
    }

    fn samples(&self, host_name: &str) -> impl Iterator<Item = Sample> {
        let GpuName { index, uuid, model } = &self.name;
        let labels = vec![index.to_string(), uuid.clone(), model.clone(), host_name.to_owned()];
        self.values.iter().map(move |(metric, value)| Sample::new(metric, labels.clone(), *value))
    }
}

/// How many GPUs answer; lost ones do not count.
pub fn count(readings: &[GpuReading]) -> Sample {
    let count = readings.iter().filter(|reading| reading.state == GpuState::Answers).count();
    Sample::new(&host::GPUS, Vec::new(), count as f64)
}

/// All that the readings say, under DCGM's names.
pub fn samples(readings: &[GpuReading], host_name: &str) -> Vec<Sample> {
    readings.iter().flat_map(|reading| reading.samples(host_name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::render;
    use crate::gpu::{Gpus, RecordedGpus};

    fn name() -> GpuName {
        GpuName { index: 3, uuid: "GPU-3".to_owned(), model: "NVIDIA L40S".to_owned() }
    }

    fn page(readings: &[GpuReading]) -> String {
        let mut all = vec![count(readings)];
        all.extend(samples(readings, "main"));
        render(&all).unwrap()
    }

    #[test]
    fn every_name_that_is_promised_can_be_rendered_with_dcgms_labels() {
        let page = page(&RecordedGpus::healthy(1).read());
        for metric in gpu::ALL {
            let line =
                format!("{}{{Hostname=\"main\",UUID=\"GPU-0\",gpu=\"0\",modelName=\"NVIDIA L40S\"}} ", metric.name);
            assert!(page.contains(&line), "{line} in {page}");
        }
        assert!(page.contains("# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"), "{page}");
        assert!(page.contains("# TYPE DCGM_FI_DEV_ECC_DBE_VOL_TOTAL counter\n"), "{page}");
    }

    #[test]
    fn what_a_gpu_does_not_support_is_absent_and_the_rest_stays() {
        let answers = vec![
            (gpu::UTILISATION, Ok(97.0)),
            (gpu::ECC_CORRECTED, Err(NvmlError::NotSupported)),
            (gpu::TEMPERATURE, Err(NvmlError::Unknown)),
        ];
        let reading = GpuReading::new(name(), answers, None);
        assert_eq!(reading.state, GpuState::Answers);
        let page = page(&[reading]);
        assert!(page.contains("gpu=\"3\",modelName=\"NVIDIA L40S\"} 97\n") && page.contains("dsctl_host_gpus 1\n"));
        for absent in [gpu::ECC_CORRECTED, gpu::TEMPERATURE, gpu::LAST_XID] {
            assert!(!page.contains(absent.name), "{page}");
        }
    }

    #[test]
    fn a_lost_gpu_does_not_count_and_leaves_its_xid() {
        let answers = vec![(gpu::UTILISATION, Ok(97.0)), (gpu::POWER, Err(NvmlError::GpuLost))];
        let mut readings = RecordedGpus::healthy(1).read();
        readings.push(GpuReading::new(name(), answers, Some(79)));
        let page = page(&readings);
        assert!(page.contains("dsctl_host_gpus 1\n"), "{page}");
        let of_lost: Vec<&str> = page.lines().filter(|line| line.contains("gpu=\"3\"")).collect();
        assert_eq!(of_lost.len(), 1, "{page}");
        assert!(of_lost[0].starts_with("DCGM_FI_DEV_XID_ERRORS{") && of_lost[0].ends_with(" 79"), "{page}");
        assert!(GpuReading::lost(name(), Some(0)).values.is_empty());
    }
}
