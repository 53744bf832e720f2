//! What is the same for everything that Resource Manager keeps: it is made, found, compared and mended as a whole, by one body.

use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::RemoteId;
use serde_json::{Map, Value, json};

use super::arm::{not_yet, state};
use super::auth::{Azure, Making};
use super::tags::{self, Mark, Tags, Whose};

/// Makes a thing by one call, with its place and its tags; one that this intent made already is left as it is.
pub async fn make(azure: &Azure, making: &Making<'_>, body: Value) -> Result<RemoteId, ProviderError> {
    let address = &making.desired.address;
    let id = azure.id_for(address, making.token, making.known)?;
    let mark = azure.mark(making).await?;
    if !is_made(azure, address, &id, &mark).await? {
        azure.arm.put(address, &id, &placed(azure, body, &mark.tags())).await?;
    }
    Ok(RemoteId(id))
}

/// Whether this intent made it already. What an earlier intent of the same state left there is taken over; somebody else's
/// is not touched.
pub async fn is_made(azure: &Azure, address: &Address, id: &str, mark: &Mark<'_>) -> Result<bool, ProviderError> {
    let Some(there) = azure.arm.get(id).await? else { return Ok(false) };
    if state(&there) == "deleting" {
        return Err(not_yet(address, "an earlier one of its name is still going"));
    }
    whose(address, id, mark, &tags::of(&there))
}

/// The same, by what it is marked with.
pub fn whose(address: &Address, id: &str, mark: &Mark<'_>, seen: &Tags) -> Result<bool, ProviderError> {
    match mark.whose(seen) {
        Whose::Ours => Ok(true),
        Whose::Earlier => Ok(false),
        Whose::Foreign => {
            let message = format!("{id} is there already, and is not what this deployment's record made");
            Err(ProviderError::permanent(address, message).with_next("dsctl orphans"))
        }
    }
}

/// Puts the whole again if anything of it is not as it should be. Gives it as it is then.
pub async fn mend(
    azure: &Azure,
    id: &RemoteId,
    desired: &Desired,
    known: &Known,
    body: Value,
) -> Result<Value, ProviderError> {
    let seen = azure.arm.settled(&desired.address, &id.0).await?;
    let wanted = placed(azure, body, &wanted_tags(azure, &tags::of(&seen), &desired.address, known).await?);
    if state(&seen) == "succeeded" && fulfils(&seen, &wanted) {
        return Ok(seen);
    }
    azure.arm.put(&desired.address, &id.0, &wanted).await
}

/// Ours as they are always made. An update is given no token: the tags have it.
pub async fn wanted_tags(azure: &Azure, seen: &Tags, address: &Address, known: &Known) -> Result<Tags, ProviderError> {
    let lost = Token("lost".to_owned());
    Ok(tags::mended(seen, &azure.mark_of(address, &lost, &known.lineage).await?))
}

fn placed(azure: &Azure, mut body: Value, tags: &Tags) -> Value {
    body["location"] = json!(azure.region);
    body["tags"] = json!(tags);
    body
}

/// By its name and its token.
pub async fn find(
    azure: &Azure,
    address: &Address,
    token: &Token,
    known: &Known,
) -> Result<Option<RemoteId>, ProviderError> {
    let id = azure.id_for(address, token, known)?;
    let seen = living(azure, &id).await?.map(|thing| tags::of(&thing));
    Ok(seen.filter(|tags| tags.get(tags::TOKEN) == Some(&token.0)).map(|_| RemoteId(id)))
}

/// The thing, unless it is gone or going, or only kept for its records.
pub async fn living(azure: &Azure, id: &str) -> Result<Option<Value>, ProviderError> {
    let seen = azure.arm.get(id).await?;
    Ok(seen.filter(|thing| state(thing) != "deleting" && !tags::is_kept(&tags::of(thing))))
}

/// Inputs as they were seen, with what is wrong with any thing: that it would not be found again, that it is broken.
pub fn with_oddities(inputs: Value, seen: &Value) -> Value {
    let mut fields = match inputs {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    if !tags::is_marked(&tags::of(seen)) {
        fields.insert("tags".to_owned(), json!("incomplete"));
    }
    if matches!(state(seen).as_str(), "failed" | "canceled") {
        fields.insert("state".to_owned(), json!(state(seen)));
    }
    Value::Object(fields)
}

/// Whether all that is wanted is so; what is not spoken of does not count. Azure writes names in a case of its own, and leaves
/// out what is empty.
pub fn fulfils(seen: &Value, wanted: &Value) -> bool {
    match (seen, wanted) {
        (Value::Object(seen), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| fulfils(seen.get(key).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(seen), Value::Array(wanted)) => {
            let (seen, wanted) = (by_name(seen), by_name(wanted));
            seen.len() == wanted.len() && seen.iter().zip(&wanted).all(|(seen, wanted)| fulfils(seen, wanted))
        }
        (Value::String(seen), Value::String(wanted)) => same_text(seen, wanted),
        // Days come back as `30.0`.
        (Value::Number(seen), Value::Number(wanted)) => seen.as_f64() == wanted.as_f64(),
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Object(wanted)) => wanted.values().all(|wanted| fulfils(&Value::Null, wanted)),
        (seen, wanted) => seen == wanted,
    }
}

/// Places are written in two ways, `westeurope` and `West Europe`.
pub fn same_text(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.replace(' ', "").to_ascii_lowercase();
    plain(one) == plain(other)
}

/// The order of a list does not count.
fn by_name(list: &[Value]) -> Vec<&Value> {
    let mut list: Vec<&Value> = list.iter().collect();
    list.sort_by_key(|item| item.get("name").unwrap_or(item).to_string().to_ascii_lowercase());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_so_whatever_else_is() {
        let seen = json!({"location": "West Europe", "etag": "x", "properties": {"rules": [{"name": "b", "id": "/B"}, {"name": "a"}]}});
        assert!(fulfils(&seen, &json!({"location": "westeurope"})));
        assert!(fulfils(&seen, &json!({"properties": {"rules": [{"name": "A"}, {"name": "b", "id": "/b"}]}})));
        assert!(fulfils(&seen, &json!({"properties": {"peerings": [], "nat": null}})));
        assert!(!fulfils(&seen, &json!({"properties": {"rules": [{"name": "a"}]}})), "one too many");
        assert!(!fulfils(&seen, &json!({"properties": {"nat": {"id": "/n"}}})));
        assert!(!fulfils(&json!({"on": false}), &json!({"on": true})));
        assert!(!fulfils(&json!({}), &json!({"on": false})), "what is not said is not known to be off");
    }

    #[test]
    fn a_thing_that_would_not_be_found_again_or_is_broken_shows() {
        let seen = json!({"properties": {"provisioningState": "Failed"}, "tags": {"dsctl-token": "x"}});
        let shown = with_oddities(json!({"group": "group.main"}), &seen);
        assert_eq!(shown, json!({"group": "group.main", "tags": "incomplete", "state": "failed"}));
        let whole = json!({"tags": {"dsctl-token": "x", "dsctl-address": "a.b", "dsctl-lineage": "l", "dsctl-deployment": "d"}});
        assert_eq!(with_oddities(json!({}), &whole), json!({}));
    }
}
