//! How the fake is to behave: what takes how many looks, what there is room for, what is allowed.

use std::collections::{BTreeMap, BTreeSet};

/// Looks in which something goes on still. A look is a question about the operation or about the thing itself.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    pub machine: u32,
    pub disk: u32,
    pub network: u32,
    pub storage: u32,
    pub group: u32,
    /// Tries of an assignment that are refused because its principal is new.
    pub principal: u32,
    /// Questions to the blob service that are refused because the assignment is new.
    pub access: u32,
    pub registration: u32,
    /// Tries in which an interface is kept for the machine that failed with it.
    pub reserved: u32,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            machine: 1,
            disk: 1,
            network: 1,
            storage: 1,
            group: 1,
            principal: 1,
            access: 1,
            registration: 1,
            reserved: 1,
        }
    }
}

impl Looks {
    /// Everything is done when it is first looked at.
    pub const NONE: Self = Self {
        machine: 0,
        disk: 0,
        network: 0,
        storage: 0,
        group: 0,
        principal: 0,
        access: 0,
        registration: 0,
        reserved: 0,
    };
}

/// How Azure says that there is no machine: the first at once, the others after it began to make one, which then stays,
/// failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    SkuNotAvailable,
    AllocationFailed,
    ZonalAllocationFailed,
    OverconstrainedZonalAllocationRequest,
}

/// A size of machine that a subscription may not have in a region, or in some zones of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    pub size: String,
    pub region: String,
    /// Empty: nowhere in the region.
    pub zones: Vec<String>,
}

/// A price of an hour as `prices.azure.com` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    pub size: String,
    pub region: String,
    pub dollars: f64,
    pub is_spot: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub subscription: String,
    pub looks: Looks,
    /// Machines that there is room for, by size and zone (none: in no zone), and how it is said that there are no more.
    pub room: BTreeMap<(String, Option<String>), (u32, Shortage)>,
    /// By name, in lower case; plenty of those that are not named.
    pub quotas: BTreeMap<String, i64>,
    pub restrictions: Vec<Restriction>,
    pub prices: Vec<Price>,
    /// Versions of the image that machines start from.
    pub image_versions: Vec<String>,
    /// Storage accounts of other people.
    pub taken: BTreeSet<String>,
    /// Namespaces that the subscription does not use, in lower case.
    pub unregistered: BTreeSet<String>,
    pub encryption_at_host: bool,
    /// Entries of a page of a list.
    pub page: usize,
}

/// Of everything, unless a test says otherwise.
pub(super) const PLENTY: i64 = 1152;
/// The subscription of the tests.
pub const SUBSCRIPTION: &str = "0d5c71aa-0000-4000-8000-00000000000a";
/// Who asks, unless the token says otherwise.
pub const CALLER: &str = "0d5c71aa-0000-4000-8000-000000000001";
pub const TENANT: &str = "0d5c71aa-0000-4000-8000-0000000000ff";
/// The newest is not the last one, and not the last by the alphabet either.
const IMAGE_VERSIONS: [&str; 4] = ["22.04.2025091401", "22.04.2026101501", "22.04.2026061901", "9.04.2020010101"];

impl Default for Settings {
    fn default() -> Self {
        Self {
            subscription: SUBSCRIPTION.to_owned(),
            looks: Looks::default(),
            room: BTreeMap::new(),
            quotas: BTreeMap::new(),
            restrictions: Vec::new(),
            prices: Vec::new(),
            image_versions: IMAGE_VERSIONS.map(str::to_owned).into(),
            taken: BTreeSet::new(),
            unregistered: BTreeSet::new(),
            encryption_at_host: true,
            page: 1000,
        }
    }
}
