//! Whether a machine can get from one set of inputs to another. Pure.

use engine::plan::differing_keys;
use engine::provider::Verdict;
use serde_json::Value;

/// Fields that an instance takes while it runs. Disks are only ever made larger.
const IN_PLACE: [&str; 4] = ["deletion_protection", "disk_gib", "disk_iops", "disk_mib_a_second"];
/// What shows only when it is not as we make it, and can be put right: see `observed`.
const MENDED: [&str; 4] = ["state", "metadata", "external_address", "labels"];
/// Count only when the machine is made.
const FIRST_BOOT: [&str; 2] = ["boot_script", "dsctl_sha256"];
/// What changing it would take the running machine's way out or in from it while it serves.
const FIXED: [&str; 1] = ["public"];

pub fn judge(before: &Value, after: &Value) -> Verdict {
    let keys: Vec<String> =
        differing_keys(before, after).into_iter().filter(|key| !FIRST_BOOT.contains(&key.as_str())).collect();
    if keys.is_empty() {
        return Verdict::Same;
    }
    if let Some(key) = keys.iter().find(|key| FIXED.contains(&key.as_str())) {
        return Verdict::Impossible(format!(
            "{key} can't change while the deployment lives; `dsctl down`, then `dsctl up` with the new one"
        ));
    }
    if keys.iter().any(|key| !IN_PLACE.contains(&key.as_str()) && !MENDED.contains(&key.as_str())) {
        return Verdict::Replace;
    }
    let size = |inputs: &Value| inputs.get("disk_gib").and_then(Value::as_u64);
    match (size(before), size(after)) {
        (Some(before), Some(after)) if after < before => Verdict::Impossible(format!(
            "a disk cannot shrink from {before} to {after} GiB; keep machine.disk_gib at {before} or more"
        )),
        _ => Verdict::InPlace,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(key: &str, value: Value) -> Verdict {
        let before = json!({"machine_type": "g2-standard-24", "zone": "europe-west4-a", "market": "on-demand",
            "image": "i", "service_account": "s", "subnet": "subnet.main", "public": false, "disk_gib": 200,
            "disk_iops": 3000, "deletion_protection": true, "boot_script": "x"});
        let mut after = before.clone();
        after[key] = value;
        judge(&before, &after)
    }

    #[test]
    fn each_field_has_its_way() {
        assert!(matches!(judged("public", json!(true)), Verdict::Impossible(_)));
        for key in ["machine_type", "zone", "market", "image", "service_account", "shielded", "encryption_key"] {
            assert_eq!(judged(key, json!("other")), Verdict::Replace, "{key}");
        }
        for key in ["deletion_protection", "disk_iops", "state", "metadata", "external_address"] {
            assert_eq!(judged(key, json!(6000)), Verdict::InPlace, "{key}");
        }
        assert_eq!(judged("boot_script", json!("y")), Verdict::Same);
    }

    #[test]
    fn a_disk_grows_and_never_shrinks() {
        assert_eq!(judged("disk_gib", json!(300)), Verdict::InPlace);
        assert!(matches!(judged("disk_gib", json!(100)), Verdict::Impossible(_)));
    }
}
