//! What of a schema is too much to follow. The library that follows it descends once for each reference, and holds each pattern of an
//! object against all others: a text of some hundred kilobytes would take its stack, or hours.

use std::collections::BTreeSet;

use serde_json::Value;

/// Objects and arrays together.
const MOST_PARTS: usize = 4_000;
/// Places that are referred to.
const MOST_REFERENCES: usize = 64;
/// Of one object.
const MOST_PATTERNS: usize = 16;

/// What is too much, in words.
pub fn excess(schema: &Value) -> Option<String> {
    let (mut parts, mut references) = (0, BTreeSet::new());
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(all) => open.extend(all),
            Value::Object(members) => {
                references.extend(members.get("$ref").and_then(Value::as_str));
                let patterns = members.get("patternProperties").and_then(Value::as_object);
                if patterns.is_some_and(|patterns| patterns.len() > MOST_PATTERNS) {
                    return Some(format!("an object has more than {MOST_PATTERNS} patternProperties"));
                }
                open.extend(members.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => continue,
        }
        parts += 1;
        if parts > MOST_PARTS {
            return Some(format!("it has more than {MOST_PARTS} objects and arrays"));
        }
        if references.len() > MOST_REFERENCES {
            return Some(format!("it refers to more than {MOST_REFERENCES} places"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn what_people_write_is_not_too_much() {
        let item =
            json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "patternProperties": {"^b": {}}});
        assert_eq!(
            excess(&json!({"$defs": {"x": {"type": "string"}}, "anyOf": [item, {"enum": vec!["c"; 500]}]})),
            None
        );
    }

    #[test]
    fn long_chains_many_patterns_and_endless_texts_are_named() {
        let chain: Map<String, Value> =
            (0..10_000).map(|at| (at.to_string(), json!({"$ref": format!("#/$defs/{}", at + 1)}))).collect();
        assert!(excess(&json!({"$ref": "#/$defs/0", "$defs": chain})).unwrap().contains("refers to more than 64"));
        let patterns: Map<String, Value> = (0..20_000).map(|at| (format!("^a{at}$"), json!(true))).collect();
        let inner = json!({"items": {"type": "object", "patternProperties": patterns}});
        assert!(excess(&inner).unwrap().contains("more than 16 patternProperties"));
        assert!(excess(&json!(vec![json!({}); 5_000])).unwrap().contains("more than 4000 objects"));
    }
}
