//! What a create of a cloud's resource is given, how its inputs' addresses lead to the cloud's ids and back, and what
//! follows from an error after it and from a difference later.

use engine::graph::{Address, Desired};
use engine::plan::differing_keys;
use engine::provider::{ErrorKind, Known, ProviderError, Token, Verdict};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a create is given.
#[derive(Debug, Clone, Copy)]
pub struct Making<'a> {
    pub desired: &'a Desired,
    pub token: &'a Token,
    pub known: &'a Known,
}

impl Making<'_> {
    /// The inputs in their kind's shape.
    pub fn inputs<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        inputs(self.desired)
    }

    /// The id of another resource that the inputs name by its address.
    pub fn id(&self, address: &str) -> Result<&str, ProviderError> {
        id(self.desired, self.known, address)
    }
}

/// The inputs in their kind's shape.
pub fn inputs<T: DeserializeOwned>(desired: &Desired) -> Result<T, ProviderError> {
    serde_json::from_value(desired.inputs.clone()).map_err(|error| ProviderError::permanent(&desired.address, error))
}

/// The id of another resource that inputs name by its address.
pub fn id<'a>(desired: &Desired, known: &'a Known, address: &str) -> Result<&'a str, ProviderError> {
    let named = Address::parse(address)
        .ok_or_else(|| ProviderError::permanent(&desired.address, format!("\"{address}\" is no address")))?;
    Ok(known.needed(&desired.address, &named)?.0.as_str())
}

/// The address that inputs name a resource by; its id where the state does not know it, so that it shows as a difference.
pub fn named(known: &Known, id: &str) -> String {
    known.address_of(id).map_or_else(|| id.to_owned(), ToString::to_string)
}

/// What was made must be looked up before it is made again, whatever went wrong after it.
pub fn after_it_was_made(error: ProviderError) -> ProviderError {
    let kind = match error.kind {
        ErrorKind::Throttled { .. } | ErrorKind::NotYet => ErrorKind::Ambiguous,
        kind => kind,
    };
    ProviderError { kind, ..error }
}

/// How a difference is put right, by fields that can't change while the deployment lives, since everything stands on them,
/// and those whose change needs a new one beside the old one.
pub fn verdict(before: &Value, after: &Value, fixed: &[&str], replacing: &[&str]) -> Verdict {
    let keys = differing_keys(before, after);
    let changes = |fields: &[&str]| keys.iter().find(|key| fields.contains(&key.as_str())).cloned();
    match (changes(fixed), changes(replacing)) {
        (Some(field), _) => Verdict::Impossible(format!(
            "{field} can't change while the deployment lives; `dsctl down`, then `dsctl up` with the new one"
        )),
        (None, Some(_)) => Verdict::Replace,
        (None, None) => Verdict::InPlace,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_put_right_as_its_fields_allow() {
        let of = |before: Value, after: Value| verdict(&before, &after, &["range"], &["sha256"]);
        assert_eq!(of(json!({"allow": 1}), json!({"allow": 2})), Verdict::InPlace);
        assert_eq!(of(json!({"sha256": "a", "allow": 1}), json!({"sha256": "b", "allow": 2})), Verdict::Replace);
        let Verdict::Impossible(why) = of(json!({"sha256": "a", "range": 1}), json!({"sha256": "b"})) else {
            panic!("a range that is gone")
        };
        assert!(why.starts_with("range can't change"), "{why}");
    }

    #[test]
    fn what_went_wrong_after_the_making_is_looked_into_before_it_is_made_again() {
        let after = |kind| after_it_was_made(ProviderError::new(kind, "x", "y")).kind;
        assert_eq!(after(ErrorKind::Throttled { retry_after: None }), ErrorKind::Ambiguous);
        assert_eq!(after(ErrorKind::NotYet), ErrorKind::Ambiguous);
        assert_eq!(after(ErrorKind::Capacity), ErrorKind::Capacity);
    }
}
