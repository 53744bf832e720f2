//! `group.main`: the resource group that everything lies in. It goes when nothing is left in it.

use async_trait::async_trait;
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::arm::not_yet;
use super::auth::{Azure, Making};
use super::id::{RESOURCES_VERSION, canonical, name_of};
use super::resource::Calls;
use super::tags::{self, Tags};
use super::thing::{living, make, same_text, wanted_tags, with_oddities};

#[derive(Debug)]
pub struct Group;

#[async_trait]
impl Calls for Group {
    async fn read(&self, azure: &Azure, resource: &Resource, _known: &Known) -> Result<Option<Value>, ProviderError> {
        let Some(seen) = living(azure, &resource.remote_id.0).await? else { return Ok(None) };
        let account = azure.subscription()?;
        Ok(Some(with_oddities(json!({ "account": account, "region": region(azure, &seen) }), &seen)))
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        make(azure, making, json!({})).await
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let seen = tags::of(&azure.arm.settled(&desired.address, &id.0).await?);
        let wanted = wanted_tags(azure, &seen, &desired.address, known).await?;
        if seen != wanted {
            azure.arm.patch(&desired.address, &id.0, &json!({ "tags": wanted })).await?;
        }
        Ok(id.clone())
    }

    /// Never takes anything else along: what Azure would remove with its group is looked at first.
    async fn delete(&self, azure: &Azure, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = living(azure, id).await? else { return Ok(()) };
        match held(azure, id).await? {
            Held::Nothing => azure.arm.delete(id).await,
            Held::Kept(days) => keep(azure, id, &tags::of(&seen), days).await,
            Held::Ours => Err(not_yet(format!("removing {}", name_of(id)), "it is not empty yet")),
            Held::Foreign(other) => {
                let message = format!("it holds {other}, which dsctl did not make");
                let next = format!("az resource list --resource-group {} --output table", name_of(id));
                Err(ProviderError::permanent(format!("removing {}", name_of(id)), message).with_next(next))
            }
        }
    }
}

/// As the deployment has it, if Azure writes it otherwise.
fn region(azure: &Azure, seen: &Value) -> String {
    let found = seen.get("location").and_then(Value::as_str).unwrap_or_default();
    if same_text(found, &azure.region) { azure.region.clone() } else { found.to_owned() }
}

/// What is in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    Nothing,
    /// Only what outlives the deployment, for so many days.
    Kept(u32),
    Ours,
    Foreign(String),
}

async fn held(azure: &Azure, id: &str) -> Result<Held, ProviderError> {
    let all = azure.arm.list(&format!("{id}/resources"), RESOURCES_VERSION, &[]).await?;
    Ok(judged(&all))
}

fn judged(all: &[Value]) -> Held {
    let mut found = Held::Nothing;
    for thing in all {
        let tags = tags::of(thing);
        let days = tags.get(tags::KEPT_DAYS).and_then(|days| days.parse().ok()).unwrap_or_default();
        match (tags::is_kept(&tags), tags.contains_key(tags::LINEAGE)) {
            (true, _) if found == Held::Nothing => found = Held::Kept(days),
            (true, _) => {}
            (false, true) => found = Held::Ours,
            (false, false) => {
                return Held::Foreign(canonical(thing.get("id").and_then(Value::as_str).unwrap_or("something")));
            }
        }
    }
    found
}

async fn keep(azure: &Azure, id: &str, seen: &Tags, days: u32) -> Result<(), ProviderError> {
    let tags = tags::kept(seen, &azure.deployment, days);
    // Merging would leave ours on it.
    let body = json!({ "location": azure.region, "tags": tags });
    azure.arm.put(format!("keeping {}", name_of(id)), id, &body).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(tags: &Value) -> Value {
        json!({"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/x", "tags": tags})
    }

    #[test]
    fn a_group_goes_only_when_nothing_of_somebody_else_is_in_it() {
        let ours = thing(&json!({"dsctl-lineage": "l"}));
        let kept = thing(&json!({"dsctl-kept": "default", "dsctl-kept-days": "2192"}));
        let foreign = thing(&json!({}));
        assert_eq!(judged(&[]), Held::Nothing);
        assert_eq!(judged(std::slice::from_ref(&kept)), Held::Kept(2192));
        assert_eq!(judged(&[kept.clone(), ours.clone()]), Held::Ours);
        assert_eq!(judged(&[ours.clone(), kept]), Held::Ours);
        assert!(matches!(judged(&[ours, foreign]), Held::Foreign(id) if id.ends_with("sites/x")));
    }
}
