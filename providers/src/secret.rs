//! What of a secret is the same wherever it lies: its key, what its metadata says, how one is made, and that none is shown. Pure.

use engine::graph::Address;
use engine::provider::ProviderError;
use serde_json::{Value, json};
use spec::id::SecretName;

use crate::host_plan::BASELINE_KEY;

/// A secret that no log and no debug print shows.
#[derive(Clone)]
pub struct SecretText(String);

impl SecretText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Of the object that holds it.
pub fn key(address: &Address) -> Result<String, ProviderError> {
    let name: SecretName = address.name().parse().map_err(|error| ProviderError::permanent(address, error))?;
    Ok(format!("secrets/{name}"))
}

/// Whether its value is the user's.
pub fn is_given(address: &Address) -> bool {
    address.name() == BASELINE_KEY
}

/// The user's value for it.
pub fn given<'a>(key: Option<&'a SecretText>, address: &Address) -> Result<&'a str, ProviderError> {
    let given = key.ok_or_else(|| {
        let message = "the baseline's API key was not given; set the variable or the file that the deployment names";
        ProviderError::permanent(address, message).with_next("dsctl up")
    })?;
    Ok(given.reveal())
}

/// A value that nobody had before.
pub fn generated() -> String {
    format!("dsk-{}", hex::encode(rand::random::<[u8; 32]>()))
}

/// As a secret's inputs; where its metadata says nothing, since somebody wrote it anew, it is as recorded.
pub fn observed(from: Option<String>, revision: Option<&String>, bucket: &Value, recorded: &Value) -> Value {
    let revision = revision.and_then(|revision| revision.parse::<u64>().ok()).map(Value::from);
    json!({
        "bucket": bucket,
        "from": from.map_or_else(|| recorded["from"].clone(), Value::from),
        "revision": revision.unwrap_or_else(|| recorded["revision"].clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wrote_anew_is_as_it_was_recorded() {
        let recorded = json!({"bucket": "bucket.main", "from": "from /keys/a", "revision": 3});
        let bucket = json!("bucket.main");
        assert_eq!(observed(None, None, &bucket, &recorded), recorded);
        assert_eq!(observed(None, Some(&"three".to_owned()), &bucket, &recorded), recorded);
        let seen = observed(Some("generated".to_owned()), Some(&"4".to_owned()), &bucket, &recorded);
        assert_eq!(seen, json!({"bucket": "bucket.main", "from": "generated", "revision": 4}));
    }

    #[test]
    fn a_name_that_is_none_has_no_key() {
        assert_eq!(key(&Address::new("secret", "api-key")).unwrap(), "secrets/api-key");
        assert!(key(&Address::new("secret", "../x")).is_err());
    }

    #[test]
    fn the_key_that_is_not_given_is_asked_for() {
        let address = Address::new("secret", BASELINE_KEY);
        assert!(is_given(&address));
        let error = given(None, &address).unwrap_err();
        assert!(error.to_string().contains("was not given"), "{error}");
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", SecretText::new("sk-1")), "SecretText(…)");
    }

    #[test]
    fn no_two_generated_secrets_are_the_same() {
        assert_eq!(generated().len(), 68);
        assert_ne!(generated(), generated());
    }
}
