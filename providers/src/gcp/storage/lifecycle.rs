//! How long objects stay: what is wanted, in the shape that Cloud Storage takes and shows. Pure.

use serde_json::{Value, json};

/// What outlives the deployment where a pack asks for it.
pub const KEPT: [&str; 2] = ["audit/", "access-log/"];
/// What dsctl and the host write over and over.
const REWRITTEN: [&str; 3] = ["artifacts/", "host/", "secrets/"];
const UPLOAD_DAYS: u32 = 7;
const OLD_VERSION_DAYS: u32 = 30;

/// The rules of a bucket whose audit records are kept for so many days.
pub fn rules(audit_days: Option<u32>) -> Vec<Value> {
    let delete = |condition: Value| json!({"action": {"type": "Delete"}, "condition": condition});
    let uploads = json!({"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": UPLOAD_DAYS}});
    let old = delete(json!({"daysSinceNoncurrentTime": OLD_VERSION_DAYS, "matchesPrefix": REWRITTEN}));
    let mut rules = vec![uploads, old];
    if let Some(days) = audit_days {
        rules.push(delete(json!({"age": days, "isLive": true, "matchesPrefix": KEPT})));
        // A version that was written over is kept as long again: nobody shortens what is kept by overwriting it.
        rules.push(delete(json!({"daysSinceNoncurrentTime": days, "matchesPrefix": KEPT})));
    }
    rules
}

/// Days that audit records are kept, as the rules have it.
pub fn audit_days(rules: &[Value]) -> Option<u32> {
    let is_kept = |rule: &&Value| rule.pointer("/condition/matchesPrefix") == Some(&json!(KEPT));
    let ages = rules.iter().filter(is_kept).filter_map(|rule| rule.pointer("/condition/age")?.as_u64());
    ages.filter_map(|days| u32::try_from(days).ok()).next()
}

/// Whether two sets of rules are the same; their order does not count.
pub fn are_same(one: &[Value], other: &[Value]) -> bool {
    one.len() == other.len() && one.iter().all(|rule| other.contains(rule))
}

pub fn is_kept(key: &str) -> bool {
    KEPT.iter().any(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back_as_the_same() {
        for days in [None, Some(2192)] {
            let mut seen = rules(days);
            seen.reverse();
            assert!(are_same(&seen, &rules(days)));
            assert_eq!(audit_days(&seen), days);
        }
        assert!(!are_same(&rules(Some(2192)), &rules(Some(1))));
    }

    #[test]
    fn no_version_of_an_audit_record_goes_before_its_time() {
        for rule in rules(Some(2192)) {
            let condition = &rule["condition"];
            let of_records = condition["matchesPrefix"] == json!(KEPT);
            let is_upload = rule["action"]["type"] == "AbortIncompleteMultipartUpload";
            assert!(of_records || is_upload || condition["matchesPrefix"] == json!(REWRITTEN), "{rule}");
            let days = condition.get("age").or(condition.get("daysSinceNoncurrentTime"));
            assert!(!of_records || days == Some(&json!(2192)), "{rule}");
        }
        assert!(is_kept("audit/2026/a.json") && !is_kept("secrets/audit/"));
    }
}
