//! What a bucket is set to: what S3 shows and what we want, in one shape, and the calls that lead from one to the other.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketLoggingStatus, BucketVersioningStatus, LoggingEnabled, ObjectOwnership,
    OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag, Tagging,
    VersioningConfiguration,
};
use engine::provider::ProviderError;
use serde_json::{Map, Value, json};

use super::lifecycle::{self, KEPT, Rule};
use crate::aws::access::{partition, same_policy, tag_value};
use crate::aws::auth::Aws;
use crate::aws::error::{failed, found};
use crate::aws::kind::BucketInputs;
use crate::aws::tags;

/// What S3 says of a setting that was never made.
const UNSET: [&str; 5] = [
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
];
/// The tags without which a bucket is not found again.
const NEEDED: [&str; 4] = [tags::DEPLOYMENT, tags::ADDRESS, tags::TOKEN, tags::LINEAGE];

pub type Tags = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub tags: Tags,
    pub blocks_public_access: bool,
    /// No access lists: what is in the bucket belongs to its owner.
    pub owner_enforced: bool,
    pub encrypted: bool,
    pub versioned: bool,
    pub policy: Option<Value>,
    pub lifecycle: BTreeSet<Rule>,
    /// Bucket and prefix.
    pub access_log: Option<(String, String)>,
}

/// What the settings of a bucket depend on besides its inputs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    bucket: &'a str,
    region: &'a str,
    account: &'a str,
}

impl<'a> Place<'a> {
    pub async fn of(aws: &'a Aws, bucket: &'a str) -> Result<Self, ProviderError> {
        Ok(Self { bucket, region: &aws.region, account: &aws.identity().await?.account })
    }

    /// How such a bucket is always set. Pure.
    pub fn wanted(&self, inputs: &BucketInputs, tags: Tags) -> Settings {
        Settings {
            tags,
            blocks_public_access: true,
            owner_enforced: true,
            encrypted: true,
            versioned: true,
            policy: Some(self.policy(inputs)),
            lifecycle: lifecycle::rules(inputs.audit_days),
            access_log: inputs.access_log.then(|| self.own_log()),
        }
    }

    fn own_log(&self) -> (String, String) {
        (self.bucket.to_owned(), KEPT[1].to_owned())
    }

    fn policy(&self, inputs: &BucketInputs) -> Value {
        let arn = format!("arn:{}:s3:::{}", partition(self.region), self.bucket);
        let tls_only = json!({
            "Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
            "Resource": [arn, format!("{arn}/*")], "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        });
        let log = json!({
            "Sid": "AccessLog", "Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Action": "s3:PutObject", "Resource": format!("{arn}/{}*", KEPT[1]),
            "Condition": {"StringEquals": {"aws:SourceAccount": self.account}},
        });
        let statements: Vec<Value> = [tls_only].into_iter().chain(inputs.access_log.then_some(log)).collect();
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// In the shape of [`BucketInputs`]; what is not as wanted shows as a further key. Pure.
    pub fn observed(&self, seen: &Settings) -> Value {
        let access_log = seen.access_log.as_ref() == Some(&self.own_log());
        let region = self.region.to_owned();
        let inputs = BucketInputs {
            account: self.account.to_owned(),
            region,
            audit_days: lifecycle::audit_days(&seen.lifecycle),
            access_log,
        };
        let wanted = self.wanted(&inputs, seen.tags.clone());
        let mut fields = Map::from_iter(seen.oddities(&wanted).map(|(key, how)| (key.to_owned(), json!(how))));
        fields.insert("account".to_owned(), json!(inputs.account));
        fields.insert("region".to_owned(), json!(inputs.region));
        fields.insert("audit_days".to_owned(), json!(inputs.audit_days));
        fields.insert("access_log".to_owned(), json!(inputs.access_log));
        Value::Object(fields)
    }
}

impl Settings {
    fn oddities(&self, wanted: &Self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let is_marked = NEEDED.iter().all(|tag| self.tags.contains_key(*tag));
        let settings = [
            ("public_access_block", "off", self.blocks_public_access),
            ("ownership", "off", self.owner_enforced),
            ("encryption", "off", self.encrypted),
            ("versioning", "off", self.versioned),
            ("policy", "other", same(self.policy.as_ref(), wanted.policy.as_ref())),
            ("lifecycle", "other", self.lifecycle == wanted.lifecycle),
            ("access_log_target", "other", self.access_log == wanted.access_log),
            ("tags", "incomplete", is_marked),
        ];
        settings.into_iter().filter(|(.., is_well)| !is_well).map(|(key, how, _)| (key, how))
    }
}

fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => same_policy(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// None also for what was never set.
fn set<T, E>(bucket: &str, answer: Result<T, SdkError<E, HttpResponse>>) -> Result<Option<T>, ProviderError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Err(error) if error.code().is_some_and(|code| UNSET.contains(&code)) => Ok(None),
        answer => found(format!("looking at {bucket}"), answer),
    }
}

/// None: there is no such bucket.
pub async fn tags(s3: &Client, bucket: &str) -> Result<Option<Tags>, ProviderError> {
    match s3.get_bucket_tagging().bucket(bucket).send().await {
        Err(error) if error.code() == Some("NoSuchTagSet") => Ok(Some(Tags::new())),
        answer => {
            let answer = found(format!("tags of {bucket}"), answer)?;
            let pair = |tag: &Tag| (tag.key().to_owned(), tag.value().to_owned());
            Ok(answer.map(|answer| answer.tag_set().iter().map(pair).collect()))
        }
    }
}

/// All settings, side by side; none if there is no such bucket.
pub async fn look(s3: &Client, bucket: &str) -> Result<Option<Settings>, ProviderError> {
    let Some(tags) = tags(s3, bucket).await? else { return Ok(None) };
    let (blocks_public_access, owner_enforced, encrypted, versioned, policy, lifecycle, access_log) = futures::try_join!(
        blocks_public_access(s3, bucket),
        is_owner_enforced(s3, bucket),
        is_encrypted(s3, bucket),
        is_versioned(s3, bucket),
        policy(s3, bucket),
        rules(s3, bucket),
        access_log(s3, bucket),
    )?;
    Ok(Some(Settings {
        tags,
        blocks_public_access,
        owner_enforced,
        encrypted,
        versioned,
        policy,
        lifecycle,
        access_log,
    }))
}

async fn blocks_public_access(s3: &Client, bucket: &str) -> Result<bool, ProviderError> {
    let answer = set(bucket, s3.get_public_access_block().bucket(bucket).send().await)?;
    let block = answer.as_ref().and_then(|answer| answer.public_access_block_configuration());
    Ok(block.is_some_and(|it| {
        let all =
            [it.block_public_acls(), it.block_public_policy(), it.ignore_public_acls(), it.restrict_public_buckets()];
        all == [Some(true); 4]
    }))
}

async fn is_owner_enforced(s3: &Client, bucket: &str) -> Result<bool, ProviderError> {
    let answer = set(bucket, s3.get_bucket_ownership_controls().bucket(bucket).send().await)?;
    let rules = answer.as_ref().and_then(|answer| answer.ownership_controls()).map(|controls| controls.rules());
    let first = rules.and_then(<[OwnershipControlsRule]>::first);
    Ok(first.is_some_and(|rule| *rule.object_ownership() == ObjectOwnership::BucketOwnerEnforced))
}

/// With S3's own keys: one of KMS is of no use to the machine, whose role may not use it.
async fn is_encrypted(s3: &Client, bucket: &str) -> Result<bool, ProviderError> {
    let answer = set(bucket, s3.get_bucket_encryption().bucket(bucket).send().await)?;
    let configuration = answer.as_ref().and_then(|answer| answer.server_side_encryption_configuration());
    let rule = configuration.and_then(|it| it.rules().first());
    let by_default = rule.and_then(ServerSideEncryptionRule::apply_server_side_encryption_by_default);
    Ok(by_default.is_some_and(|it| *it.sse_algorithm() == ServerSideEncryption::Aes256))
}

async fn is_versioned(s3: &Client, bucket: &str) -> Result<bool, ProviderError> {
    let answer = set(bucket, s3.get_bucket_versioning().bucket(bucket).send().await)?;
    Ok(answer.is_some_and(|answer| answer.status() == Some(&BucketVersioningStatus::Enabled)))
}

async fn policy(s3: &Client, bucket: &str) -> Result<Option<Value>, ProviderError> {
    let answer = set(bucket, s3.get_bucket_policy().bucket(bucket).send().await)?;
    // One that can't be read is there all the same.
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or_default();
    Ok(answer.as_ref().and_then(|answer| answer.policy()).map(parsed))
}

async fn rules(s3: &Client, bucket: &str) -> Result<BTreeSet<Rule>, ProviderError> {
    let answer = set(bucket, s3.get_bucket_lifecycle_configuration().bucket(bucket).send().await)?;
    Ok(answer.map(|answer| answer.rules().iter().map(Rule::of).collect()).unwrap_or_default())
}

async fn access_log(s3: &Client, bucket: &str) -> Result<Option<(String, String)>, ProviderError> {
    let answer = set(bucket, s3.get_bucket_logging().bucket(bucket).send().await)?;
    let enabled = answer.as_ref().and_then(|answer| answer.logging_enabled());
    Ok(enabled.map(|it| (it.target_bucket().to_owned(), it.target_prefix().to_owned())))
}

/// Makes what differs as it is wanted; no call for what does not.
pub async fn mend(aws: &Aws, bucket: &str, seen: &Settings, wanted: &Settings) -> Result<(), ProviderError> {
    if seen.tags != wanted.tags {
        set_tags(aws, bucket, &wanted.tags).await?;
    }
    if !seen.blocks_public_access {
        block_public_access(aws, bucket).await?;
    }
    if !seen.owner_enforced {
        enforce_owner(aws, bucket).await?;
    }
    if !seen.encrypted {
        encrypt(aws, bucket).await?;
    }
    if !seen.versioned {
        keep_versions(aws, bucket).await?;
    }
    if !same(seen.policy.as_ref(), wanted.policy.as_ref()) {
        set_policy(aws, bucket, wanted.policy.as_ref()).await?;
    }
    if seen.lifecycle != wanted.lifecycle {
        set_lifecycle(aws, bucket, &wanted.lifecycle).await?;
    }
    // After the policy, which lets the log in.
    if seen.access_log != wanted.access_log {
        set_access_log(aws, bucket, wanted.access_log.as_ref()).await?;
    }
    Ok(())
}

fn unbuilt(bucket: &str) -> impl Fn(BuildError) -> ProviderError + '_ {
    move |error| ProviderError::permanent(bucket, error)
}

/// As S3 takes them.
pub fn to_s3<K: Into<String>>(
    bucket: &str,
    tags: impl IntoIterator<Item = (K, String)>,
) -> Result<Vec<Tag>, ProviderError> {
    let tag = |(key, value): (K, String)| Tag::builder().key(key).value(tag_value(&value)).build();
    tags.into_iter().map(tag).collect::<Result<Vec<_>, _>>().map_err(unbuilt(bucket))
}

pub async fn set_tags(aws: &Aws, bucket: &str, tags: &Tags) -> Result<(), ProviderError> {
    let tags = to_s3(bucket, tags.clone())?;
    let tagging = Tagging::builder().set_tag_set(Some(tags)).build().map_err(unbuilt(bucket))?;
    let call = aws.act.s3.put_bucket_tagging().bucket(bucket).tagging(tagging);
    call.send().await.map(drop).map_err(failed(format!("tags of {bucket}")))
}

async fn block_public_access(aws: &Aws, bucket: &str) -> Result<(), ProviderError> {
    let all = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .block_public_policy(true)
        .ignore_public_acls(true)
        .restrict_public_buckets(true)
        .build();
    let call = aws.act.s3.put_public_access_block().bucket(bucket).public_access_block_configuration(all);
    call.send().await.map(drop).map_err(failed(format!("public access of {bucket}")))
}

async fn enforce_owner(aws: &Aws, bucket: &str) -> Result<(), ProviderError> {
    let rule = OwnershipControlsRule::builder().object_ownership(ObjectOwnership::BucketOwnerEnforced).build();
    let controls = OwnershipControls::builder().rules(rule.map_err(unbuilt(bucket))?).build();
    let call = aws.act.s3.put_bucket_ownership_controls().bucket(bucket);
    let call = call.ownership_controls(controls.map_err(unbuilt(bucket))?);
    call.send().await.map(drop).map_err(failed(format!("ownership of {bucket}")))
}

async fn encrypt(aws: &Aws, bucket: &str) -> Result<(), ProviderError> {
    let by_default = ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256).build();
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(by_default.map_err(unbuilt(bucket))?)
        .build();
    let configuration = ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(unbuilt(bucket))?;
    let call = aws.act.s3.put_bucket_encryption().bucket(bucket).server_side_encryption_configuration(configuration);
    call.send().await.map(drop).map_err(failed(format!("encryption of {bucket}")))
}

async fn keep_versions(aws: &Aws, bucket: &str) -> Result<(), ProviderError> {
    let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let call = aws.act.s3.put_bucket_versioning().bucket(bucket).versioning_configuration(on);
    call.send().await.map(drop).map_err(failed(format!("versioning of {bucket}")))
}

async fn set_policy(aws: &Aws, bucket: &str, policy: Option<&Value>) -> Result<(), ProviderError> {
    let (s3, what) = (&aws.act.s3, format!("policy of {bucket}"));
    match policy {
        Some(policy) => {
            let call = s3.put_bucket_policy().bucket(bucket).policy(policy.to_string());
            call.send().await.map(drop).map_err(failed(what))
        }
        None => s3.delete_bucket_policy().bucket(bucket).send().await.map(drop).map_err(failed(what)),
    }
}

async fn set_lifecycle(aws: &Aws, bucket: &str, rules: &BTreeSet<Rule>) -> Result<(), ProviderError> {
    let rules = rules.iter().map(Rule::to_s3).collect::<Result<Vec<_>, _>>().map_err(unbuilt(bucket))?;
    let all = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().map_err(unbuilt(bucket))?;
    let call = aws.act.s3.put_bucket_lifecycle_configuration().bucket(bucket).lifecycle_configuration(all);
    call.send().await.map(drop).map_err(failed(format!("lifecycle of {bucket}")))
}

/// None ends it.
pub async fn set_access_log(aws: &Aws, bucket: &str, target: Option<&(String, String)>) -> Result<(), ProviderError> {
    let enabled = |(bucket, prefix): &(String, String)| {
        LoggingEnabled::builder().target_bucket(bucket).target_prefix(prefix).build()
    };
    let enabled = target.map(enabled).transpose().map_err(unbuilt(bucket))?;
    let status = BucketLoggingStatus::builder().set_logging_enabled(enabled).build();
    let call = aws.act.s3.put_bucket_logging().bucket(bucket).bucket_logging_status(status);
    call.send().await.map(drop).map_err(failed(format!("access log of {bucket}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { bucket: "b", region: "eu-west-1", account: "123456789012" };

    fn audited() -> BucketInputs {
        BucketInputs {
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            audit_days: Some(2192),
            access_log: true,
        }
    }

    fn plain() -> BucketInputs {
        BucketInputs { audit_days: None, access_log: false, ..audited() }
    }

    fn marked() -> Tags {
        NEEDED.map(|tag| (tag.to_owned(), "x".to_owned())).into()
    }

    #[test]
    fn a_bucket_as_it_is_made_shows_its_inputs_only() {
        for inputs in [audited(), plain()] {
            let seen = PLACE.observed(&PLACE.wanted(&inputs, marked()));
            assert_eq!(seen, serde_json::to_value(inputs).unwrap());
        }
    }

    #[test]
    fn each_protection_that_is_off_shows() {
        let off = Settings {
            tags: Tags::new(),
            blocks_public_access: false,
            owner_enforced: false,
            encrypted: false,
            versioned: false,
            policy: None,
            lifecycle: BTreeSet::new(),
            access_log: Some(("elsewhere".to_owned(), String::new())),
        };
        let expected = json!({"account": "123456789012", "region": "eu-west-1", "audit_days": null, "access_log": false, "public_access_block": "off", "ownership": "off",
            "encryption": "off", "versioning": "off", "policy": "other", "lifecycle": "other",
            "access_log_target": "other", "tags": "incomplete"});
        assert_eq!(PLACE.observed(&off), expected);
    }

    #[test]
    fn nothing_but_tls_comes_in_and_only_the_log_of_this_account() {
        let policy = PLACE.policy(&audited());
        assert_eq!(policy["Statement"][0]["Effect"], "Deny");
        assert_eq!(policy["Statement"][0]["Resource"], json!(["arn:aws:s3:::b", "arn:aws:s3:::b/*"]));
        assert_eq!(policy["Statement"][0]["Condition"], json!({"Bool": {"aws:SecureTransport": "false"}}));
        assert_eq!(policy["Statement"][1]["Resource"], "arn:aws:s3:::b/access-log/*");
        assert_eq!(policy["Statement"][1]["Condition"]["StringEquals"]["aws:SourceAccount"], "123456789012");
        assert!(PLACE.policy(&plain())["Statement"].get(1).is_none());
    }
}
