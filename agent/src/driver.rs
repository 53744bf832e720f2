//! Whether the graphics cards can be worked with: every card on the bus answers its driver, library and driver agree, and there
//! are as many as the machine was rented for. A machine without cards has no such phase.
//!
//! ```text
//! look (bus, kernel module, nvidia-smi) -> Seen -> judge (pure) -> the phase line
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use spec::host::{HostSpec, Phase, PhaseState};
use tokio::sync::mpsc::UnboundedSender;

use crate::converge::{PhaseNow, Report};
use crate::decide::Moment;

/// A driver that is just being loaded answers soon.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// NVIDIA's number as a maker of cards on the bus.
const MAKER: &str = "0x10de";
/// Kinds of devices on the bus: a card with a screen, and one without.
const KINDS: [&str; 2] = ["0x0300", "0x0302"];

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Cards on the bus.
    on_bus: u32,
    /// Of the driver that the kernel has loaded.
    module: Option<String>,
    /// A line for each card, or why there is no answer.
    answer: Result<Vec<String>, String>,
}

/// Where it is looked; another place in tests.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub devices: PathBuf,
    pub module: PathBuf,
    pub smi: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            devices: "/sys/bus/pci/devices".into(),
            module: "/sys/module/nvidia/version".into(),
            smi: "nvidia-smi".into(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct DriverWork {
    places: Places,
    is_asked: bool,
    seen: Option<Seen>,
    retry_at: Moment,
}

impl DriverWork {
    /// Looks until all is well.
    pub fn converge(&mut self, spec: &HostSpec, reports: &UnboundedSender<Report>, now: Moment) {
        let Some(least) = spec.gpus else { return };
        let is_well = self.seen.as_ref().is_some_and(|seen| judge(seen, least).is_ok());
        if is_well || self.is_asked || now < self.retry_at {
            return;
        }
        self.is_asked = true;
        let (places, reports) = (self.places.clone(), reports.clone());
        tokio::task::spawn_blocking(move || {
            // Nobody takes it when the agent ends.
            reports.send(Report::Driver(look(&places))).unwrap_or(());
        });
    }

    pub fn take(&mut self, seen: Seen, now: Moment) {
        self.is_asked = false;
        self.seen = Some(seen);
        self.retry_at = now + RETRY_EVERY;
    }

    /// None where there is no card and none is missed.
    pub fn phase(&self, spec: &HostSpec) -> Option<PhaseNow> {
        let least = spec.gpus?;
        let Some(seen) = &self.seen else {
            return Some(PhaseNow::new(Phase::Driver, PhaseState::Running, "asking the graphics cards"));
        };
        if least == 0 && seen.on_bus == 0 {
            return None;
        }
        Some(match judge(seen, least) {
            Ok(said) => PhaseNow::new(Phase::Driver, PhaseState::Done, said),
            Err((message, next)) => PhaseNow::failed(Phase::Driver, message, Vec::new(), next),
        })
    }
}

/// What is well, or what is not and what to do about it.
fn judge(seen: &Seen, least: u32) -> Result<String, (String, &'static str)> {
    const IMAGE: &str = "dsctl up --image IMAGE (one with NVIDIA's driver for these cards)";
    const ANOTHER: &str = "dsctl down, and dsctl up on another machine; tell the cloud of the broken one";
    if seen.on_bus < least {
        let message = format!("{} graphics cards are on the bus, the machine has {least}", seen.on_bus);
        return Err((message, ANOTHER));
    }
    let Some(module) = &seen.module else {
        return Err(("no driver of NVIDIA's is loaded".to_owned(), IMAGE));
    };
    match &seen.answer {
        Err(why) if why.contains("version mismatch") => {
            let message = format!("the driver that is loaded is {module}, its library another: {why}");
            Err((message, "a reboot of the machine; the library was changed under the driver"))
        }
        Err(why) => Err((format!("nvidia-smi does not answer: {why}"), IMAGE)),
        Ok(cards) if (cards.len() as u64) < u64::from(seen.on_bus) => {
            let message = format!("{} of {} graphics cards answer the driver", cards.len(), seen.on_bus);
            Err((message, ANOTHER))
        }
        Ok(cards) => {
            let name = cards.first().map_or("no card", String::as_str);
            Ok(format!("{} x {name}, driver {module}", cards.len()))
        }
    }
}

fn look(places: &Places) -> Seen {
    Seen {
        on_bus: on_bus(&places.devices),
        module: fs::read_to_string(&places.module).ok().map(|version| version.trim().to_owned()),
        answer: ask(&places.smi),
    }
}

fn on_bus(devices: &Path) -> u32 {
    let Ok(entries) = fs::read_dir(devices) else { return 0 };
    let says = |folder: &Path, file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let is_card = |folder: &Path| {
        says(folder, "vendor").trim() == MAKER && KINDS.iter().any(|kind| says(folder, "class").starts_with(kind))
    };
    entries.flatten().filter(|entry| is_card(&entry.path())).count() as u32
}

fn ask(smi: &Path) -> Result<Vec<String>, String> {
    let asked = Command::new(smi).args(["--query-gpu=name", "--format=csv,noheader"]).output();
    let output = asked.map_err(|error| format!("{}: {error}", smi.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        return Err(format!("{last} ({})", output.status));
    }
    Ok(said.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn seen(on_bus: u32, module: Option<&str>, answer: Result<&[&str], &str>) -> Seen {
        let answer = answer.map(|cards| cards.iter().map(|card| (*card).to_owned()).collect());
        Seen { on_bus, module: module.map(str::to_owned), answer: answer.map_err(str::to_owned) }
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_out() {
        let well = seen(2, Some("580.95"), Ok(&["NVIDIA L40S", "NVIDIA L40S"]));
        assert_eq!(judge(&well, 2).unwrap(), "2 x NVIDIA L40S, driver 580.95");
        let mismatch = "Failed to initialize NVML: Driver/library version mismatch (exit status: 18)";
        for (seen, message, next) in [
            (
                seen(1, Some("580"), Ok(&["L4"])),
                "1 graphics cards are on the bus, the machine has 2",
                "another machine",
            ),
            (seen(2, None, Err("nvidia-smi: No such file")), "no driver", "--image"),
            (seen(2, Some("580"), Err(mismatch)), "loaded is 580", "reboot"),
            (seen(2, Some("580"), Err("No devices were found")), "does not answer: No devices", "--image"),
            (seen(2, Some("580"), Ok(&["L4"])), "1 of 2 graphics cards answer", "another machine"),
        ] {
            let (said, way) = judge(&seen, 2).unwrap_err();
            assert!(said.contains(message) && way.contains(next), "{said}; {way}");
        }
    }

    #[test]
    fn cards_are_counted_on_the_bus_and_asked_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let devices = folder.path().join("devices");
        for (name, vendor, class) in [("a", MAKER, "0x030200"), ("b", MAKER, "0x040300"), ("c", "0x8086", "0x030000")] {
            let device = devices.join(name);
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("vendor"), format!("{vendor}\n")).unwrap();
            fs::write(device.join("class"), format!("{class}\n")).unwrap();
        }
        let smi = folder.path().join("nvidia-smi");
        fs::write(&smi, "#!/bin/sh\necho 'NVIDIA L4'\n").unwrap();
        fs::set_permissions(&smi, fs::Permissions::from_mode(0o755)).unwrap();
        let module = folder.path().join("version");
        fs::write(&module, "580.95\n").unwrap();
        let places = Places { devices, module, smi: smi.clone() };
        assert_eq!(look(&places), seen(1, Some("580.95"), Ok(&["NVIDIA L4"])));
        fs::write(&smi, "#!/bin/sh\necho 'Failed to initialize NVML'; exit 18\n").unwrap();
        assert_eq!(look(&places).answer, Err("Failed to initialize NVML (exit status: 18)".to_owned()));
    }

    #[test]
    fn a_machine_without_cards_has_no_such_phase() {
        let host = serde_json::json!({"deployment": "demo", "host": "main", "generation": 1, "run": "running", "gpus": 0,
            "weights": [], "files": [], "units": [], "first_token": []});
        let spec: HostSpec = serde_json::from_value(host).unwrap();
        let mut work = DriverWork::default();
        assert_eq!(work.phase(&spec).unwrap().state, PhaseState::Running);
        work.take(seen(0, None, Err("nvidia-smi: No such file")), Duration::ZERO);
        assert_eq!(work.phase(&spec), None);
        assert_eq!(work.phase(&HostSpec { gpus: Some(1), ..spec.clone() }).unwrap().state, PhaseState::Failed);
        assert_eq!(work.phase(&HostSpec { gpus: None, ..spec }), None);
    }
}
