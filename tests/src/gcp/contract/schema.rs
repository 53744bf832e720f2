//! A document's schemas as JSON Schema, strict: what it does not name is wrong, and so is what only Google may say.

use serde_json::{Map, Value, json};

use super::document::{Document, Method};

/// What storage's document describes as its own without saying so in a word.
const OWN_OF_STORAGE: [&str; 15] = [
    "selfLink",
    "mediaLink",
    "timeCreated",
    "timeDeleted",
    "updated",
    "projectNumber",
    "metageneration",
    "generation",
    "locationType",
    "lockedTime",
    "effectiveTime",
    "size",
    "owner",
    "softDeleteTime",
    "retentionExpirationTime",
];
/// Taken by every method: <https://cloud.google.com/apis/docs/system-parameters>.
const SYSTEM: [(&str, &str); 3] =
    [("$alt", "json"), ("$apiVersion", "[0-9]{4}-[0-9]{2}-[0-9]{2}"), ("$.xgafv", "[12]")];
const TIME: &str = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|[-+][0-9]{2}:[0-9]{2})";

/// Which way a message goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    Asked { method: &'a str, nulls: Nulls },
    Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    Refused,
    /// A patch takes a field away by null.
    TakeAway,
}

/// A schema of the document's, with all that it stands on.
pub(super) fn message(document: &Document, name: &str, way: Way<'_>) -> Value {
    let mut wanted = vec![name.to_owned()];
    let mut definitions = Map::new();
    while let Some(name) = wanted.pop() {
        if definitions.contains_key(&name) {
            continue;
        }
        let described = &document.json["schemas"][&name];
        named(described, &mut wanted);
        definitions.insert(name, schema(described, way));
    }
    json!({"$ref": format!("#/$defs/{name}"), "$defs": definitions})
}

/// Of path and query: all are text there.
pub(super) fn parameters(document: &Document, method: &Method) -> Value {
    let mut properties = Map::new();
    let own = method.described["parameters"].as_object().into_iter().flatten();
    let all = document.json["parameters"].as_object().into_iter().flatten().chain(own);
    properties.extend(all.map(|(name, described)| (name.clone(), parameter(described))));
    properties.extend(SYSTEM.map(|(name, pattern)| (name.to_owned(), json!({"pattern": whole(pattern)}))));
    let own = method.described["parameters"].as_object().into_iter().flatten();
    let required: Vec<&String> = own.filter(|(_, it)| it["required"] == true).map(|(name, _)| name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

pub(super) fn is_repeated(method: &Method, parameter: &str) -> bool {
    method.described["parameters"][parameter]["repeated"] == true
}

/// An expression that holds for the whole of a text, as all of Google's do.
pub(super) fn whole(expression: &str) -> String {
    format!("^(?:{expression})$")
}

fn parameter(described: &Value) -> Value {
    let single = match described["type"].as_str() {
        Some("boolean") => json!({"enum": ["true", "false"]}),
        Some("integer") => json!({"pattern": whole("-?[0-9]{1,20}")}),
        Some("number") => json!({"pattern": whole(r"-?[0-9]+(\.[0-9]+)?")}),
        _ => text(described),
    };
    if described["repeated"] == true { json!({"type": "array", "items": single}) } else { single }
}

/// Names of schemas that one refers to.
fn named(described: &Value, found: &mut Vec<String>) {
    found.extend(described["$ref"].as_str().map(str::to_owned));
    for inner in ["items", "additionalProperties"].map(|part| &described[part]) {
        if inner.is_object() {
            named(inner, found);
        }
    }
    described["properties"].as_object().into_iter().flat_map(|all| all.values()).for_each(|it| named(it, found));
}

fn schema(described: &Value, way: Way<'_>) -> Value {
    if let Some(name) = described["$ref"].as_str() {
        let meant = json!({"$ref": format!("#/$defs/{name}")});
        return if way.takes_nulls() { json!({"anyOf": [meant, {"type": "null"}]}) } else { meant };
    }
    let mut made = match described["type"].as_str() {
        Some("object") => object(described, way),
        Some("array") => json!({"type": "array", "items": schema(&described["items"], way)}),
        Some("integer") => integer(described),
        Some("string") => text(described),
        Some("any") | None => return json!({}),
        Some(plain) => json!({"type": plain}),
    };
    if way.takes_nulls() {
        nullable(&mut made);
    }
    made
}

fn nullable(schema: &mut Value) {
    schema["type"] = json!([schema["type"].clone(), "null"]);
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.push(Value::Null);
    }
}

fn object(described: &Value, way: Way<'_>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, inner) in described["properties"].as_object().into_iter().flatten() {
        let made = if way.is_refused(name, inner) { json!(false) } else { schema(inner, way) };
        properties.insert(name.clone(), made);
        if way.is_required(inner) {
            required.push(name);
        }
    }
    let others = &described["additionalProperties"];
    let others = if others.is_object() { schema(others, way) } else { json!(false) };
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": others})
}

impl Way<'_> {
    const fn takes_nulls(self) -> bool {
        matches!(self, Self::Asked { nulls: Nulls::TakeAway, .. })
    }

    fn is_refused(self, name: &str, described: &Value) -> bool {
        let Self::Asked { method, .. } = self else { return false };
        let told = described["description"].as_str().unwrap_or_default().trim_start().to_ascii_lowercase();
        let is_told = ["[output only]", "[output-only]", "output only"].iter().any(|mark| told.starts_with(mark));
        is_told || described["readOnly"] == true || (method.starts_with("storage.") && OWN_OF_STORAGE.contains(&name))
    }

    fn is_required(self, described: &Value) -> bool {
        let Self::Asked { method, .. } = self else { return false };
        let of = described["annotations"]["required"].as_array();
        of.is_some_and(|methods| methods.iter().any(|it| it == method))
    }
}

fn integer(described: &Value) -> Value {
    let (least, most) = match described["format"].as_str() {
        Some("uint32") => (0, i64::from(u32::MAX)),
        _ => (i64::from(i32::MIN), i64::from(i32::MAX)),
    };
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// Numbers of 64 bits are text in Google's JSON.
fn text(described: &Value) -> Value {
    let format = match described["format"].as_str() {
        Some("int64") => Some("-?[0-9]{1,19}"),
        Some("uint64") => Some("[0-9]{1,20}"),
        Some("byte") => Some("[-A-Za-z0-9+/_]*={0,2}"),
        Some("date-time" | "google-datetime") => Some(TIME),
        Some("date") => Some("[0-9]{4}-[0-9]{2}-[0-9]{2}"),
        Some("google-duration") => Some(r"-?[0-9]+(\.[0-9]{1,9})?s"),
        _ => None,
    };
    let mut made = json!({"type": "string"});
    if let Some(pattern) = described["pattern"].as_str().or(format) {
        made["pattern"] = json!(whole(pattern));
    }
    if described["enum"].is_array() {
        made["enum"] = described["enum"].clone();
    }
    made
}
