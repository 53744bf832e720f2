//! What a bucket is set to: what Cloud Storage shows and what we want, in one shape, and the one call that leads from one to
//! the other.

use engine::provider::{ErrorKind, ProviderError};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::lifecycle::{self, KEPT};
use crate::gcp::access::policy::{self, Binding, Policy};
use crate::gcp::auth::Gcp;
use crate::gcp::encryption_key::{Encrypts, with_grant};
use crate::gcp::error::{Why, found};
use crate::gcp::kind::BucketInputs;
use crate::gcp::labels::{self, Labels};
use crate::gcp::rest::Host;

/// Who writes access logs for Google, and what it needs for that.
const LOG_WRITER: &str = "group:cloud-storage-analytics@google.com";
const LOG_ROLE: &str = "roles/storage.objectCreator";
const ENFORCED: &str = "enforced";

/// A bucket as Cloud Storage shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Described {
    pub name: String,
    pub location: String,
    pub labels: Labels,
    pub time_created: Option<String>,
    metageneration: String,
    iam_configuration: IamConfiguration,
    versioning: Switch,
    soft_delete_policy: SoftDelete,
    lifecycle: Lifecycle,
    logging: Option<Logging>,
    retention_policy: Option<Value>,
    encryption: Encryption,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IamConfiguration {
    uniform_bucket_level_access: Switch,
    public_access_prevention: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Switch {
    enabled: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SoftDelete {
    /// A whole number in text.
    retention_duration_seconds: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Encryption {
    default_kms_key_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Lifecycle {
    rule: Vec<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Logging {
    log_bucket: String,
    log_object_prefix: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub labels: Labels,
    /// As regions are written.
    pub region: String,
    /// Counts the changes of the settings.
    metageneration: String,
    /// No access lists: the policy alone says who may what.
    is_uniform: bool,
    is_never_public: bool,
    is_versioned: bool,
    /// Whether what was removed is kept for a while, and paid for.
    keeps_removed: bool,
    /// Whether nothing may be removed for a while.
    retains: bool,
    /// What new objects are encrypted by, where it is not Google's own.
    encryption_key: Option<String>,
    pub lifecycle: Vec<Value>,
    /// Bucket and prefix.
    pub access_log: Option<(String, String)>,
    /// Whether Google may write the log there.
    may_log: bool,
    /// Who may what.
    policy: Policy,
}

impl Settings {
    /// How such a bucket is always set. Pure.
    pub fn wanted(bucket: &str, inputs: &BucketInputs, labels: Labels) -> Self {
        Self {
            labels,
            region: inputs.region.clone(),
            metageneration: String::new(),
            is_uniform: true,
            is_never_public: true,
            is_versioned: true,
            keeps_removed: false,
            retains: false,
            encryption_key: inputs.encryption_key.clone(),
            lifecycle: lifecycle::rules(inputs.audit_days),
            access_log: inputs.access_log.then(|| own_log(bucket)),
            may_log: true,
            policy: Policy::default(),
        }
    }

    fn of(bucket: Described, policy: Policy) -> Self {
        let iam = &bucket.iam_configuration;
        let seconds = bucket.soft_delete_policy.retention_duration_seconds.as_deref().unwrap_or("0");
        Self {
            is_uniform: iam.uniform_bucket_level_access.enabled,
            is_never_public: iam.public_access_prevention == ENFORCED,
            is_versioned: bucket.versioning.enabled,
            keeps_removed: seconds != "0",
            retains: bucket.retention_policy.is_some(),
            encryption_key: bucket.encryption.default_kms_key_name,
            region: bucket.location.to_ascii_lowercase(),
            metageneration: bucket.metageneration,
            lifecycle: bucket.lifecycle.rule,
            may_log: bucket.logging.is_none() || policy.gives(LOG_WRITER, &log_binding()),
            access_log: bucket.logging.map(|log| (log.log_bucket, log.log_object_prefix)),
            labels: bucket.labels,
            policy,
        }
    }

    /// Each part with the name that Cloud Storage has for it; null where there is nothing.
    fn sections(&self) -> [(&'static str, Value); 8] {
        let prevention = if self.is_never_public { ENFORCED } else { "inherited" };
        let seconds = if self.keeps_removed { "604800" } else { "0" };
        let (log, key) = (self.access_log.as_ref(), self.encryption_key.as_ref());
        [
            ("labels", json!(self.labels)),
            (
                "iamConfiguration",
                json!({"uniformBucketLevelAccess": {"enabled": self.is_uniform}, "publicAccessPrevention": prevention}),
            ),
            ("versioning", json!({"enabled": self.is_versioned})),
            ("softDeletePolicy", json!({"retentionDurationSeconds": seconds})),
            ("lifecycle", json!({"rule": self.lifecycle})),
            ("logging", log.map_or(Value::Null, |(to, prefix)| json!({"logBucket": to, "logObjectPrefix": prefix}))),
            ("encryption", key.map_or(Value::Null, |key| json!({"defaultKmsKeyName": key}))),
            ("retentionPolicy", if self.retains { json!({}) } else { Value::Null }),
        ]
    }

    /// What is sent to make it so; pure.
    pub fn body(&self) -> Map<String, Value> {
        self.sections()
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// What is sent to get there from what is seen: what differs alone.
    fn patch(&self, seen: &Self) -> Map<String, Value> {
        let differs = |((key, wanted), (_, seen)): ((&'static str, Value), (&str, Value))| {
            (wanted != seen).then(|| (key.to_owned(), wanted))
        };
        let mut patch: Map<String, Value> =
            self.sections().into_iter().zip(seen.sections()).filter_map(differs).collect();
        if lifecycle::are_same(&self.lifecycle, &seen.lifecycle) {
            patch.remove("lifecycle");
        }
        patch
    }

    /// The policy before anything lies in it: a new bucket lets whoever may look at the project read everything.
    fn closed(&self, wanted: &Self) -> Policy {
        let closed = self.policy.clone().without_strangers();
        match wanted.access_log {
            Some(_) if !closed.gives(LOG_WRITER, &log_binding()) => closed.giving(LOG_WRITER, &log_binding()),
            _ => closed,
        }
    }

    /// In the shape of [`BucketInputs`]; what is not as wanted shows as a further key. Pure.
    pub fn observed(&self, bucket: &str, account: &str) -> Value {
        let inputs = BucketInputs {
            account: account.to_owned(),
            region: self.region.clone(),
            audit_days: lifecycle::audit_days(&self.lifecycle),
            access_log: self.access_log.as_ref() == Some(&own_log(bucket)),
            encryption_key: self.encryption_key.clone(),
        };
        let wanted = Self::wanted(bucket, &inputs, Labels::new());
        let mut fields = Map::from_iter(self.oddities(&wanted).map(|(key, how)| (key.to_owned(), json!(how))));
        let strangers = self.policy.strangers();
        if !strangers.is_empty() {
            fields.insert("open_to".to_owned(), json!(strangers));
        }
        fields.insert("account".to_owned(), json!(inputs.account));
        fields.insert("region".to_owned(), json!(inputs.region));
        fields.insert("audit_days".to_owned(), json!(inputs.audit_days));
        fields.insert("access_log".to_owned(), json!(inputs.access_log));
        fields.extend(inputs.encryption_key.map(|key| ("encryption_key".to_owned(), json!(key))));
        Value::Object(fields)
    }

    fn oddities(&self, wanted: &Self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let settings = [
            ("uniform_access", "off", self.is_uniform),
            ("public_access_prevention", "off", self.is_never_public),
            ("versioning", "off", self.is_versioned),
            ("soft_delete", "on", !self.keeps_removed),
            ("retention", "on", !self.retains),
            ("lifecycle", "other", lifecycle::are_same(&self.lifecycle, &wanted.lifecycle)),
            ("access_log_target", "other", self.access_log == wanted.access_log),
            ("access_log_writer", "none", self.may_log),
            ("labels", "incomplete", labels::is_complete(&self.labels)),
        ];
        settings.into_iter().filter(|(.., is_well)| !is_well).map(|(key, how, _)| (key, how))
    }
}

/// Where the log of a bucket lies: in itself, under a prefix of its own.
fn own_log(bucket: &str) -> (String, String) {
    (bucket.to_owned(), format!("{}usage", KEPT[1]))
}

fn log_binding() -> [Binding; 1] {
    [Binding::new(LOG_ROLE, LOG_WRITER, None)]
}

/// None: there is no such bucket.
pub async fn described(gcp: &Gcp, bucket: &str) -> Result<Option<Described>, ProviderError> {
    let what = format!("looking at {bucket}");
    let call = gcp.rest.call(Host::Storage, Method::GET, &["storage", "v1", "b", bucket], &[]);
    found(gcp.rest.look(&what, call).await)?.map(|answer| answer.json(&what)).transpose()
}

/// None: there is no such bucket.
pub async fn look(gcp: &Gcp, bucket: &str) -> Result<Option<Settings>, ProviderError> {
    let Some(seen) = described(gcp, bucket).await? else { return Ok(None) };
    Ok(policy::load(gcp, bucket).await?.map(|policy| Settings::of(seen, policy)))
}

/// Makes what differs as it is wanted, in one call each for the policy and for the rest; none where nothing does.
pub async fn mend(gcp: &Gcp, bucket: &str, seen: &Settings, wanted: &Settings) -> Result<(), ProviderError> {
    let policy = seen.closed(wanted);
    if policy == seen.policy {
        return patch(gcp, bucket, &seen.metageneration, wanted.patch(seen)).await;
    }
    policy::store(gcp, bucket, &policy).await?;
    // Another policy is a change of the bucket: what was seen before is not what there is.
    let not_yet = || ProviderError::new(ErrorKind::NotYet, bucket, "it does not show yet");
    let seen = look(gcp, bucket).await?.ok_or_else(not_yet)?;
    patch(gcp, bucket, &seen.metageneration, wanted.patch(&seen)).await
}

/// Ends the log: it would be written into the bucket while that is emptied.
pub async fn end_log(gcp: &Gcp, bucket: &str, seen: &Settings) -> Result<(), ProviderError> {
    match seen.access_log {
        None => Ok(()),
        Some(_) => patch(gcp, bucket, "", Map::from_iter([("logging".to_owned(), Value::Null)])).await,
    }
}

/// Sets labels; null takes one away.
pub async fn set_labels(gcp: &Gcp, bucket: &str, labels: Value) -> Result<(), ProviderError> {
    patch(gcp, bucket, "", Map::from_iter([("labels".to_owned(), labels)])).await
}

/// Only over the settings that were read, where they were.
async fn patch(gcp: &Gcp, bucket: &str, read: &str, body: Map<String, Value>) -> Result<(), ProviderError> {
    if body.is_empty() {
        return Ok(());
    }
    let over = [("ifMetagenerationMatch", read)];
    let over = if read.is_empty() { &over[..0] } else { &over[..] };
    let call = gcp.rest.call(Host::Storage, Method::PATCH, &["storage", "v1", "b", bucket], over);
    let key = body.get("encryption").and_then(|encryption| encryption["defaultKmsKeyName"].as_str()).map(str::to_owned);
    let answer = gcp.rest.act(format!("settings of {bucket}"), call.json(&Value::Object(body))).await;
    match answer.map_err(|denied| with_grant(denied, Encrypts::Bucket, key.as_deref(), &gcp.project)) {
        Err(denied) if denied.why == Why::Unmet => Err(ProviderError { kind: ErrorKind::NotYet, ..denied.error }),
        answer => Ok(answer.map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audited() -> BucketInputs {
        BucketInputs {
            account: "p".to_owned(),
            region: "europe-west4".to_owned(),
            audit_days: Some(2192),
            access_log: true,
            encryption_key: None,
        }
    }

    fn keyed() -> BucketInputs {
        let key = "projects/k/locations/europe-west4/keyRings/r/cryptoKeys/k";
        BucketInputs { encryption_key: Some(key.to_owned()), ..audited() }
    }

    fn plain() -> BucketInputs {
        BucketInputs { audit_days: None, access_log: false, ..audited() }
    }

    fn marked() -> Labels {
        labels::ALL.map(|label| (label.to_owned(), "x".to_owned())).into()
    }

    /// As Cloud Storage shows what was sent.
    fn shown(wanted: &Settings) -> Settings {
        let mut body = wanted.body();
        body.insert("location".to_owned(), json!("EUROPE-WEST4"));
        body.insert("metageneration".to_owned(), json!("1"));
        let policy = Policy::default().giving(LOG_WRITER, &log_binding());
        Settings::of(serde_json::from_value(Value::Object(body)).unwrap(), policy)
    }

    #[test]
    fn a_bucket_as_it_is_made_shows_its_inputs_only_and_needs_no_change() {
        for inputs in [audited(), plain(), keyed()] {
            let wanted = Settings::wanted("b", &inputs, marked());
            let seen = shown(&wanted);
            assert_eq!(seen.observed("b", "p"), serde_json::to_value(inputs).unwrap());
            assert!(wanted.patch(&seen).is_empty(), "{:?}", wanted.patch(&seen));
        }
    }

    #[test]
    fn each_protection_that_is_off_shows_and_is_all_that_changes() {
        let off = json!({"name": "b", "location": "EUROPE-WEST4", "metageneration": "7",
            "softDeletePolicy": {"retentionDurationSeconds": "604800", "effectiveTime": "2026-11-26T00:00:00Z"},
            "retentionPolicy": {"retentionPeriod": "60"}, "logging": {"logBucket": "other", "logObjectPrefix": ""}});
        let open = Policy::default().giving("allUsers", &[Binding::new(LOG_ROLE, "allUsers", None)]);
        let seen = Settings::of(serde_json::from_value(off).unwrap(), open);
        let expected = json!({"account": "p", "region": "europe-west4", "audit_days": null, "access_log": false,
            "uniform_access": "off", "public_access_prevention": "off", "versioning": "off", "soft_delete": "on",
            "retention": "on", "lifecycle": "other", "access_log_target": "other", "access_log_writer": "none",
            "labels": "incomplete", "open_to": ["allUsers"]});
        assert!(seen.closed(&Settings::wanted("b", &plain(), marked())).bindings.is_empty());
        assert_eq!(seen.observed("b", "p"), expected);
        let wanted = Settings::wanted("b", &plain(), marked());
        let mut once = shown(&wanted);
        once.is_versioned = false;
        let patch = wanted.patch(&once);
        assert_eq!(Value::Object(patch), json!({"versioning": {"enabled": true}}));
        assert_eq!(wanted.patch(&seen)["logging"], Value::Null, "what is not wanted is taken away");
    }

    #[test]
    fn a_key_of_the_users_own_is_set_changed_and_taken_away_in_place() {
        let [own, googles] = [keyed(), audited()].map(|inputs| Settings::wanted("b", &inputs, marked()));
        let key = json!({"defaultKmsKeyName": keyed().encryption_key});
        assert_eq!((own.body().get("encryption"), googles.body().get("encryption")), (Some(&key), None));
        assert_eq!(Value::Object(own.patch(&shown(&googles))), json!({"encryption": key}));
        assert_eq!(Value::Object(googles.patch(&shown(&own))), json!({"encryption": null}));
        let seen = shown(&googles).observed("b", "p");
        assert_eq!(seen.get("encryption_key"), None, "{seen}");
    }

    #[test]
    fn nothing_of_a_secret_is_left_when_it_is_removed() {
        let body = Settings::wanted("b", &plain(), marked()).body();
        assert_eq!(body["softDeletePolicy"], json!({"retentionDurationSeconds": "0"}));
        assert!(!body.contains_key("logging") && !body.contains_key("retentionPolicy"));
        let logged = Settings::wanted("b", &audited(), marked()).body();
        assert_eq!(logged["logging"], json!({"logBucket": "b", "logObjectPrefix": "access-log/usage"}));
    }
}
