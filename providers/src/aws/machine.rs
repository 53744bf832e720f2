//! `machine.main`: how an instance gets from its inputs to others.

use engine::plan::differing_keys;
use engine::provider::Verdict;
use serde_json::Value;

/// Fields that an instance takes while it runs. Volumes are only ever made larger, faster or slower.
const IN_PLACE: [&str; 5] = ["security_group", "termination_protection", "disk_gib", "disk_iops", "disk_mib_a_second"];
/// Counts only when the machine is made.
const FIRST_BOOT: &str = "boot_script";

/// Whether an instance can get from one set of inputs to another. Pure.
pub fn judge(before: &Value, after: &Value) -> Verdict {
    let keys: Vec<String> = differing_keys(before, after).into_iter().filter(|key| key != FIRST_BOOT).collect();
    if keys.is_empty() {
        return Verdict::Same;
    }
    if keys.iter().any(|key| !IN_PLACE.contains(&key.as_str())) {
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
        let before = json!({"machine_type": "g6e.12xlarge", "subnet": "subnet.private-a", "market": "on-demand",
            "image": "ami-1", "instance_profile": "p", "security_group": "g", "public": false, "disk_gib": 200,
            "disk_iops": 3000, "termination_protection": true, "boot_script": "x"});
        let mut after = before.clone();
        after[key] = value;
        judge(&before, &after)
    }

    #[test]
    fn each_field_has_its_way() {
        for key in ["machine_type", "subnet", "market", "image", "instance_profile", "public"] {
            assert_eq!(judged(key, json!("other")), Verdict::Replace, "{key}");
        }
        assert_eq!(judged("security_group", json!("h")), Verdict::InPlace);
        assert_eq!(judged("termination_protection", json!(false)), Verdict::InPlace);
        assert_eq!(judged("disk_iops", json!(6000)), Verdict::InPlace);
        assert_eq!(judged("boot_script", json!("y")), Verdict::Same);
    }

    #[test]
    fn a_disk_grows_and_never_shrinks() {
        assert_eq!(judged("disk_gib", json!(300)), Verdict::InPlace);
        assert!(matches!(judged("disk_gib", json!(100)), Verdict::Impossible(_)));
    }
}
