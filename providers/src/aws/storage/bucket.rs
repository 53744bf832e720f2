//! `bucket.main`: private, versioned, encrypted, TLS only. Its id is its name, which holds the token.
//!
//! Where audit records are to be kept for longer than the deployment lives, the bucket outlives it with nothing else in it.

use async_trait::async_trait;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;
use spec::id::DeploymentName;

use super::emptying::{Doomed, abort_uploads, has_any, remove_versions};
use super::lifecycle::{self, KEPT};
use super::settings::{self, Place, Settings, Tags};
use crate::aws::access::tag_value;
use crate::aws::auth::{Aws, Making, Services, inputs, owner};
use crate::aws::error::{done_or, failed, found, gone};
use crate::aws::kind::{self, BucketInputs};
use crate::aws::resource::Calls;
use crate::aws::tags::{self, Mark};

const PREFIX: &str = "dsctl-";
/// The longest name that S3 takes; IAM takes one more.
const LONGEST: usize = 63;
const LONGEST_TOKEN: usize = 32;
/// What the engine's tokens have at least: a shorter end of a name is somebody else's word.
const SHORTEST_TOKEN: usize = 16;
/// The one region that has no location constraint.
const FIRST_REGION: &str = "us-east-1";
/// On a bucket that outlives its deployment, whose name it holds.
const KEPT_OF: &str = "dsctl:kept";
/// Days after which its last objects go by themselves.
const KEPT_DAYS: &str = "dsctl:kept-until-days";
const OWNERSHIP: [&str; 6] = [tags::NAME, tags::DEPLOYMENT, tags::ADDRESS, tags::TOKEN, tags::LINEAGE, tags::OWNER];

/// `dsctl-DEPLOYMENT-TOKEN`: the token makes it the only one in the world. Roles and instance profiles are called so too.
pub fn name(deployment: &DeploymentName, token: &Token) -> String {
    let plain = token.0.chars().filter(char::is_ascii_alphanumeric).take(LONGEST_TOKEN);
    let token = plain.collect::<String>().to_ascii_lowercase();
    let room = LONGEST - PREFIX.len() - 1 - token.len();
    let deployment = deployment.as_str();
    let deployment = deployment.get(..room).unwrap_or(deployment).trim_end_matches('-');
    format!("{PREFIX}{deployment}-{token}")
}

/// Deployment and token of a name; none if it is not one of ours.
fn parts(name: &str) -> Option<(&str, &str)> {
    let (deployment, token) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
    let is_token = token.len() >= SHORTEST_TOKEN && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_token && !deployment.is_empty()).then_some((deployment, token))
}

#[derive(Debug)]
pub struct Bucket;

#[async_trait]
impl Calls for Bucket {
    async fn read(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<Option<Value>, ProviderError> {
        let bucket = &resource.remote_id.0;
        let Some(seen) = living(aws, bucket).await? else { return Ok(None) };
        Ok(Some(Place::of(aws, bucket).await?.observed(&seen)))
    }

    /// The name has the token: it is proof enough where the tags are missing.
    async fn find(
        &self,
        aws: &Aws,
        _address: &Address,
        token: &Token,
        _known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let name = name(&aws.deployment, token);
        let tags = settings::tags(&aws.look.s3, &name).await?;
        Ok(tags.filter(|tags| !tags.contains_key(KEPT_OF)).map(|_| RemoteId(name)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let name = name(&aws.deployment, making.token);
        let tags = settings::to_s3(&name, aws.mark(making).await?.pairs())?;
        let region = (aws.region != FIRST_REGION).then(|| BucketLocationConstraint::from(aws.region.as_str()));
        let configuration = CreateBucketConfiguration::builder().set_location_constraint(region).set_tags(Some(tags));
        let call = aws.act.s3.create_bucket().bucket(&name).create_bucket_configuration(configuration.build());
        done_or(&making.desired.address, &["BucketAlreadyOwnedByYou"], call.send().await)?;
        Ok(RemoteId(name))
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: BucketInputs = inputs(desired)?;
        let not_yet = || ProviderError::new(ErrorKind::NotYet, &desired.address, "it does not show yet");
        let seen = living(aws, &id.0).await?.ok_or_else(not_yet)?;
        let tags = wanted_tags(aws, &id.0, &seen.tags, desired, known).await?;
        let wanted = Place::of(aws, &id.0).await?.wanted(&inputs, tags);
        settings::mend(aws, &id.0, &seen, &wanted).await?;
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let bucket = &resource.remote_id.0;
        let Some(seen) = living(aws, bucket).await? else { return Ok(()) };
        abort_uploads(aws, bucket).await?;
        if let Some(days) = audit_days(&resource.inputs, &seen)
            && has_records(aws, bucket).await?
        {
            return keep(aws, bucket, &seen.tags, days).await;
        }
        if seen.access_log.is_some() {
            // It would be written into the bucket while that is emptied.
            settings::set_access_log(aws, bucket, None).await?;
        }
        remove_versions(aws, bucket, Doomed::Everything).await?;
        remove(aws, bucket).await
    }
}

/// The bucket, unless it is gone or only kept for its records.
async fn living(aws: &Aws, bucket: &str) -> Result<Option<Settings>, ProviderError> {
    Ok(settings::look(&aws.look.s3, bucket).await?.filter(|seen| !seen.tags.contains_key(KEPT_OF)))
}

/// Ours as they are always made, over what somebody else put beside them. An update is given no token: the tags have it, or
/// the name.
async fn wanted_tags(
    aws: &Aws,
    bucket: &str,
    seen: &Tags,
    desired: &Desired,
    known: &Known,
) -> Result<Tags, ProviderError> {
    let by_name = || parts(bucket).map(|(_, token)| token.to_owned());
    let token = Token(seen.get(tags::TOKEN).cloned().or_else(by_name).unwrap_or_default());
    let owner = match seen.get(tags::OWNER) {
        Some(owner) => owner,
        None => owner(&aws.identity().await?.caller),
    };
    let (deployment, address, lineage) = (&aws.deployment, &desired.address, known.lineage.as_str());
    let mark = Mark { deployment, address, token: &token, lineage, owner };
    let ours = mark.pairs().into_iter().map(|(key, value)| (key.to_owned(), tag_value(&value)));
    Ok(seen.clone().into_iter().chain(ours).collect())
}

/// As recorded; of a bucket that no state knows, as its rules have it.
fn audit_days(recorded: &Value, seen: &Settings) -> Option<u64> {
    match recorded.get("audit_days") {
        Some(days) => days.as_u64(),
        None => lifecycle::audit_days(&seen.lifecycle).map(u64::from),
    }
}

async fn has_records(aws: &Aws, bucket: &str) -> Result<bool, ProviderError> {
    for prefix in KEPT {
        if has_any(aws, bucket, prefix).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Leaves the bucket with its records alone. The tags come last: until then it is found and gone through again.
async fn keep(aws: &Aws, bucket: &str, seen: &Tags, days: u64) -> Result<(), ProviderError> {
    // A log of accesses to itself would be its own cause for ever.
    settings::set_access_log(aws, bucket, None).await?;
    remove_versions(aws, bucket, Doomed::AllButRecords).await?;
    settings::set_tags(aws, bucket, &kept_tags(seen, aws.deployment.as_str(), days)).await
}

fn kept_tags(seen: &Tags, deployment: &str, days: u64) -> Tags {
    let others = seen.iter().filter(|(key, _)| !OWNERSHIP.contains(&key.as_str()));
    let kept = [(KEPT_OF, deployment.to_owned()), (KEPT_DAYS, days.to_string())];
    let kept = kept.map(|(key, value)| (key.to_owned(), value));
    others.map(|(key, value)| (key.clone(), value.clone())).chain(kept).collect()
}

async fn remove(aws: &Aws, bucket: &str) -> Result<(), ProviderError> {
    let what = format!("removing {bucket}");
    match aws.act.s3.delete_bucket().bucket(bucket).send().await {
        // Something came in since it was emptied: an access log comes hours late.
        Err(error) if error.code() == Some("BucketNotEmpty") => {
            Err(ProviderError::new(ErrorKind::NotYet, what, "it is not empty any more"))
        }
        answer => gone(what, answer),
    }
}

/// Name and tags of each bucket in the client's region that belongs to a deployment, or to this one.
pub async fn owned(
    look: &Services,
    deployment: Option<&DeploymentName>,
) -> Result<Vec<(String, Vec<(String, String)>)>, ProviderError> {
    let mut owned = Vec::new();
    for name in in_region(look).await? {
        let Some(mut tags) = settings::tags(&look.s3, &name).await? else { continue };
        if tags.is_empty() {
            // Made a moment ago, or by a create that was interrupted before it was tagged.
            tags = tags_of_name(&name);
        }
        if let (Some(of), None) = (tags.get(KEPT_OF).cloned(), deployment) {
            // Nobody's any more, and yet somebody pays for it.
            tags.insert(tags::DEPLOYMENT.to_owned(), format!("{of} (kept)"));
        }
        let of = tags.get(tags::DEPLOYMENT);
        if of.is_some_and(|of| deployment.is_none_or(|wanted| wanted.as_str() == of)) {
            owned.push((name, tags.into_iter().collect()));
        }
    }
    Ok(owned)
}

/// What a name tells; nothing if it is not one of ours.
fn tags_of_name(name: &str) -> Tags {
    let Some((deployment, token)) = parts(name) else { return Tags::new() };
    let address = Address::new(kind::BUCKET, "main").to_string();
    let told = [(tags::DEPLOYMENT, deployment.to_owned()), (tags::TOKEN, token.to_owned()), (tags::ADDRESS, address)];
    told.map(|(key, value)| (key.to_owned(), value)).into()
}

/// Those whose name begins as ours do. S3 lists every region's unless it is asked not to, and not every S3 listens.
async fn in_region(look: &Services) -> Result<Vec<String>, ProviderError> {
    let region = look.s3.config().region().map(ToString::to_string).unwrap_or_default();
    let call = look.s3.list_buckets().prefix(PREFIX).bucket_region(&region);
    let all = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let mut here = Vec::new();
    for bucket in all.map_err(failed("looking for buckets"))? {
        let Some(name) = bucket.name().filter(|name| name.starts_with(PREFIX)) else { continue };
        let found_in = match bucket.bucket_region() {
            Some(region) => Some(region.to_owned()),
            None => region_of(look, name).await?,
        };
        if found_in.as_ref() == Some(&region) {
            here.push(name.to_owned());
        }
    }
    Ok(here)
}

async fn region_of(look: &Services, bucket: &str) -> Result<Option<String>, ProviderError> {
    let answer = look.s3.get_bucket_location().bucket(bucket).send().await;
    let answer = found(format!("region of {bucket}"), answer)?;
    Ok(answer.map(|answer| region_named(answer.location_constraint().map(|it| it.as_str())).to_owned()))
}

/// Names from before there were regions.
fn region_named(constraint: Option<&str>) -> &str {
    match constraint {
        None | Some("") => FIRST_REGION,
        Some("EU") => "eu-west-1",
        Some(region) => region,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(name: &str) -> DeploymentName {
        name.parse().unwrap()
    }

    #[test]
    fn a_name_holds_deployment_and_token_and_fits() {
        let token = Token("00ff00ff00ff00ff".to_owned());
        assert_eq!(name(&deployment("default"), &token), "dsctl-default-00ff00ff00ff00ff");
        assert_eq!(parts("dsctl-default-00ff00ff00ff00ff"), Some(("default", "00ff00ff00ff00ff")));
        let longest = deployment(&"a".repeat(40));
        let made = name(&longest, &token);
        assert_eq!(made.len(), LONGEST);
        assert_eq!(parts(&made), Some((longest.as_str(), token.0.as_str())), "nothing was cut");
        let uuid = Token("0B6A5C3E-9F0A-4E7C-8F51-1A2B3C4D5E6F".to_owned());
        assert_eq!(name(&deployment("a"), &uuid), "dsctl-a-0b6a5c3e9f0a4e7c8f511a2b3c4d5e6f");
        assert_eq!(name(&longest, &uuid).len(), LONGEST);
    }

    #[test]
    fn a_name_of_somebody_else_tells_nothing() {
        for name in ["dsctl-my-models", "dsctl-00ff00ff00ff00ff", "logs-00ff00ff00ff00ff"] {
            assert!(tags_of_name(name).is_empty(), "{name}");
        }
        let tags = tags_of_name("dsctl-a-b-00ff00ff00ff00ff");
        assert_eq!(tags.get(tags::DEPLOYMENT).map(String::as_str), Some("a-b"));
        assert_eq!(tags.get(tags::ADDRESS).map(String::as_str), Some("bucket.main"));
    }

    #[test]
    fn a_kept_bucket_is_nobodys_but_keeps_what_others_put_on_it() {
        let mut seen = tags_of_name("dsctl-a-00ff00ff00ff00ff");
        seen.insert("cost-centre".to_owned(), "7".to_owned());
        let kept = kept_tags(&seen, "a", 2192);
        assert!(!kept.contains_key(tags::DEPLOYMENT));
        assert_eq!(kept.get("cost-centre").map(String::as_str), Some("7"));
        assert_eq!(kept.get(KEPT_DAYS).map(String::as_str), Some("2192"));
    }

    #[test]
    fn regions_have_old_names() {
        assert_eq!([None, Some("EU"), Some("eu-north-1")].map(region_named), ["us-east-1", "eu-west-1", "eu-north-1"]);
    }
}
