//! What of a secret is the same wherever it lies: its key, what its metadata says, how one is made, and that none is shown. Pure.

use std::collections::BTreeMap;

use argon2::Argon2;
use engine::graph::Address;
use engine::provider::ProviderError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spec::certificate::{AUTHORITY, CERTIFICATE, CERTIFICATE_KEY};
use spec::id::{DeploymentName, SecretName};
use spec::monitoring::ReceiverKind;
use spec::virtual_key::KeyLine;

use crate::authority;
use crate::host_plan::{BASELINE_KEY, SPARE_KEY};

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

/// Secrets that are the user's, on their way from the environment or files into `secrets/`.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub baseline_key: Option<SecretText>,
    pub spare_key: Option<SecretText>,
    pub certificate: Option<GivenCertificate>,
    /// Of those who are told of alerts, by the name of the secret.
    pub receivers: BTreeMap<&'static str, SecretText>,
}

/// Of each secret of the user's a number that is another for another value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revisions {
    pub baseline_key: u64,
    pub spare_key: u64,
    /// 0 without a certificate of the user's own.
    pub certificate: u64,
    /// By the name of the secret.
    pub receivers: BTreeMap<&'static str, u64>,
}

/// 32 bits of a digest that takes a moment and 19 MiB to make: a password that people remember can't be looked for by
/// making many of them, whoever reads the state. Argon2id with the parameters that OWASP names first.
pub fn slow_revision(value: &SecretText, salt: &str) -> Result<u64, argon2::Error> {
    let mut digest = [0; 4];
    let salt = Sha256::digest(salt);
    Argon2::default().hash_password_into(value.reveal().as_bytes(), &salt, &mut digest)?;
    Ok(u64::from(u32::from_be_bytes(digest)))
}

/// The user's own certificate with its chain, and its key; both in PEM.
#[derive(Debug, Clone)]
pub struct GivenCertificate {
    pub chain: SecretText,
    pub key: SecretText,
}

impl GivenCertificate {
    /// A number that is another for another pair: 32 bits of a digest, of which the key can't be had back.
    pub fn revision(&self) -> u64 {
        let digest = Sha256::new().chain_update(self.chain.reveal()).chain_update(self.key.reveal()).finalize();
        digest.iter().take(4).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl Given {
    /// The user's value of a secret, if it is at hand.
    pub fn value(&self, name: &str) -> Option<&SecretText> {
        let certificate = self.certificate.as_ref();
        match name {
            BASELINE_KEY => self.baseline_key.as_ref(),
            SPARE_KEY => self.spare_key.as_ref(),
            CERTIFICATE => certificate.map(|given| &given.chain),
            CERTIFICATE_KEY => certificate.map(|given| &given.key),
            _ => self.receivers.get(name),
        }
    }
}

/// Beside the inputs of an update of the clients' keys: what becomes of them; asked for once, and not recorded.
pub const CHANGE: &str = "change";

/// What becomes of the keys of clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyChange {
    /// A new one goes first; those before it go on to be taken.
    Add,
    /// Of those without a name only the first is taken from now on.
    RetireOthers,
    /// A line with a name and limits, in place of one with the same name.
    Create(String),
    /// The line with this name goes.
    Revoke(String),
}

/// The keys, one a line, after a change; `fresh` is one that nobody had before.
pub fn changed(present: &str, change: KeyChange, fresh: &str) -> String {
    match change {
        KeyChange::Add => format!("{fresh}\n{}", present.trim_end()),
        KeyChange::RetireOthers => {
            let is_nameless = |line: &&str| name_of(line).is_none();
            let first = lines(present).find(is_nameless).unwrap_or(fresh).to_owned();
            std::iter::once(first)
                .chain(lines(present).filter(|line| !is_nameless(line)).map(str::to_owned))
                .collect::<Vec<_>>()
                .join("\n")
        }
        KeyChange::Create(line) => {
            let kept = without(present, name_of(&line).as_deref());
            format!("{kept}\n{line}").trim_start().to_owned()
        }
        KeyChange::Revoke(name) => without(present, Some(&name)),
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// None of a key without one.
fn name_of(line: &str) -> Option<String> {
    KeyLine::read(line).ok().flatten().map(|line| line.key.name)
}

fn without(present: &str, name: Option<&str>) -> String {
    let is_kept = |line: &&str| name.is_none() || name_of(line).as_deref() != name;
    lines(present).filter(is_kept).collect::<Vec<_>>().join("\n")
}

/// Of the object that holds it.
pub fn key(address: &Address) -> Result<String, ProviderError> {
    let name: SecretName = address.name().parse().map_err(|error| ProviderError::permanent(address, error))?;
    Ok(format!("secrets/{name}"))
}

/// Whether its value is the user's.
pub fn is_given(address: &Address) -> bool {
    let receivers = ReceiverKind::ALL.map(ReceiverKind::secret);
    [BASELINE_KEY, SPARE_KEY, CERTIFICATE, CERTIFICATE_KEY].iter().chain(&receivers).any(|name| *name == address.name())
}

/// The user's value for it.
pub fn given<'a>(given: &'a Given, address: &Address) -> Result<&'a str, ProviderError> {
    let value = given.value(address.name()).ok_or_else(|| {
        let message = "it was not given; set the variable or the file that the deployment names";
        ProviderError::permanent(address, message).with_next("dsctl up")
    })?;
    Ok(value.reveal())
}

/// A value that nobody had before, for the secret with this key.
pub fn generated(key: &str, deployment: &DeploymentName) -> Result<String, ProviderError> {
    if key.rsplit('/').next() == Some(AUTHORITY) {
        return authority::generated(deployment).map_err(|error| ProviderError::permanent(key, error));
    }
    Ok(format!("dsk-{}", hex::encode(rand::random::<[u8; 32]>())))
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
        let error = given(&Given::default(), &address).unwrap_err();
        assert!(error.to_string().contains("was not given"), "{error}");
    }

    #[test]
    fn each_secret_of_the_users_has_its_own_value() {
        let pair =
            |chain: &str, key: &str| GivenCertificate { chain: SecretText::new(chain), key: SecretText::new(key) };
        let all = Given {
            baseline_key: Some(SecretText::new("k")),
            spare_key: Some(SecretText::new("s")),
            certificate: Some(pair("c", "p")),
            receivers: [(ReceiverKind::Email.secret(), SecretText::new("e"))].into(),
        };
        let value = |name: &str| given(&all, &Address::new("secret", name)).map(str::to_owned).ok();
        assert_eq!((value(BASELINE_KEY).as_deref(), value(SPARE_KEY).as_deref()), (Some("k"), Some("s")));
        assert_eq!((value(CERTIFICATE).as_deref(), value(CERTIFICATE_KEY).as_deref()), (Some("c"), Some("p")));
        assert_eq!((value("alerts-email-password").as_deref(), value("alerts-slack-url")), (Some("e"), None));
        assert_eq!(value("api-key"), None);
        assert_ne!(pair("c", "p").revision(), pair("c", "q").revision());
    }

    #[test]
    fn a_password_has_another_revision_under_another_salt() {
        let revision = |value: &str, salt: &str| slow_revision(&SecretText::new(value), salt).unwrap();
        assert_eq!(revision("night", "salt"), revision("night", "salt"));
        assert_ne!(revision("night", "salt"), revision("night", "pepper"));
        assert_ne!(revision("night", "salt"), revision("day", "salt"));
    }

    #[test]
    fn the_newest_key_goes_first_and_stays_when_others_are_retired() {
        let two = changed("old\n", KeyChange::Add, "new");
        assert_eq!(two, "new\nold");
        assert_eq!(changed(&two, KeyChange::RetireOthers, "x"), "new");
        assert_eq!(changed("only\n", KeyChange::RetireOthers, "x"), "only");
        assert_eq!(changed("", KeyChange::RetireOthers, "x"), "x", "nobody is let in by an empty file");
    }

    #[test]
    fn a_key_with_a_name_is_made_once_and_goes_alone() {
        let line = |name: &str, digit: &str| {
            format!("sha256:{} {{\"name\":\"{name}\",\"made_at\":\"2026-01-01T00:00:00Z\"}}", digit.repeat(64))
        };
        let one = changed("old\n", KeyChange::Create(line("a", "1")), "x");
        assert_eq!(one, format!("old\n{}", line("a", "1")));
        let two = changed(&one, KeyChange::Create(line("b", "2")), "x");
        let again = changed(&two, KeyChange::Create(line("a", "3")), "x");
        assert_eq!(again, format!("old\n{}\n{}", line("b", "2"), line("a", "3")));
        assert_eq!(changed(&again, KeyChange::RetireOthers, "x"), again, "those with a name stay");
        assert_eq!(
            changed(&changed(&again, KeyChange::Add, "new"), KeyChange::RetireOthers, "x"),
            again.replace("old", "new")
        );
        assert_eq!(changed(&again, KeyChange::Revoke("b".to_owned()), "x"), format!("old\n{}", line("a", "3")));
        assert_eq!(changed(&again, KeyChange::Revoke("c".to_owned()), "x"), again);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", SecretText::new("sk-1")), "SecretText(…)");
    }

    #[test]
    fn no_two_generated_secrets_are_the_same() {
        let name: DeploymentName = "default".parse().unwrap();
        let made = |key: &str| generated(key, &name).unwrap();
        assert_eq!(made("secrets/api-key").len(), 68);
        assert_ne!(made("secrets/api-key"), made("secrets/api-key"));
        assert!(made("secrets/tls-ca").contains("BEGIN CERTIFICATE"));
    }
}
