//! The parameter `fields`: `items(name,generation),nextPageToken`, `items/name`.

use serde_json::{Map, Value};

/// The parts of an answer that were asked for.
pub(super) fn only(wanted: &str, value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(|item| only(wanted, item)).collect(),
        Value::Object(object) => Value::Object(chosen(wanted, object)),
        plain => plain.clone(),
    }
}

fn chosen(wanted: &str, object: &Map<String, Value>) -> Map<String, Value> {
    let mut chosen = Map::new();
    for part in parts(wanted) {
        let (name, within) = part.split_at(part.find(['(', '/']).unwrap_or(part.len()));
        let within = within.strip_prefix(['/', '(']).unwrap_or(within);
        let within = if part.ends_with(')') && !name.ends_with(')') { &within[..within.len() - 1] } else { within };
        let fitting = object.iter().filter(|(key, _)| name == "*" || *key == name);
        for (key, value) in fitting {
            let value = if within.is_empty() { value.clone() } else { only(within, value) };
            chosen.insert(key.clone(), value);
        }
    }
    chosen
}

/// Between commas that stand in no brackets.
fn parts(wanted: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0_u32, 0, Vec::new());
    for (place, letter) in wanted.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(wanted[begin..place].trim());
                begin = place + 1;
            }
            _ => {}
        }
    }
    parts.push(wanted[begin..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_asked_for_is_said() {
        let value =
            json!({"kind": "k", "items": [{"name": "a", "size": 1, "acl": {"x": 1, "y": 2}}], "nextPageToken": "2"});
        assert_eq!(only("items(name,acl/x),nextPageToken", &value)["items"], json!([{"name": "a", "acl": {"x": 1}}]));
        assert_eq!(only("items(acl(x))", &value), json!({"items": [{"acl": {"x": 1}}]}));
        assert_eq!(only("items/name", &value), json!({"items": [{"name": "a"}]}));
        assert_eq!(only("*", &value), value);
        assert_eq!(only("absent", &value), json!({}));
    }
}
