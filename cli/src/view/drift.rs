//! Drift for the eye: one line a thing, one more a key.

use engine::drift::Drift;
use serde_json::Value;

pub fn drift(deployment: &str, drift: &[Drift], ignored: usize) -> String {
    let note = if ignored == 0 { String::new() } else { format!(" ({ignored} ignored)") };
    if drift.is_empty() {
        return format!("No drift: {deployment} is as it was left{note}.");
    }
    let lines: Vec<String> = drift.iter().map(one).collect();
    format!("{}\n\n{} not as it was left{note}; `dsctl plan` shows what `up` would do.", lines.join("\n"), drift.len())
}

fn one(drift: &Drift) -> String {
    match drift {
        Drift::Gone { address } => format!("  - {address}  it is gone"),
        Drift::Unknown(owned) => format!("  ? {}  it carries our tags and is in no record", owned.remote_id.0),
        Drift::Changed { address, keys, before, after } => {
            let keys =
                keys.iter().map(|key| format!("\n      {key}: {} -> {}", short(&before[key]), short(&after[key])));
            format!("  ~ {address}{}", keys.collect::<String>())
        }
    }
}

/// The whole value is in `--json`.
fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use engine::graph::Address;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_has_its_line() {
        let found = [
            Drift::Gone { address: Address::new("agent", "local") },
            Drift::Changed {
                address: Address::new("host-spec", "local"),
                keys: vec!["units".to_owned()],
                before: json!({"units": [1]}),
                after: json!({"units": "é".repeat(80)}),
            },
        ];
        let text = drift("default", &found, 1);
        assert!(
            text.starts_with("  - agent.local  it is gone\n  ~ host-spec.local\n      units: [1] -> \"é"),
            "{text}"
        );
        assert!(text.ends_with("2 not as it was left (1 ignored); `dsctl plan` shows what `up` would do."), "{text}");
        assert_eq!(drift("default", &[], 0), "No drift: default is as it was left.");
    }
}
