//! What Google has to offer in the fake: zones, machine types, images.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Types and zones of a price list of 2026-08; the zones of A3 and G4 are not known and assumed.
const TABLE: &str = include_str!("machines.csv");
pub(super) const REGIONS: [(&str, &[&str]); 2] =
    [("europe-west4", &["a", "b", "c"]), ("us-central1", &["a", "b", "c", "f"])];
/// Whose images have the driver in them.
pub const IMAGE_PROJECT: &str = "deeplearning-platform-release";
/// Of Ubuntu's own project: without a driver.
pub const PLAIN_IMAGE_PROJECT: &str = "ubuntu-os-cloud";
/// Project, family, the day of its newest image, gibibytes.
const IMAGES: [(&str, &str, &str, u32); 6] = [
    (IMAGE_PROJECT, "common-cu129-ubuntu-2404-nvidia-580", "20260818", 50),
    (IMAGE_PROJECT, "common-cu129-ubuntu-2204-nvidia-580", "20260818", 50),
    (IMAGE_PROJECT, "common-cu128-ubuntu-2204-nvidia-570", "20260303", 50),
    (IMAGE_PROJECT, "pytorch-2-9-cu129-ubuntu-2204-nvidia-580", "20260818", 50),
    (IMAGE_PROJECT, "pytorch-2-7-cu128-ubuntu-2204-nvidia-570", "20260303", 50),
    (PLAIN_IMAGE_PROJECT, "ubuntu-2404-lts-amd64", "20260805", 10),
];
const DEFAULT_IMAGE_GIB: u32 = 50;

#[derive(Debug)]
pub(super) struct Machine {
    pub name: &'static str,
    pub cpus: u32,
    pub memory_mib: u32,
    /// `nvidia-l4`; empty for none.
    pub accelerator: &'static str,
    pub accelerators: u32,
    pub zones: Vec<&'static str>,
}

pub(super) fn machines() -> &'static [Machine] {
    static MACHINES: OnceLock<Vec<Machine>> = OnceLock::new();
    MACHINES.get_or_init(|| TABLE.lines().skip(1).map(Machine::read).collect())
}

impl Machine {
    fn read(line: &'static str) -> Self {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |at: usize| cells[at].parse().expect("a number in the table of machines");
        Self {
            name: cells[0],
            cpus: number(1),
            memory_mib: number(2),
            accelerator: cells[3],
            accelerators: number(4),
            zones: cells[5].split(' ').collect(),
        }
    }

    /// The first part of its name: `g2`.
    pub fn family(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }
}

pub(super) fn zones() -> impl Iterator<Item = String> {
    REGIONS.into_iter().flat_map(|(region, zones)| zones.iter().map(move |zone| format!("{region}-{zone}")))
}

/// `us-central1` of `us-central1-a`.
pub(super) fn region_of(zone: &str) -> &str {
    zone.rsplit_once('-').map_or(zone, |(region, _)| region)
}

/// The newest image of each family.
pub(super) fn families() -> BTreeMap<String, String> {
    IMAGES.into_iter().map(|(_, family, day, _)| (family.to_owned(), format!("{family}-v{day}"))).collect()
}

/// Whose family it is; what a test names without being in the table is of the images with a driver.
pub(super) fn image_project(family: &str) -> &'static str {
    IMAGES.into_iter().find(|(_, name, ..)| *name == family).map_or(IMAGE_PROJECT, |(project, ..)| project)
}

pub(super) fn image_gib(family: &str) -> u32 {
    IMAGES.into_iter().find(|(_, name, ..)| *name == family).map_or(DEFAULT_IMAGE_GIB, |(.., gib)| gib)
}
