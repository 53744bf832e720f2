//! What Google checks of labels, metadata and fingerprints beyond what its document says.

use serde_json::{Value, json};

use super::super::call::{Refusal, items, text};
use super::super::contract;

const MOST_LABELS: usize = 64;
const LABEL_KEY: &str = r"[a-z][-_a-z0-9]{0,62}";
const LABEL_VALUE: &str = r"[-_a-z0-9]{0,63}";
const METADATA_KEY: &str = r"[-_a-zA-Z0-9]{1,128}";
/// Bytes of one value, and of all keys and values.
const LARGEST_METADATA: usize = 256 << 10;
const ALL_METADATA: usize = 512 << 10;

/// Of everything that has labels: instances, disks, buckets.
pub(in crate::gcp) fn labels(labels: &Value) -> Result<(), Refusal> {
    let wrong = |key: &str, why: &str| Err(Refusal::invalid("labels", &json!(key), why));
    let Some(labels) = labels.as_object() else { return Ok(()) };
    if labels.len() > MOST_LABELS {
        return wrong("", "There are more than 64 labels.");
    }
    for (key, value) in labels {
        if !contract::fits(LABEL_KEY, key).unwrap_or(false) {
            return wrong(key, "Label key violates format constraints.");
        }
        // A patch takes a label away by null.
        if value.as_str().is_some_and(|value| !contract::fits(LABEL_VALUE, value).unwrap_or(false)) {
            return wrong(text(value), "Label value violates format constraints.");
        }
    }
    Ok(())
}

pub(super) fn metadata(metadata: &Value) -> Result<(), Refusal> {
    let wrong = |key: &str, why: &str| Err(Refusal::invalid("metadata.items", &json!(key), why));
    let (mut seen, mut size) = (Vec::new(), 0);
    for item in items(&metadata["items"]) {
        let (key, value) = (text(&item["key"]), text(&item["value"]));
        if !contract::fits(METADATA_KEY, key).unwrap_or(false) {
            return wrong(key, "Metadata key violates format constraints.");
        }
        if seen.contains(&key) {
            return wrong(key, "Duplicate metadata keys.");
        }
        seen.push(key);
        size += key.len() + value.len();
        if value.len() > LARGEST_METADATA || size > ALL_METADATA {
            return wrong(key, "Value is too large.");
        }
    }
    Ok(())
}

/// That a caller saw what is there now; `what` is as Google calls it in the sentence.
pub(super) fn fingerprint(asked: &Value, actual: &Value, what: &str) -> Result<(), Refusal> {
    if asked == actual && actual.is_string() {
        return Ok(());
    }
    let message = if what == "labels" {
        "Labels fingerprint either invalid or resource labels have changed".to_owned()
    } else {
        format!("Supplied fingerprint does not match current {what} fingerprint.")
    };
    Err(Refusal::new(412, "conditionNotMet", message))
}

/// A field without which nothing can be made.
pub(super) fn required<'a>(body: &'a Value, field: &str) -> Result<&'a str, Refusal> {
    let value = text(&body[field]);
    if value.is_empty() {
        let message = format!("Required field 'resource.{field}' not specified");
        return Err(Refusal::new(400, "required", message));
    }
    Ok(value)
}
