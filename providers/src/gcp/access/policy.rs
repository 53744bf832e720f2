//! A bucket's policy: read, changed, and written back only over what was read. Others' bindings in it stay as they are.

use engine::provider::{ErrorKind, ProviderError};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::gcp::auth::Gcp;
use crate::gcp::error::{Why, found};
use crate::gcp::rest::Host;

/// Conditions are understood from this version on; a policy that has some must be read and written by it.
const VERSION: u8 = 3;
/// Everybody in the world, and everybody with an account of Google's.
const PUBLIC: [&str; 2] = ["allUsers", "allAuthenticatedUsers"];
/// What a new bucket gives to whoever may look at the project.
const VIEWERS: &str = "projectViewer:";
const LEGACY_READER: &str = "roles/storage.legacyObjectReader";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    pub etag: String,
    pub bindings: Vec<Binding>,
}

/// A role that some have, under a condition or always.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Binding {
    pub role: String,
    pub members: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    pub title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// In the Common Expression Language.
    pub expression: String,
}

impl Binding {
    pub fn new(role: &str, member: &str, condition: Option<Condition>) -> Self {
        Self { role: role.to_owned(), members: vec![member.to_owned()], condition }
    }

    fn has(&self, member: &str) -> bool {
        self.members.iter().any(|found| found == member)
    }
}

impl Policy {
    /// What a member has, as bindings of its own.
    pub fn of(&self, member: &str) -> Vec<Binding> {
        let own = self.bindings.iter().filter(|binding| binding.has(member));
        own.map(|binding| Binding { members: vec![member.to_owned()], ..binding.clone() }).collect()
    }

    /// Whether a member has exactly these; their order does not count.
    pub fn gives(&self, member: &str, wanted: &[Binding]) -> bool {
        let has = self.of(member);
        has.len() == wanted.len() && wanted.iter().all(|binding| has.contains(binding))
    }

    /// The same with exactly these for a member.
    #[must_use]
    pub fn giving(self, member: &str, wanted: &[Binding]) -> Self {
        let mut without = self.without(|_, found| found == member);
        without.bindings.extend_from_slice(wanted);
        without
    }

    /// Whom the bucket lets read though nobody of this deployment said so.
    pub fn strangers(&self) -> Vec<String> {
        let members =
            self.bindings.iter().flat_map(|binding| binding.members.iter().map(move |member| (binding, member)));
        let mut strangers: Vec<String> = members
            .filter(|(binding, member)| is_stranger(binding, member))
            .map(|(_, member)| member.clone())
            .collect();
        strangers.sort();
        strangers.dedup();
        strangers
    }

    #[must_use]
    pub fn without_strangers(self) -> Self {
        self.without(is_stranger)
    }

    fn without(mut self, is_to_go: impl Fn(&Binding, &str) -> bool) -> Self {
        for binding in &mut self.bindings {
            let role = binding.clone();
            binding.members.retain(|member| !is_to_go(&role, member));
        }
        self.bindings.retain(|binding| !binding.members.is_empty());
        self
    }
}

fn is_stranger(binding: &Binding, member: &str) -> bool {
    PUBLIC.contains(&member) || (binding.role == LEGACY_READER && member.starts_with(VIEWERS))
}

/// None: there is no such bucket.
pub async fn load(gcp: &Gcp, bucket: &str) -> Result<Option<Policy>, ProviderError> {
    let what = format!("policy of {bucket}");
    let query = [("optionsRequestedPolicyVersion", "3")];
    let call = gcp.rest.call(Host::Storage, Method::GET, &["storage", "v1", "b", bucket, "iam"], &query);
    found(gcp.rest.look(&what, call).await)?.map(|answer| answer.json(&what)).transpose()
}

/// Only over what was read: somebody else may have changed it meanwhile, and then it is read again.
pub async fn store(gcp: &Gcp, bucket: &str, policy: &Policy) -> Result<(), ProviderError> {
    let body = json!({ "version": VERSION, "etag": policy.etag, "bindings": policy.bindings });
    let call = gcp.rest.call(Host::Storage, Method::PUT, &["storage", "v1", "b", bucket, "iam"], &[]).json(&body);
    match gcp.rest.act(format!("policy of {bucket}"), call).await {
        Err(denied) if matches!(denied.why, Why::Unmet | Why::Conflict) => {
            Err(ProviderError { kind: ErrorKind::NotYet, ..denied.error })
        }
        answer => Ok(answer.map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "serviceAccount:me@p.iam";

    fn policy() -> Policy {
        serde_json::from_value(json!({"version": 1, "etag": "CAE=", "bindings": [
            {"role": "roles/storage.legacyBucketOwner", "members": ["projectEditor:p", "projectOwner:p"]},
            {"role": LEGACY_READER, "members": ["projectViewer:p", ME]},
            {"role": "roles/storage.objectViewer", "members": ["user:ada@example.com", "allUsers"]}]}))
        .unwrap()
    }

    #[test]
    fn only_ones_own_bindings_change() {
        let wanted = [Binding::new("roles/storage.objectViewer", ME, Some(Condition::default()))];
        assert!(!policy().gives(ME, &wanted));
        let given = policy().giving(ME, &wanted);
        assert!(given.gives(ME, &wanted));
        assert_eq!(given.etag, "CAE=");
        assert_eq!(given.of("user:ada@example.com"), policy().of("user:ada@example.com"));
        assert!(given.giving(ME, &[]).of(ME).is_empty());
    }

    #[test]
    fn whom_it_lets_read_besides_shows_and_goes() {
        assert_eq!(policy().strangers(), ["allUsers", "projectViewer:p"]);
        let closed = policy().without_strangers();
        assert!(closed.strangers().is_empty());
        assert_eq!(closed.of("projectOwner:p"), policy().of("projectOwner:p"), "its owner keeps it");
        assert_eq!(closed.of(ME), policy().of(ME));
    }

    #[test]
    fn a_condition_is_part_of_what_is_given() {
        let always = [Binding::new("r", ME, None)];
        let sometimes =
            [Binding::new("r", ME, Some(Condition { expression: "true".to_owned(), ..Condition::default() }))];
        let policy = Policy::default().giving(ME, &always);
        assert!(policy.gives(ME, &always) && !policy.gives(ME, &sometimes));
    }
}
