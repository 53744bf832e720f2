//! How long objects stay: what is wanted and what S3 shows, in one shape that can be compared. Pure.

use std::collections::BTreeSet;

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
    NoncurrentVersionExpiration,
};

/// What outlives the deployment where a pack asks for it.
pub const KEPT: [&str; 2] = ["audit/", "access-log/"];
/// What dsctl and the host write over and over. A rule has one prefix and no exceptions, so each has its own.
const REWRITTEN: [&str; 3] = ["artifacts/", "host/", "secrets/"];
const UPLOAD_DAYS: i32 = 7;
const OLD_VERSION_DAYS: i32 = 30;
const KEEP: &str = "dsctl-keep-";
const OLD: &str = "dsctl-old-versions-";
const UPLOADS: &str = "dsctl-uploads";

/// One rule; only what we ever set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    id: String,
    prefix: String,
    is_on: bool,
    /// After which an object is no longer current.
    object_days: Option<i32>,
    old_version_days: Option<i32>,
    upload_days: Option<i32>,
    /// Something that we never set: transitions, a filter by tag or size.
    is_strange: bool,
}

/// The rules of a bucket whose audit records are kept for so many days.
pub fn rules(audit_days: Option<u32>) -> BTreeSet<Rule> {
    let uploads = Rule { upload_days: Some(UPLOAD_DAYS), ..Rule::new(UPLOADS.to_owned(), "") };
    let old =
        REWRITTEN.map(|prefix| Rule { old_version_days: Some(OLD_VERSION_DAYS), ..Rule::new(id(OLD, prefix), prefix) });
    let days = audit_days.map(|days| i32::try_from(days).unwrap_or(i32::MAX));
    // A version that was written over is kept as long again: nobody shortens what is kept by overwriting it.
    let keep = |days| KEPT.map(|prefix| Rule::kept(prefix, days));
    let kept = days.map(keep).into_iter().flatten();
    std::iter::once(uploads).chain(old).chain(kept).collect()
}

/// Days that audit records are kept, as the rules have it.
pub fn audit_days(rules: &BTreeSet<Rule>) -> Option<u32> {
    let rule = rules.iter().find(|rule| rule.prefix == KEPT[0] && rule.is_on)?;
    rule.object_days.and_then(|days| u32::try_from(days).ok())
}

pub fn is_kept(key: &str) -> bool {
    KEPT.iter().any(|prefix| key.starts_with(prefix))
}

fn id(begin: &str, prefix: &str) -> String {
    format!("{begin}{}", prefix.trim_end_matches('/'))
}

impl Rule {
    fn new(id: String, prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self {
            id,
            prefix,
            is_on: true,
            object_days: None,
            old_version_days: None,
            upload_days: None,
            is_strange: false,
        }
    }

    fn kept(prefix: &str, days: i32) -> Self {
        Self { object_days: Some(days), old_version_days: Some(days), ..Self::new(id(KEEP, prefix), prefix) }
    }

    /// As S3 shows it.
    pub fn of(rule: &LifecycleRule) -> Self {
        let (filter, expiration) = (rule.filter(), rule.expiration());
        let old = rule.noncurrent_version_expiration();
        Self {
            id: rule.id().unwrap_or_default().to_owned(),
            prefix: filter.and_then(LifecycleRuleFilter::prefix).unwrap_or_default().to_owned(),
            is_on: *rule.status() == ExpirationStatus::Enabled,
            object_days: expiration.and_then(LifecycleExpiration::days),
            old_version_days: old.and_then(NoncurrentVersionExpiration::noncurrent_days),
            upload_days: rule.abort_incomplete_multipart_upload().and_then(|it| it.days_after_initiation()),
            is_strange: is_strange(rule),
        }
    }

    /// As S3 takes it.
    pub fn to_s3(&self) -> Result<LifecycleRule, BuildError> {
        let expiration = self.object_days.map(|days| LifecycleExpiration::builder().days(days).build());
        let old =
            self.old_version_days.map(|days| NoncurrentVersionExpiration::builder().noncurrent_days(days).build());
        let uploads =
            self.upload_days.map(|days| AbortIncompleteMultipartUpload::builder().days_after_initiation(days).build());
        LifecycleRule::builder()
            .id(&self.id)
            .filter(LifecycleRuleFilter::builder().prefix(&self.prefix).build())
            .status(ExpirationStatus::Enabled)
            .set_expiration(expiration)
            .set_noncurrent_version_expiration(old)
            .set_abort_incomplete_multipart_upload(uploads)
            .build()
    }
}

fn is_strange(rule: &LifecycleRule) -> bool {
    let filter = rule.filter();
    let by_more = filter.is_some_and(|filter| {
        let by_size = filter.object_size_greater_than().or(filter.object_size_less_than());
        filter.tag().is_some() || filter.and().is_some() || by_size.is_some()
    });
    let by_date = rule.expiration().is_some_and(|expiration| expiration.date().is_some());
    let spares = rule.noncurrent_version_expiration().is_some_and(|it| it.newer_noncurrent_versions().is_some());
    let moves = !rule.transitions().is_empty() || !rule.noncurrent_version_transitions().is_empty();
    by_more || by_date || spares || moves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back_as_the_same() {
        for audit_days in [None, Some(2192)] {
            let wanted = rules(audit_days);
            let seen: BTreeSet<Rule> = wanted.iter().map(|rule| Rule::of(&rule.to_s3().unwrap())).collect();
            assert_eq!(seen, wanted);
            assert_eq!(super::audit_days(&seen), audit_days);
        }
    }

    #[test]
    fn no_version_of_an_audit_record_goes_before_its_time() {
        for rule in rules(Some(2192)).iter().filter(|rule| is_kept(&rule.prefix)) {
            assert_eq!((rule.object_days, rule.old_version_days), (Some(2192), Some(2192)), "{rule:?}");
        }
        let everywhere = |rule: &&Rule| rule.prefix.is_empty();
        for rule in rules(Some(2192)).iter().filter(everywhere) {
            assert_eq!((rule.object_days, rule.old_version_days), (None, None), "{rule:?}");
        }
        assert!(!rules(None).iter().any(|rule| is_kept(&rule.prefix)));
    }

    #[test]
    fn a_rule_of_somebody_else_differs() {
        let mut rule = rules(None).into_iter().next().unwrap().to_s3().unwrap();
        assert!(!is_strange(&rule));
        rule.transitions = Some(vec![aws_sdk_s3::types::Transition::builder().days(1).build()]);
        assert!(is_strange(&rule));
    }
}
