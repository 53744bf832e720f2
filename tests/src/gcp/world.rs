//! Everything that there is, and what tests say how it behaves.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use jiff::tz::{TimeZone, offset};
use jiff::{SignedDuration, Timestamp};

use super::catalog;
use super::compute::operation::Operation;
use super::compute::quota;
use super::compute::thing::Thing;
use super::failure::Failure;
use super::iam::Account;
use super::storage::bucket::Bucket;

/// The project that tests work in, and its number.
pub const PROJECT: &str = "dsctl-tests";
pub(super) const PROJECT_NUMBER: u64 = 415_104_041_262;
/// The first of the numbers that things are known by.
const FIRST_ID: u64 = 5_577_006_791_947_779_410;
const FIRST_GENERATION: u64 = 1_790_000_000_000_000;

/// Looks in which something new is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// At an operation, or at what it makes, changes or removes: so many see it running still.
    pub operation: u32,
    /// At a machine and its disk after the insert: Google may say for a moment that there is none.
    pub machine: u32,
    /// Policies that name a new service account and are refused for it.
    pub account: u32,
}

impl Default for Looks {
    fn default() -> Self {
        Self { operation: 1, machine: 0, account: 1 }
    }
}

/// What tests set.
#[derive(Debug)]
pub(super) struct Settings {
    pub looks: Looks,
    pub projects: BTreeMap<String, u64>,
    /// By `global` or a region, and metric.
    pub quotas: BTreeMap<(String, String), f64>,
    /// Machines that a zone holds of a type; as many as one likes without an entry.
    pub capacity: BTreeMap<(String, String), usize>,
    pub zones_down: BTreeSet<String>,
    /// Machine types that a zone does not have, other than the table says.
    pub missing: BTreeSet<(String, String)>,
    /// The newest image by its family.
    pub families: BTreeMap<String, String>,
    /// Families by image, of all that there are.
    pub images: BTreeMap<String, String>,
    /// Names of buckets that somebody else in the world has.
    pub foreign_buckets: BTreeSet<String>,
    /// Services that nobody enabled: `iam`.
    pub disabled: BTreeSet<String>,
    /// Services that may use no key of anybody's own: `compute`, `storage`.
    pub locked_out: BTreeSet<String>,
    /// Items of a page, at most.
    pub page: usize,
    /// How operations of a method end, so many of them.
    pub failures: Vec<(String, u32, Failure)>,
    /// By path of the instance.
    pub serial_ports: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            looks: Looks::default(),
            projects: BTreeMap::from([(PROJECT.to_owned(), PROJECT_NUMBER)]),
            quotas: quota::plenty(),
            capacity: BTreeMap::new(),
            zones_down: BTreeSet::new(),
            missing: BTreeSet::new(),
            families: catalog::families(),
            images: catalog::families().into_iter().map(|(family, image)| (image, family)).collect(),
            foreign_buckets: BTreeSet::new(),
            disabled: BTreeSet::new(),
            locked_out: BTreeSet::new(),
            page: 500,
            failures: Vec::new(),
            serial_ports: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub settings: Settings,
    /// Of Compute, by path: `projects/P/zones/Z/instances/N`.
    pub things: BTreeMap<String, Thing>,
    /// By path: `projects/P/zones/Z/operations/N`.
    pub operations: BTreeMap<String, Operation>,
    /// By project and request id: what was asked, and the path of its operation.
    pub requests: BTreeMap<(String, String), (String, String)>,
    /// By e-mail.
    pub accounts: BTreeMap<String, Account>,
    /// By name.
    pub buckets: BTreeMap<String, Bucket>,
    counted: u64,
    ahead: SignedDuration,
}

impl World {
    /// Another one each time.
    pub fn count(&mut self) -> u64 {
        self.counted += 1;
        self.counted
    }

    pub fn id(&mut self) -> String {
        // Far enough apart that none is read for another.
        (FIRST_ID + self.count() * 1_000_003).to_string()
    }

    pub fn generation(&mut self) -> String {
        (FIRST_GENERATION + self.count() * 1_009).to_string()
    }

    /// In the letters that URLs take, as Google's are: its own crate reads no others.
    pub fn fingerprint(&mut self) -> String {
        BASE64_URL_SAFE.encode(self.count().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
    }

    /// Time goes on by this at once.
    pub fn pass(&mut self, time: SignedDuration) {
        self.ahead += time;
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::now() + self.ahead
    }

    /// As storage and IAM write it.
    pub fn time(&self) -> String {
        written(self.now())
    }

    /// As Compute writes it: in the time of California.
    pub fn local_time(&self) -> String {
        let there = self.now().to_zoned_datetime(TimeZone::fixed(offset(-8)));
        there.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
    }

    pub fn has_project(&self, project: &str) -> bool {
        self.settings.projects.contains_key(project)
    }

    pub fn project_number(&self, project: &str) -> u64 {
        self.settings.projects.get(project).copied().unwrap_or(PROJECT_NUMBER)
    }
}

pub(super) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_other_each_time_and_safe_in_urls() {
        let mut world = World::default();
        let all: BTreeSet<String> = (0..500).map(|_| world.fingerprint()).collect();
        assert_eq!(all.len(), 500);
        assert!(all.iter().all(|it| !it.contains(['+', '/'])), "{all:?}");
    }

    #[test]
    fn times_are_written_as_each_service_writes_them() {
        let mut world = World::default();
        assert!(world.time().ends_with('Z') && world.local_time().ends_with("-08:00"), "{}", world.local_time());
        let before = world.now();
        world.pass(SignedDuration::from_hours(5));
        assert!(world.now().duration_since(before) >= SignedDuration::from_hours(5));
    }
}
