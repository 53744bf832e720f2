//! Removing what lies in a bucket: every version, page by page, several at once.

use engine::provider::ProviderError;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;

use super::lifecycle::is_kept;
use super::object::{Found, Versions, page, path};
use crate::gcp::auth::Gcp;
use crate::gcp::error::gone;
use crate::gcp::rest::Host;

/// Cloud Storage takes one object a call.
const AT_ONCE: usize = 16;

/// What of a bucket is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doomed<'a> {
    Everything,
    AllButRecords,
    /// By its key.
    Object(&'a str),
}

impl Doomed<'_> {
    /// Of every key that it names.
    const fn prefix(&self) -> &str {
        match self {
            Self::Everything | Self::AllButRecords => "",
            Self::Object(key) => key,
        }
    }

    fn names(&self, key: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::AllButRecords => !is_kept(key),
            Self::Object(own) => key == *own,
        }
    }
}

/// Removes all versions of what is doomed; a bucket that is gone is Ok.
pub async fn remove_versions(gcp: &Gcp, bucket: &str, doomed: Doomed<'_>) -> Result<(), ProviderError> {
    let mut token = String::new();
    while let Some(page) = page(gcp, bucket, doomed.prefix(), Versions::All, &token).await? {
        let all = page.items.iter().filter(|object| doomed.names(&object.name));
        let removals: Vec<_> = all.map(|object| remove(gcp, bucket, object)).collect();
        futures::stream::iter(removals).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        match page.next_page_token.filter(|next| !next.is_empty()) {
            Some(next) => token = next,
            None => break,
        }
    }
    Ok(())
}

/// Whether any version lies under a prefix.
pub async fn has_any(gcp: &Gcp, bucket: &str, prefix: &str) -> Result<bool, ProviderError> {
    let page = page(gcp, bucket, prefix, Versions::All, "").await?;
    Ok(page.is_some_and(|page| !page.items.is_empty()))
}

async fn remove(gcp: &Gcp, bucket: &str, object: &Found) -> Result<(), ProviderError> {
    let query = [("generation", object.generation.as_str())];
    let call = gcp.rest.call(Host::Storage, Method::DELETE, &path(bucket, &object.name), &query);
    gone(gcp.rest.act(format!("emptying {bucket}: {}", object.name), call).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_spared_and_a_key_is_no_prefix() {
        assert!(Doomed::Everything.names("audit/a"));
        assert!(!Doomed::AllButRecords.names("audit/a") && Doomed::AllButRecords.names("secrets/api-key"));
        let object = Doomed::Object("secrets/api");
        assert!(object.names("secrets/api") && !object.names("secrets/api-key"));
        assert_eq!((object.prefix(), Doomed::AllButRecords.prefix()), ("secrets/api", ""));
    }
}
