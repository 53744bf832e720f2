//! Who may do what: the machine's identity, and the roles that it and whoever runs dsctl have on the deployment's storage.
//!
//! An assignment of a role has no tags: its description says whose it is. Roles are Azure's own, by their well-known ids.

pub mod identity;
pub mod machine;
pub mod operator;

use engine::graph::Address;
use engine::provider::{Known, ProviderError};
use serde_json::{Value, json};

use super::auth::{Azure, Making};
use super::credential::PrincipalKind;
use super::network::text;
use super::tags::{self, Tags};
use super::thing;

/// `Storage Blob Data Reader`.
const READER: &str = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1";
/// `Storage Blob Data Contributor`.
const CONTRIBUTOR: &str = "ba92f5b4-2d11-453d-a403-e96b0029c9fe";
/// `Storage Blob Data Owner`: of those that write, the only one that may remove a version of a blob.
const OWNER: &str = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b";

/// One role of somebody.
#[derive(Debug, Clone, Copy)]
struct Grant<'a> {
    role: &'static str,
    principal: &'a str,
    kind: PrincipalKind,
    condition: Option<&'a str>,
}

impl Grant<'_> {
    fn body(&self, subscription: &str, tags: &Tags) -> Value {
        let role =
            format!("/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{}", self.role);
        let mut properties = json!({
            "roleDefinitionId": role,
            "principalId": self.principal,
            // Without it, one that was made a moment ago is looked for in vain.
            "principalType": self.kind.as_str(),
            "description": tags::to_description(tags),
        });
        if let Some(condition) = self.condition {
            properties["condition"] = json!(condition);
            properties["conditionVersion"] = json!("2.0");
        }
        json!({ "properties": properties })
    }

    fn is_of_same(&self, seen: &Value) -> bool {
        text(seen, "/properties/principalId").eq_ignore_ascii_case(self.principal) && is_role(seen, self.role)
    }

    fn is_as_wanted(&self, seen: &Value) -> bool {
        self.is_of_same(seen) && condition(seen) == self.condition.unwrap_or_default()
    }

    /// Makes it, unless this intent made it already.
    async fn make(&self, azure: &Azure, making: &Making<'_>, id: &str) -> Result<(), ProviderError> {
        let (address, mark) = (&making.desired.address, azure.mark(making).await?);
        if let Some(seen) = azure.arm.get(id).await?
            && thing::whose(address, id, &mark, &described(&seen))?
        {
            return Ok(());
        }
        self.put(azure, address, id, &mark.tags()).await
    }

    /// Role and principal of an assignment never change: another one takes its place.
    async fn mend(&self, azure: &Azure, address: &Address, known: &Known, id: &str) -> Result<(), ProviderError> {
        let seen = azure.arm.get(id).await?.unwrap_or_default();
        if self.is_as_wanted(&seen) {
            return Ok(());
        }
        if !seen.is_null() && !self.is_of_same(&seen) {
            azure.arm.delete(id).await?;
        }
        let tags = thing::wanted_tags(azure, &described(&seen), address, known).await?;
        self.put(azure, address, id, &tags).await
    }

    async fn put(&self, azure: &Azure, address: &Address, id: &str, tags: &Tags) -> Result<(), ProviderError> {
        let body = self.body(azure.subscription()?, tags);
        azure.arm.put(address, id, &body).await.map(drop)
    }
}

/// Whose an assignment is, as its description says.
pub fn described(seen: &Value) -> Tags {
    tags::from_description(text(seen, "/properties/description"))
}

fn is_role(seen: &Value, role: &str) -> bool {
    let found = text(seen, "/properties/roleDefinitionId");
    found.rsplit('/').next().is_some_and(|found| found.eq_ignore_ascii_case(role))
}

fn condition(seen: &Value) -> &str {
    text(seen, "/properties/condition")
}

/// The id of what an assignment is on.
fn scope(id: &str) -> &str {
    id.split_once("/providers/Microsoft.Authorization/").map_or(id, |(scope, _)| scope)
}

/// By its name and its description.
async fn find(
    azure: &Azure,
    address: &Address,
    token: &engine::provider::Token,
    known: &Known,
) -> Result<Option<engine::state::RemoteId>, ProviderError> {
    let id = azure.id_for(address, token, known)?;
    let seen = azure.arm.get(&id).await?.map(|seen| described(&seen));
    Ok(seen.filter(|tags| tags.get(tags::TOKEN) == Some(&token.0)).map(|_| engine::state::RemoteId(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: Grant<'static> =
        Grant { role: READER, principal: "P", kind: PrincipalKind::ServicePrincipal, condition: None };

    #[test]
    fn an_assignment_says_whose_it_is_and_is_read_back_as_it_was_made() {
        let tags: Tags = [(tags::TOKEN.to_owned(), "feed".to_owned())].into();
        let made = GRANT.body("s", &tags);
        assert!(GRANT.is_as_wanted(&made));
        assert_eq!(described(&made), tags);
        assert!(made.pointer("/properties/condition").is_none());
        let bound = Grant { condition: Some("x"), ..GRANT };
        assert!(!bound.is_as_wanted(&made) && bound.is_of_same(&made));
        assert_eq!(bound.body("s", &tags)["properties"]["conditionVersion"], "2.0");
    }

    #[test]
    fn another_role_or_principal_is_another_assignment() {
        let made = GRANT.body("s", &Tags::new());
        assert!(!Grant { role: CONTRIBUTOR, ..GRANT }.is_of_same(&made));
        assert!(!Grant { principal: "Q", ..GRANT }.is_of_same(&made));
        assert!(Grant { principal: "p", ..GRANT }.is_of_same(&made));
        assert_eq!(scope("/subscriptions/s/providers/Microsoft.Authorization/roleAssignments/x"), "/subscriptions/s");
    }
}
