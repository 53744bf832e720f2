//! How long objects stay: the rules of a storage account's management policy, as they are wanted and as Azure shows them. Pure.

use serde_json::{Value, json};

use crate::azure::id::CONTAINER;
use crate::azure::network::{list, text};
use crate::azure::thing::fulfils;

/// What outlives the deployment where a pack asks for it.
pub const KEPT: &str = "audit/";
/// What dsctl and the host write over and over.
const REWRITTEN: [&str; 3] = ["artifacts/", "host/", "secrets/"];
const OLD_VERSION_DAYS: u32 = 30;
const KEEP: &str = "dsctl-keep-audit";
const OLD: &str = "dsctl-old-versions";
const RULES: &str = "/properties/policy/rules";

/// The whole policy of an account whose audit records are kept for so many days.
pub fn policy(audit_days: Option<u32>) -> Value {
    let old = json!({ "version": {"delete": {"daysAfterCreationGreaterThan": OLD_VERSION_DAYS}} });
    let mut rules = vec![rule(OLD, &REWRITTEN, &old)];
    if let Some(days) = audit_days {
        // A version that was written over is kept as long: nobody shortens what is kept by overwriting it.
        let delete = json!({"delete": {"daysAfterCreationGreaterThan": days}});
        rules.push(rule(KEEP, &[KEPT], &json!({ "baseBlob": delete, "version": delete })));
    }
    json!({ "properties": { "policy": { "rules": rules } } })
}

fn rule(name: &str, prefixes: &[&str], actions: &Value) -> Value {
    let prefixes: Vec<String> = prefixes.iter().map(|prefix| format!("{CONTAINER}/{prefix}")).collect();
    let filters = json!({ "blobTypes": ["blockBlob", "appendBlob"], "prefixMatch": prefixes });
    // Records may be appended to; what is appended to has no versions.
    let filters = if name == OLD { json!({ "blobTypes": ["blockBlob"], "prefixMatch": prefixes }) } else { filters };
    json!({ "name": name, "enabled": true, "type": "Lifecycle", "definition": { "actions": actions, "filters": filters } })
}

/// Days that audit records are kept, as the policy has it.
pub fn audit_days(policy: &Value) -> Option<u32> {
    let rule = list(policy, RULES).iter().find(|rule| text(rule, "/name") == KEEP && rule["enabled"] == true)?;
    let days = rule.pointer("/definition/actions/baseBlob/delete/daysAfterCreationGreaterThan")?.as_f64()?;
    // Whole days, however they are written.
    format!("{days:.0}").parse().ok()
}

/// Whether the policy is what it should be and nothing else.
pub fn is_as_wanted(seen: &Value, audit_days: Option<u32>) -> bool {
    let wanted = policy(audit_days);
    let rules = |policy: &Value| policy.pointer(RULES).cloned().unwrap_or_default();
    fulfils(&rules(seen), &rules(&wanted)) && fulfils(&rules(&wanted), &rules(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back_as_the_same() {
        for days in [None, Some(2192)] {
            let policy = policy(days);
            assert_eq!(audit_days(&policy), days);
            assert!(is_as_wanted(&policy, days));
            let shown: Value =
                serde_json::from_str(&policy.to_string().replace("2192", "2192.0").replace(":30}", ":30.0}")).unwrap();
            assert!(is_as_wanted(&shown, days), "as Azure writes numbers: {shown}");
            assert_eq!(audit_days(&shown), days);
        }
        assert!(!is_as_wanted(&policy(None), Some(2192)));
    }

    #[test]
    fn a_rule_of_somebody_else_differs_and_so_does_a_shorter_time() {
        let mut more = policy(None);
        more["properties"]["policy"]["rules"].as_array_mut().unwrap().push(rule("x", &["audit/"], &json!({})));
        assert!(!is_as_wanted(&more, None));
        let mut shorter = policy(Some(2192));
        shorter["properties"]["policy"]["rules"][1]["definition"]["actions"]["version"]["delete"]["daysAfterCreationGreaterThan"] =
            json!(1);
        assert!(!is_as_wanted(&shorter, Some(2192)));
        let mut moved = policy(None);
        moved["properties"]["policy"]["rules"][0]["definition"]["actions"]["baseBlob"] =
            json!({"tierToArchive": {"daysAfterModificationGreaterThan": 1}});
        assert!(!is_as_wanted(&moved, None));
        assert!(!is_as_wanted(&Value::Null, None));
    }
}
