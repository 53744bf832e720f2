//! `bucket.main`: private, versioned, encrypted as everything of Google's is, nothing of what is removed left behind. Its id
//! is its name, which holds the token.
//!
//! Where audit records are to be kept for longer than the deployment lives, the bucket outlives it with nothing else in it.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::emptying::{Doomed, has_any, remove_versions};
use super::lifecycle::{self, KEPT};
pub use super::settings::Described;
use super::settings::{self, Settings};
use crate::gcp::auth::{Gcp, Making, inputs};
use crate::gcp::encryption_key::{Encrypts, with_grant};
use crate::gcp::error::{Why, gone};
use crate::gcp::kind::BucketInputs;
use crate::gcp::labels::{self, Labels, Mark, Ownership, Whose};
use crate::gcp::names;
use crate::gcp::resource::{Calls, made};
use crate::gcp::rest::{Host, Rest};

/// On a bucket that outlives its deployment, whose name it holds.
const KEPT_OF: &str = "dsctl-kept";
/// Days after which its last objects go by themselves.
const KEPT_DAYS: &str = "dsctl-kept-until-days";

#[derive(Debug)]
pub struct Bucket;

#[async_trait]
impl Calls for Bucket {
    async fn read(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<Option<Value>, ProviderError> {
        let bucket = &resource.remote_id.0;
        Ok(living(gcp, bucket).await?.map(|seen| seen.observed(bucket, &gcp.project)))
    }

    async fn find(
        &self,
        gcp: &Gcp,
        _address: &Address,
        token: &Token,
        _known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let name = names::bucket(&gcp.deployment, token);
        Ok(whose(gcp, &name).await?.found_by(token, RemoteId(name)))
    }

    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: BucketInputs = making.inputs()?;
        let name = names::bucket(&gcp.deployment, making.token);
        let mut body = Settings::wanted(&name, &inputs, gcp.mark(making).labels()).body();
        // A log goes where Google may write, which it is told when the bucket is there.
        body.remove("logging");
        for (key, value) in [("name", name.as_str()), ("location", &inputs.region), ("storageClass", "STANDARD")] {
            body.insert(key.to_owned(), json!(value));
        }
        let call = gcp.rest.call(Host::Storage, Method::POST, &["storage", "v1", "b"], &[("project", &gcp.project)]);
        let key = inputs.encryption_key.as_deref();
        let answer = gcp.rest.act(&making.desired.address, call.json(&Value::Object(body))).await.map(drop);
        let answer = answer.map_err(|denied| with_grant(denied, Encrypts::Bucket, key, &gcp.project));
        made(gcp, making, RemoteId(name.clone()), answer, whose(gcp, &name)).await
    }

    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: BucketInputs = inputs(desired)?;
        let not_yet = || ProviderError::new(ErrorKind::NotYet, &desired.address, "it does not show yet");
        let seen = living(gcp, &id.0).await?.ok_or_else(not_yet)?;
        let labels = wanted_labels(gcp, &id.0, &seen.labels, desired, known);
        settings::mend(gcp, &id.0, &seen, &Settings::wanted(&id.0, &inputs, labels)).await?;
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let bucket = &resource.remote_id.0;
        let Some(seen) = living(gcp, bucket).await? else { return Ok(()) };
        settings::end_log(gcp, bucket, &seen).await?;
        if let Some(days) = audit_days(&resource.inputs, &seen)
            && has_records(gcp, bucket).await?
        {
            remove_versions(gcp, bucket, Doomed::AllButRecords).await?;
            // The labels come last: until then it is found and gone through again.
            return settings::set_labels(gcp, bucket, kept_labels(gcp.deployment.as_str(), days)).await;
        }
        remove_versions(gcp, bucket, Doomed::Everything).await?;
        remove(gcp, bucket).await
    }
}

/// The bucket, unless it is gone or only kept for its records.
async fn living(gcp: &Gcp, bucket: &str) -> Result<Option<Settings>, ProviderError> {
    Ok(settings::look(gcp, bucket).await?.filter(|seen| !seen.labels.contains_key(KEPT_OF)))
}

async fn whose(gcp: &Gcp, bucket: &str) -> Result<Whose, ProviderError> {
    let found = settings::described(gcp, bucket).await?;
    Ok(found.map_or(Whose::Absent, |bucket| Whose::labelled(&bucket.labels)))
}

/// Ours as they are always made, over what somebody else put beside them. An update is given no token: the labels have it, or
/// the end of the name.
fn wanted_labels(gcp: &Gcp, bucket: &str, seen: &Labels, desired: &Desired, known: &Known) -> Labels {
    let of_name = || bucket.rsplit('-').next().unwrap_or_default().to_owned();
    let token = Token(seen.get(labels::TOKEN).cloned().unwrap_or_else(of_name));
    let owner = seen.get(labels::OWNER).unwrap_or(&gcp.caller);
    let (deployment, address) = (&gcp.deployment, &desired.address);
    let mark = Mark { deployment, address, token: &token, lineage: &known.lineage, owner };
    seen.clone().into_iter().chain(mark.labels()).collect()
}

/// As recorded; of a bucket that no state knows, as its rules have it.
fn audit_days(recorded: &Value, seen: &Settings) -> Option<u64> {
    match recorded.get("audit_days") {
        Some(days) => days.as_u64(),
        None => lifecycle::audit_days(&seen.lifecycle).map(u64::from),
    }
}

async fn has_records(gcp: &Gcp, bucket: &str) -> Result<bool, ProviderError> {
    for prefix in KEPT {
        if has_any(gcp, bucket, prefix).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Nobody's any more: what marks a deployment's is taken away.
fn kept_labels(deployment: &str, days: u64) -> Value {
    let mut labels = Map::from_iter(labels::ALL.map(|label| (label.to_owned(), Value::Null)));
    labels.insert(KEPT_OF.to_owned(), json!(deployment));
    labels.insert(KEPT_DAYS.to_owned(), json!(days.to_string()));
    Value::Object(labels)
}

async fn remove(gcp: &Gcp, bucket: &str) -> Result<(), ProviderError> {
    let what = format!("removing {bucket}");
    let call = gcp.rest.call(Host::Storage, Method::DELETE, &["storage", "v1", "b", bucket], &[]);
    match gcp.rest.act(&what, call).await {
        // Something came in since it was emptied: an access log comes hours late.
        Err(denied) if denied.why == Why::Conflict => {
            Err(ProviderError::new(ErrorKind::NotYet, what, "it is not empty any more"))
        }
        answer => gone(answer),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Page {
    items: Vec<Described>,
    next_page_token: Option<String>,
}

/// Each bucket of the project that belongs to a deployment, or was kept when one went.
pub async fn owned(rest: &Rest, project: &str) -> Result<Vec<(Described, Ownership)>, ProviderError> {
    let what = "looking for buckets";
    let (mut owned, mut token) = (Vec::new(), String::new());
    loop {
        let query = [("project", project), ("prefix", names::prefix()), ("pageToken", token.as_str())];
        let call = rest.call(Host::Storage, Method::GET, &["storage", "v1", "b"], &query);
        let page: Page = rest.look(what, call).await?.json(what)?;
        owned.extend(page.items.into_iter().filter_map(|bucket| {
            let whose = ownership(&bucket.labels)?;
            Some((bucket, whose))
        }));
        match page.next_page_token.filter(|next| !next.is_empty()) {
            Some(next) => token = next,
            None => return Ok(owned),
        }
    }
}

/// One that is kept is nobody's any more, and yet somebody pays for it.
fn ownership(labels: &Labels) -> Option<Ownership> {
    let kept = |of: &String| Ownership { deployment: format!("{of} (kept)"), ..Ownership::default() };
    Ownership::of_labels(labels).or_else(|| labels.get(KEPT_OF).map(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_bucket_is_nobodys_and_shows_as_kept() {
        let labels = kept_labels("default", 2192);
        assert_eq!(labels[labels::DEPLOYMENT], Value::Null);
        assert_eq!((&labels[KEPT_OF], &labels[KEPT_DAYS]), (&json!("default"), &json!("2192")));
        let left = Labels::from([(KEPT_OF.to_owned(), "default".to_owned())]);
        let whose = ownership(&left).unwrap();
        assert_eq!(
            (whose.deployment.as_str(), whose.owned(RemoteId("b".to_owned())).address),
            ("default (kept)", None)
        );
        assert_eq!(ownership(&Labels::from([("cost-centre".to_owned(), "7".to_owned())])), None);
    }

    #[test]
    fn what_is_recorded_says_whether_records_are_kept() {
        let inputs = BucketInputs {
            account: "p".to_owned(),
            region: "r".to_owned(),
            audit_days: Some(7),
            access_log: false,
            encryption_key: None,
        };
        let seen = Settings::wanted("b", &inputs, Labels::new());
        assert_eq!(audit_days(&json!({"audit_days": null}), &seen), None);
        assert_eq!(audit_days(&Value::Null, &seen), Some(7), "of one that no state knows");
    }
}
