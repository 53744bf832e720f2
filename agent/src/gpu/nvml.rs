//! The real GPUs, through the driver's own library.
//!
//! It is loaded at run time, under the name that the driver's packages install (`libnvidia-ml.so` alone is a development
//! file): a dsctl that runs where there is no driver is the same dsctl.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, PerformancePolicy, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::{NvmlError, NvmlErrorWithSource};
use nvml_wrapper::event::EventSet;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::{Device, Nvml};
use spec::metric::{Metric, gpu};

use super::{GpuName, GpuReading, Gpus};

const LIBRARY: &str = "libnvidia-ml.so.1";

/// How long the watcher of Xids sleeps at most before it looks whether it is still wanted.
const WATCH_MILLISECONDS: u32 = 1000;

/// What the driver calls an Xid whose number it does not know.
const UNKNOWN_XID: u64 = 999;

const MIB: f64 = (1 << 20) as f64;

/// Fields of `nvmlDeviceGetFieldValues`. Source: `nvml.h`, NVML_FI_DEV_REMAPPED_*.
const REMAPPED: [(Metric, u32); 3] =
    [(gpu::ROWS_CORRECTABLE, 142), (gpu::ROWS_UNCORRECTABLE, 143), (gpu::ROW_REMAP_FAILED, 145)];

/// UUID -> last Xid since the agent's start.
type Xids = Mutex<HashMap<String, u64>>;

pub struct NvmlGpus {
    nvml: Arc<Nvml>,
    /// A lost GPU does not say its name any more.
    known: Mutex<BTreeMap<u32, GpuName>>,
    xids: Arc<Xids>,
}

impl fmt::Debug for NvmlGpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NvmlGpus").field("known", &self.known).finish_non_exhaustive()
    }
}

impl NvmlGpus {
    pub fn open() -> Result<Self, NvmlError> {
        Self::open_at(LIBRARY.as_ref())
    }

    fn open_at(library: &OsStr) -> Result<Self, NvmlError> {
        let nvml = Arc::new(Nvml::builder().lib_path(library).init()?);
        let xids = Arc::new(Xids::default());
        let (watched, noted) = (Arc::clone(&nvml), Arc::downgrade(&xids));
        std::thread::spawn(move || watch_xids(&watched, &noted));
        Ok(Self { nvml, known: Mutex::default(), xids })
    }

    fn read_one(&self, index: u32) -> Option<GpuReading> {
        let device = self.nvml.device_by_index(index);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = device.as_ref().ok().and_then(|device| name(index, device).ok()) {
            known.insert(index, name);
        }
        let name = known.get(&index)?.clone();
        let last_xid = self.xids.lock().unwrap_or_else(PoisonError::into_inner).get(&name.uuid).copied();
        Some(match device {
            Ok(device) => GpuReading::new(name, answers(&device), last_xid),
            Err(_) => GpuReading::lost(name, last_xid),
        })
    }
}

impl Gpus for NvmlGpus {
    fn read(&self) -> Vec<GpuReading> {
        let counted = self.nvml.device_count().unwrap_or_default();
        // A driver that was started anew may count fewer; one that was there is missed by name.
        let last_known = self.known.lock().unwrap_or_else(PoisonError::into_inner).keys().last().map_or(0, |it| it + 1);
        (0..counted.max(last_known)).filter_map(|index| self.read_one(index)).collect()
    }
}

fn name(index: u32, device: &Device<'_>) -> Result<GpuName, NvmlError> {
    Ok(GpuName { index, uuid: device.uuid()?, model: device.name()? })
}

/// Everything that is asked of a GPU, in its metric's unit.
fn answers(device: &Device<'_>) -> Vec<(Metric, Result<f64, NvmlError>)> {
    let mut all = vec![
        (gpu::SM_CLOCK, device.clock_info(Clock::SM).map(f64::from)),
        (gpu::MEMORY_CLOCK, device.clock_info(Clock::Memory).map(f64::from)),
        (gpu::TEMPERATURE, device.temperature(TemperatureSensor::Gpu).map(f64::from)),
        (gpu::POWER, device.power_usage().map(|milliwatts| f64::from(milliwatts) / 1e3)),
        (gpu::ENERGY, device.total_energy_consumption().map(|millijoules| millijoules as f64)),
        (gpu::PCIE_REPLAYS, device.pcie_replay_counter().map(f64::from)),
        (gpu::UTILISATION, device.utilization_rates().map(|rates| f64::from(rates.gpu))),
        (gpu::MEMORY_COPY, device.utilization_rates().map(|rates| f64::from(rates.memory))),
        (gpu::MEMORY_FREE, device.memory_info().map(|memory| memory.free as f64 / MIB)),
        (gpu::MEMORY_USED, device.memory_info().map(|memory| memory.used as f64 / MIB)),
        (gpu::MEMORY_RESERVED, device.memory_info().map(|memory| memory.reserved as f64 / MIB)),
        (gpu::ECC_CORRECTED, ecc_errors(device, MemoryError::Corrected)),
        (gpu::ECC_UNCORRECTED, ecc_errors(device, MemoryError::Uncorrected)),
        (gpu::THROTTLE_REASONS, device.current_throttle_reasons().map(|reasons| reasons.bits() as f64)),
        (gpu::POWER_VIOLATION, microseconds_held(device, PerformancePolicy::Power)),
        (gpu::THERMAL_VIOLATION, microseconds_held(device, PerformancePolicy::Thermal)),
    ];
    all.extend(REMAPPED.map(|(metric, field)| (metric, field_value(device, field))));
    all
}

/// Since the driver was loaded.
fn ecc_errors(device: &Device<'_>, kind: MemoryError) -> Result<f64, NvmlError> {
    device.total_ecc_errors(kind, EccCounter::Volatile).map(|count| count as f64)
}

fn microseconds_held(device: &Device<'_>, why: PerformancePolicy) -> Result<f64, NvmlError> {
    device.violation_status(why).map(|held| held.violation_time as f64 / 1e3)
}

fn field_value(device: &Device<'_>, field: u32) -> Result<f64, NvmlError> {
    let sample = device.field_values_for(&[FieldId(field)])?.pop().ok_or(NvmlError::NotFound)?;
    Ok(match sample?.value? {
        SampleValue::F64(value) => value,
        SampleValue::U32(value) => f64::from(value),
        SampleValue::U64(value) => value as f64,
        SampleValue::I64(value) => value as f64,
    })
}

/// Notes Xids until nobody wants them any more.
fn watch_xids(nvml: &Nvml, noted: &Weak<Xids>) {
    let set = match subscribe(nvml, noted) {
        Ok(set) => set,
        Err(error) => return tracing::warn!(%error, "Xids of the GPUs are not watched"),
    };
    while noted.strong_count() > 0 {
        let Ok(event) = set.wait(WATCH_MILLISECONDS) else {
            // A timeout is the usual end of a wait; after any other error the next wait is as good a try.
            std::thread::sleep(std::time::Duration::from_millis(u64::from(WATCH_MILLISECONDS / 10)));
            continue;
        };
        let (Some(xids), Ok(uuid)) = (noted.upgrade(), event.device.uuid()) else { continue };
        if let Some(xid) = event.event_data {
            note(&xids, uuid, xid);
        }
    }
}

fn note(xids: &Xids, uuid: String, xid: XidError) {
    let number = match xid {
        XidError::Value(number) => number,
        XidError::Unknown => UNKNOWN_XID,
    };
    tracing::warn!(%uuid, xid = number, "a GPU reports an Xid error");
    xids.lock().unwrap_or_else(PoisonError::into_inner).insert(uuid, number);
}

/// Asks for the Xids of all GPUs that can tell them; those begin at 0, as DCGM has it.
fn subscribe<'nvml>(nvml: &'nvml Nvml, noted: &Weak<Xids>) -> Result<EventSet<'nvml>, NvmlErrorWithSource> {
    let mut set = nvml.create_event_set()?;
    for index in 0..nvml.device_count()? {
        let device = nvml.device_by_index(index)?;
        let is_told = device.supported_event_types()?.contains(EventTypes::CRITICAL_XID_ERROR);
        if is_told {
            set = device.register_events(EventTypes::CRITICAL_XID_ERROR, set)?;
            if let Some(xids) = noted.upgrade() {
                xids.lock().unwrap_or_else(PoisonError::into_inner).entry(device.uuid()?).or_default();
            }
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_library_is_told_from_one_with_it() {
        let error = NvmlGpus::open_at("/no/such/folder/libnvidia-ml.so.1".as_ref()).unwrap_err();
        assert!(matches!(error, NvmlError::LibloadingError(_)), "{error}");
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }

    #[test]
    fn the_last_xid_of_a_gpu_counts() {
        let xids = Xids::default();
        note(&xids, "GPU-0".to_owned(), XidError::Value(31));
        note(&xids, "GPU-0".to_owned(), XidError::Value(79));
        note(&xids, "GPU-1".to_owned(), XidError::Unknown);
        let xids = xids.into_inner().unwrap();
        assert_eq!((xids["GPU-0"], xids["GPU-1"]), (79, UNKNOWN_XID));
    }
}
