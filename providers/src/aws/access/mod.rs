//! What the machine may do: a role with one policy, and the instance profile that hands it to the machine.
//!
//! Beside them what all policies and tags share: the partition of ARNs, whether two policies are the same, which characters a
//! tag takes.

pub mod instance_profile;
pub mod role;

use engine::provider::ProviderError;
use serde_json::Value;
use spec::id::DeploymentName;

use super::auth::Services;
use super::error::{failed, found};
use super::{kind, tags};

/// Roles and instance profiles are under it, so that ours can be listed.
pub(super) const PATH: &str = "/dsctl/";
/// What IAM and S3 take in a tag's value besides letters and digits.
const TAG_MARKS: &str = " _.:/=+-@";
const LONGEST_TAG: usize = 256;

/// All that a call lists, page by page.
macro_rules! all {
    ($call:expr) => {
        $call.into_paginator().items().send().collect::<Result<Vec<_>, _>>()
    };
}
pub(super) use all;

/// Kind, name and tags of one thing.
type Tagged = (&'static str, String, Vec<(String, String)>);

/// What carries the tag of a deployment, or of this one.
pub async fn owned(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let (roles, profiles) = futures::try_join!(roles(look), instance_profiles(look))?;
    Ok(roles.into_iter().chain(profiles).filter(|(_, _, tags)| is_of(tags, deployment)).collect())
}

fn is_of(tags: &[(String, String)], deployment: Option<&DeploymentName>) -> bool {
    let tag = tags.iter().find(|(key, _)| key == tags::DEPLOYMENT);
    tag.is_some_and(|(_, value)| deployment.is_none_or(|wanted| wanted.as_str() == value))
}

async fn roles(look: &Services) -> Result<Vec<Tagged>, ProviderError> {
    let roles = all!(look.iam.list_roles().path_prefix(PATH)).await.map_err(failed("looking for roles"))?;
    let mut found_all = Vec::new();
    for role in &roles {
        let name = role.role_name();
        // The list itself shows no tags; what went since is passed over.
        let tags = found(format!("tags of {name}"), all!(look.iam.list_role_tags().role_name(name)).await)?;
        found_all.extend(tags.map(|tags| (kind::ROLE, name.to_owned(), pairs(&tags))));
    }
    Ok(found_all)
}

async fn instance_profiles(look: &Services) -> Result<Vec<Tagged>, ProviderError> {
    let profiles = all!(look.iam.list_instance_profiles().path_prefix(PATH)).await;
    let mut found_all = Vec::new();
    for profile in &profiles.map_err(failed("looking for instance profiles"))? {
        let name = profile.instance_profile_name();
        let answer = look.iam.get_instance_profile().instance_profile_name(name).send().await;
        let answer = found(format!("tags of {name}"), answer)?;
        let tags = answer.as_ref().and_then(|answer| answer.instance_profile()).map(|profile| pairs(profile.tags()));
        found_all.extend(tags.map(|tags| (kind::INSTANCE_PROFILE, name.to_owned(), tags)));
    }
    Ok(found_all)
}

fn pairs(tags: &[aws_sdk_iam::types::Tag]) -> Vec<(String, String)> {
    tags.iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}

/// The tags of what an intent makes, as IAM takes them.
pub(super) fn iam_tags(mark: &tags::Mark<'_>) -> Result<Vec<aws_sdk_iam::types::Tag>, ProviderError> {
    let tag =
        |(key, value): (&str, String)| aws_sdk_iam::types::Tag::builder().key(key).value(tag_value(&value)).build();
    let tags = mark.pairs().into_iter().map(tag).collect::<Result<_, _>>();
    tags.map_err(|error| ProviderError::permanent(mark.address, error))
}

/// A caller's ARN may hold what a tag does not take, e.g. a comma in the name of a session.
pub(super) fn tag_value(value: &str) -> String {
    let allowed = |mark: char| if mark.is_alphanumeric() || TAG_MARKS.contains(mark) { mark } else { '_' };
    value.chars().take(LONGEST_TAG).map(allowed).collect()
}

/// The second part of every ARN of a region.
pub fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// Whether two policies mean the same: AWS writes lists of one as their element, and lists in an order of its own.
pub(super) fn same_policy(one: &Value, other: &Value) -> bool {
    canonical(one) == canonical(other)
}

fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(all) if all.len() == 1 => canonical(&all[0]),
        Value::Array(all) => {
            let mut all: Vec<Value> = all.iter().map(canonical).collect();
            all.sort_by_key(Value::to_string);
            Value::Array(all)
        }
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), canonical(value))).collect(),
        plain => plain.clone(),
    }
}

/// A policy as IAM hands it out: percent-encoded JSON (RFC 3986). None if it is no policy.
fn decoded(document: &str) -> Option<Value> {
    serde_json::from_slice(&percent_decoded(document)).ok()
}

pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let encoded = (*first == b'%').then(|| others.get(..2)).flatten().and_then(|two| hex::decode(two).ok());
        bytes.push(encoded.as_ref().map_or(*first, |byte| byte[0]));
        rest = if encoded.is_some() { &others[2..] } else { others };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_partition_has_its_regions() {
        assert_eq!(partition("eu-west-1"), "aws");
        assert_eq!(partition("cn-north-1"), "aws-cn");
        assert_eq!(partition("us-gov-west-1"), "aws-us-gov");
    }

    #[test]
    fn the_order_of_a_list_and_a_list_of_one_do_not_count() {
        let one = json!({"Statement": [{"Action": "s3:GetObject", "Resource": ["b", "a"]}]});
        let other = json!({"Statement": {"Action": ["s3:GetObject"], "Resource": ["a", "b"]}});
        assert!(same_policy(&one, &other));
        assert!(!same_policy(&one, &json!({"Statement": {"Action": "s3:*", "Resource": ["a", "b"]}})));
    }

    #[test]
    fn what_iam_encodes_is_decoded() {
        assert_eq!(decoded("%7B%22a%22%3A%20%22%C3%A4%2F*%22%7D"), Some(json!({"a": "ä/*"})));
        assert_eq!(decoded("{\"a\": 1}"), Some(json!({"a": 1})), "and what is plain stays plain");
        assert_eq!(decoded("%7"), None);
    }

    #[test]
    fn a_tag_holds_only_what_it_may() {
        let arn = "arn:aws:sts::123456789012:assumed-role/admin/jane@example.com";
        assert_eq!(tag_value(arn), arn);
        assert_eq!(tag_value("a,b"), "a_b");
        assert_eq!(tag_value(&"x".repeat(300)).len(), 256);
    }
}
