//! What tags may be called.

use serde_json::Value;

use super::ask::Refusal;

const LONGEST_NAME: usize = 512;
const LONGEST_VALUE: usize = 256;
const MOST: usize = 50;
const FORBIDDEN: [char; 6] = ['<', '>', '%', '&', '\\', '?'];

pub(super) fn check(tags: &Value) -> Result<(), Refusal> {
    let tags: Vec<(&String, &str)> = tags
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name, value.as_str().unwrap_or_default()))
        .collect();
    if tags.len() > MOST {
        let message = format!("The resource has {} tags; the most is {MOST}.", tags.len());
        return Err(Refusal::new(400, "InvalidTags", message));
    }
    tags.iter().try_for_each(|(name, value)| check_one(name, value))
}

fn check_one(name: &str, value: &str) -> Result<(), Refusal> {
    let is_forbidden = |letter: char| FORBIDDEN.contains(&letter) || letter == '/' || letter.is_control();
    if name.contains(is_forbidden) {
        let message = format!("The following tag names '{name}' contain invalid characters: '<,>,%,&,\\,?,/'.");
        return Err(Refusal::new(400, "InvalidTagNameCharacters", message));
    }
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Refusal::new(400, "InvalidTagName", format!("The tag name '{name}' is empty or too long.")));
    }
    if value.len() > LONGEST_VALUE {
        return Err(Refusal::new(400, "InvalidTagValueLength", format!("The value of tag '{name}' is too long.")));
    }
    Ok(())
}
