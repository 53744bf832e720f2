//! What a set of rules forbids. All that is broken is named at once, each with what to change.

use std::fmt;

use serde::Serialize;
use spec::deployment::Cloud;
use spec::machine::{Exposure, Pack, Records, ResolvedNetwork};

/// Six years with their leap days, as 45 CFR 164.316(b)(2)(i) has them: how long the audit log is kept under HIPAA.
const AUDIT_DAYS: u32 = 2192;

/// A rule that a deployment breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// `gdpr`, `hipaa`, `max-hourly` or `max-monthly`.
    pub rule: &'static str,
    /// Of the deployment file, e.g. `network.public`.
    pub field: &'static str,
    /// What is broken, and what to change.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.field, self.message)
    }
}

/// Regions in member states of the European Union, by name: a pattern like `eu-*` would let London and Zurich in.
const fn eu_regions(cloud: Cloud) -> &'static [&'static str] {
    match cloud {
        Cloud::Local => &[],
        // Frankfurt, Stockholm, Milan, Spain, Ireland, Paris; not eu-central-2 (Zurich), eu-west-2 (London).
        Cloud::Aws => &["eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"],
        // Not europe-west2 (London), europe-west6 (Zurich).
        Cloud::Gcp => &[
            "europe-central2",
            "europe-north1",
            "europe-north2",
            "europe-southwest1",
            "europe-west1",
            "europe-west10",
            "europe-west12",
            "europe-west3",
            "europe-west4",
            "europe-west8",
            "europe-west9",
        ],
        // Not uksouth, ukwest, switzerland*, norway*.
        Cloud::Azure => &[
            "austriaeast",
            "belgiumcentral",
            "francecentral",
            "francesouth",
            "germanynorth",
            "germanywestcentral",
            "italynorth",
            "northeurope",
            "polandcentral",
            "spaincentral",
            "swedencentral",
            "swedensouth",
            "westeurope",
        ],
    }
}

/// Whether a region lies in a member state of the European Union.
pub fn is_in_eu(cloud: Cloud, region: &str) -> bool {
    eu_regions(cloud).contains(&region)
}

/// Whether all packs let a deployment lie in a region.
pub fn allow_region(packs: &[Pack], cloud: Cloud, region: &str) -> bool {
    !packs.contains(&Pack::Gdpr) || is_in_eu(cloud, region)
}

/// What must be written down of a deployment.
pub fn records(packs: &[Pack]) -> Records {
    let wanted = packs.contains(&Pack::Hipaa);
    Records { audit_days: wanted.then_some(AUDIT_DAYS), access_log: wanted }
}

/// The regions in question are none of those that the packs allow.
pub(crate) fn outside(cloud: Cloud, regions: &[String], on_record: &[String]) -> Violation {
    let inside: Vec<&str> = on_record.iter().map(String::as_str).filter(|region| is_in_eu(cloud, region)).collect();
    let message = format!("{} lies outside the EU; take one of {}", regions.join(", "), inside.join(", "));
    Violation { rule: Pack::Gdpr.as_str(), field: "region", message }
}

pub(crate) fn network_violations(packs: &[Pack], network: &ResolvedNetwork) -> Vec<Violation> {
    let mut all = Vec::new();
    if packs.contains(&Pack::Hipaa) && network.public == Exposure::Public {
        let message = "the machine may have no public address; set it to false".to_owned();
        all.push(Violation { rule: Pack::Hipaa.as_str(), field: "network.public", message });
    }
    if network.allow.iter().any(|range| range.prefix_len() == 0) {
        let message = "0.0.0.0/0 is the whole world; name the ranges of your own network";
        all.extend(packs.iter().map(|pack| Violation {
            rule: pack.as_str(),
            field: "network.allow",
            message: message.to_owned(),
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eu_is_a_list_of_member_states_and_not_a_continent() {
        for (cloud, region, is_in) in [
            (Cloud::Aws, "eu-west-1", true),
            (Cloud::Aws, "eu-west-2", false),
            (Cloud::Aws, "eu-central-2", false),
            (Cloud::Aws, "us-east-1", false),
            (Cloud::Gcp, "europe-west4", true),
            (Cloud::Gcp, "europe-west2", false),
            (Cloud::Gcp, "europe-west6", false),
            (Cloud::Azure, "northeurope", true),
            (Cloud::Azure, "uksouth", false),
            (Cloud::Azure, "switzerlandnorth", false),
            (Cloud::Azure, "norwayeast", false),
            (Cloud::Local, "eu-west-1", false),
        ] {
            assert_eq!(is_in_eu(cloud, region), is_in, "{region}");
            assert!(allow_region(&[Pack::Hipaa], cloud, region));
        }
        assert_eq!(records(&[Pack::Gdpr]), Records::default());
        assert_eq!(records(&Pack::ALL), Records { audit_days: Some(2192), access_log: true });
    }
}
