//! A deployment's network and root disk, from what was wished for: defaults, and what no cloud would take.

use spec::amount::bytes_text;
use spec::machine::{Disk, Egress, Exposure, NetworkWish, ResolvedNetwork};

use crate::catalogue::Entry;
use crate::place::PlaceError;

/// Where a network lies by default, and its callers.
const DEFAULT_RANGE: &str = "10.77.0.0/16";
const DEFAULT_ALLOW: &str = "10.0.0.0/8";

/// Taken by the image, its driver, logs and the artifacts.
const SYSTEM_GIB: u64 = 75;
const SMALLEST_DISK_GIB: u64 = 100;
/// What a disk gives at no extra charge (gp3), and the most that it can.
const MIB_A_SECOND: (u64, u64) = (125, 1000);
const INCLUDED_IOPS: u64 = 3000;
/// Weights should be read from the disk within this.
const LOAD_SECONDS: u64 = 600;

pub(crate) fn network(wish: &NetworkWish) -> Result<ResolvedNetwork, PlaceError> {
    let public = if wish.public == Some(true) { Exposure::Public } else { Exposure::Private };
    if public == Exposure::Public && wish.allow.is_empty() {
        return Err(PlaceError::wish(
            "network.allow",
            "who may reach the public address must be said, e.g. 203.0.113.0/24",
        ));
    }
    let range = wish.range.or_else(|| DEFAULT_RANGE.parse().ok()).unwrap_or_default().trunc();
    let allow = if wish.allow.is_empty() { DEFAULT_ALLOW.parse().into_iter().collect() } else { wish.allow.clone() };
    let network = ResolvedNetwork { range, allow, public, egress: wish.egress.unwrap_or(Egress::Nat) };
    check_range(&network)?;
    Ok(network)
}

/// Room for a public and a private subnet in each zone at the one end, AWS' own limit at the other.
fn check_range(network: &ResolvedNetwork) -> Result<(), PlaceError> {
    let range = network.range;
    // No private range (RFC 1918) is smaller than a /16: if the first address is in one, all are.
    if range.network().is_private() && (16..=20).contains(&range.prefix_len()) {
        return Ok(());
    }
    let message =
        format!("{range} should be a private range (in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16), from /16 to /20");
    Err(PlaceError::wish("network.range", message))
}

/// The root disk holds the weights with a tenth to spare, and the system.
pub(crate) fn disk(entry: Entry<'_>, gib: Option<u32>) -> Result<Disk, PlaceError> {
    let bytes = entry.weight_bytes();
    let weights = (bytes * 11).div_ceil(10 << 30);
    let need = weights + SYSTEM_GIB;
    let gib = gib.map_or_else(|| need.max(SMALLEST_DISK_GIB), u64::from);
    if gib < need {
        let size = bytes_text(bytes);
        return Err(PlaceError::wish(
            "machine.disk_gib",
            format!(
                "{gib} GiB are too few: {weights} GiB for the weights ({size} and a tenth) and {SYSTEM_GIB} GiB for the system \
                 are {need} GiB"
            ),
        ));
    }
    let mib_a_second = (bytes >> 20).div_ceil(LOAD_SECONDS).clamp(MIB_A_SECOND.0, MIB_A_SECOND.1);
    // gp3 gives at most a quarter of a MiB a second for each of its IOPS.
    let iops = INCLUDED_IOPS.max(4 * mib_a_second);
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Disk { gib: narrow(gib), iops: narrow(iops), mib_a_second: narrow(mib_a_second) })
}

#[cfg(test)]
mod tests {
    use crate::catalogue::catalogue;

    use super::*;

    #[test]
    fn a_network_is_private_and_neither_too_large_nor_too_small() {
        let wish = |range: &str| NetworkWish { range: range.parse().ok(), ..NetworkWish::default() };
        let resolved = network(&NetworkWish::default()).unwrap();
        assert_eq!(
            (resolved.range.to_string(), resolved.allow[0].to_string()),
            (DEFAULT_RANGE.into(), DEFAULT_ALLOW.into())
        );
        assert_eq!((resolved.public, resolved.egress), (Exposure::Private, Egress::Nat));
        for good in ["10.0.0.0/16", "172.31.16.0/20", "192.168.0.0/16"] {
            assert_eq!(network(&wish(good)).unwrap().range.to_string(), good);
        }
        assert_eq!(network(&wish("10.1.2.3/16")).unwrap().range.to_string(), "10.1.0.0/16");
        for bad in ["10.0.0.0/8", "10.0.0.0/21", "172.32.0.0/16", "8.8.0.0/16"] {
            let error = network(&wish(bad)).unwrap_err().to_string();
            assert!(error.starts_with("network.range: ") && error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_public_address_needs_to_know_for_whom() {
        let public = NetworkWish { public: Some(true), ..NetworkWish::default() };
        assert!(network(&public).unwrap_err().to_string().starts_with("network.allow: "));
        let allow = vec!["203.0.113.0/24".parse().unwrap()];
        assert_eq!(network(&NetworkWish { allow, ..public }).unwrap().public, Exposure::Public);
    }

    #[test]
    fn a_disk_holds_the_weights_and_is_fast_enough_to_load_them() {
        let catalogue = catalogue().unwrap();
        let small = disk(catalogue.find("smollm2-135m").unwrap(), None).unwrap();
        assert_eq!(small, Disk { gib: 100, iops: 3000, mib_a_second: 125 });
        let entry = catalogue.find("671b-int8").unwrap();
        let large = disk(entry, None).unwrap();
        assert_eq!(large, Disk { gib: large.gib, iops: 4000, mib_a_second: 1000 });
        for entry in catalogue.entries() {
            let disk = disk(entry, None).unwrap();
            assert!(u64::from(disk.gib) << 30 > entry.weight_bytes() + (SYSTEM_GIB << 30), "{}", entry.name);
            assert!((125..=1000).contains(&disk.mib_a_second) && disk.iops >= 4 * disk.mib_a_second.max(750));
        }
        let need = large.gib;
        assert_eq!(disk(entry, Some(need)).unwrap().gib, need);
        let error = disk(entry, Some(need - 1)).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{} GiB are too few", need - 1)) && error.ends_with(&format!("are {need} GiB"))
        );
    }
}
