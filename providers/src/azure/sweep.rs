//! Everything that carries dsctl's tags: of one deployment, or of all in the subscription.
//!
//! Azure's search by tag leaves the tags out of what it finds, so that it only says where to look: everything of ours lies in
//! groups of ours, and a group's own list has the tags. Containers and blobs go with their storage account.

use std::collections::BTreeMap;

use engine::graph::Address;
use engine::provider::{Owned, ProviderError, Token};
use engine::state::RemoteId;
use serde_json::Value;
use spec::id::DeploymentName;

use super::arm::Arm;
use super::id::{GROUP, RESOURCES_VERSION, ROLES_VERSION, canonical, group_of, name_of, type_of};
use super::network::text;
use super::tags::{self, Tags};
use super::{access, kind};
use crate::cloud::{Found, Search};

const MACHINES: &str = "Microsoft.Compute/virtualMachines";
const DISKS: &str = "Microsoft.Compute/disks";
const INTERFACES: &str = "Microsoft.Network/networkInterfaces";
const ACCOUNTS: &str = "Microsoft.Storage/storageAccounts";
/// Kinds by type, in the order in which what nobody knows of can be removed.
const KINDS: [(&str, &str); 12] = [
    (MACHINES, kind::MACHINE),
    (INTERFACES, "network-interface"),
    (DISKS, "disk"),
    ("Microsoft.Network/virtualNetworks", kind::NETWORK),
    ("Microsoft.Network/natGateways", kind::NAT_GATEWAY),
    ("Microsoft.Network/publicIPAddresses", kind::PUBLIC_ADDRESS),
    ("Microsoft.Network/networkSecurityGroups", kind::SECURITY_GROUP),
    ("Microsoft.Authorization/roleAssignments", kind::ACCESS),
    ("Microsoft.ManagedIdentity/userAssignedIdentities", kind::IDENTITY),
    (ACCOUNTS, kind::STORAGE),
    (GROUP, kind::GROUP),
    ("", "thing"),
];
/// How Azure's own names of a machine's parts begin, which it may make without tags.
const PART: &str = "main-";

/// Of one deployment; in an order in which it can be removed.
pub async fn of_deployment(
    arm: &Arm,
    subscription: &str,
    deployment: &DeploymentName,
) -> Result<Vec<Found>, ProviderError> {
    let place = Place { arm, subscription };
    let mut found = place.tagged(tags::DEPLOYMENT, Some(deployment)).await?;
    found.sort_by_key(|found| KINDS.iter().position(|(_, kind)| *kind == found.kind));
    Ok(found)
}

/// Of all deployments, and what outlived its deployment for the sake of its records.
pub async fn everywhere(arm: &Arm, subscription: &str) -> Result<Search, ProviderError> {
    let place = Place { arm, subscription };
    let mut found = place.tagged(tags::DEPLOYMENT, None).await?;
    found.extend(place.tagged(tags::KEPT, None).await?);
    Ok(Search { found, notes: Vec::new() })
}

#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    arm: &'a Arm,
    subscription: &'a str,
}

impl Place<'_> {
    async fn tagged(&self, tag: &str, wanted: Option<&DeploymentName>) -> Result<Vec<Found>, ProviderError> {
        let mut found = Vec::new();
        for (id, group) in self.groups(tag, wanted).await? {
            let mut things = self.inside(&id).await?;
            inherit(&mut things, &group);
            things.push(group);
            things.retain(|thing| is_of(&tags::of(thing), tag, wanted));
            let parts = self.parts(&things).await?;
            for thing in things.iter().filter(|thing| !parts.is_held(thing)) {
                found.extend(self.assignments(thing, tag, wanted).await?);
                found.push(found_in(thing, &tags::of(thing), self.detail(thing).await?));
            }
        }
        Ok(found)
    }

    /// What the list does not tell of a machine's parts: what they hang on.
    async fn parts(&self, things: &[Value]) -> Result<Parts, ProviderError> {
        let mut parts = Parts::default();
        for thing in things.iter().filter(|thing| is_part(thing)) {
            let id = canonical(text(thing, "/id"));
            let seen = self.arm.get(&id).await?.unwrap_or_default();
            parts.0.insert(id, held_by(&seen));
        }
        Ok(parts)
    }

    /// Groups that carry the tag, or hold something that does.
    async fn groups(
        &self,
        tag: &str,
        wanted: Option<&DeploymentName>,
    ) -> Result<BTreeMap<String, Value>, ProviderError> {
        let filter = filter(tag, wanted);
        let query = [("$filter", filter.as_str())];
        let own = format!("/subscriptions/{}/resourcegroups", self.subscription);
        let all = format!("/subscriptions/{}/resources", self.subscription);
        let (groups, things) = futures::try_join!(
            self.arm.list(&own, RESOURCES_VERSION, &query),
            self.arm.list(&all, RESOURCES_VERSION, &query),
        )?;
        let mut found: BTreeMap<String, Value> =
            groups.into_iter().map(|group| (canonical(text(&group, "/id")), group)).collect();
        for group in things.iter().filter_map(|thing| group_of(text(thing, "/id"))) {
            if !found.contains_key(&group)
                && let Some(seen) = self.arm.get(&group).await?
            {
                found.insert(group, seen);
            }
        }
        Ok(found)
    }

    async fn inside(&self, group: &str) -> Result<Vec<Value>, ProviderError> {
        let query = [("$expand", "createdTime")];
        self.arm.list(&format!("{group}/resources"), RESOURCES_VERSION, &query).await
    }

    /// Roles that were assigned on a storage account or in it.
    async fn assignments(
        &self,
        thing: &Value,
        tag: &str,
        wanted: Option<&DeploymentName>,
    ) -> Result<Vec<Found>, ProviderError> {
        let id = canonical(text(thing, "/id"));
        if type_of(&id) != ACCOUNTS {
            return Ok(Vec::new());
        }
        let path = format!("{id}/providers/Microsoft.Authorization/roleAssignments");
        let all = self.arm.list(&path, ROLES_VERSION, &[]).await?;
        let location = text(thing, "/location");
        let ids: Vec<String> = all.iter().map(|assignment| canonical(text(assignment, "/id"))).collect();
        let found = all.iter().zip(&ids).filter_map(|(assignment, own)| {
            let tags = access::described(assignment);
            // The list has those of all that the account lies in, too.
            let is_ours = own.starts_with(&id) && !access::machine::is_second(own, &ids);
            (is_ours && is_of(&tags, tag, wanted)).then(|| {
                let role = name_of(text(assignment, "/properties/roleDefinitionId")).to_owned();
                Found { region: location.to_owned(), ..found_in(assignment, &tags, role) }
            })
        });
        Ok(found.collect())
    }

    /// For the reader: what the list does not tell.
    async fn detail(&self, thing: &Value) -> Result<String, ProviderError> {
        let id = canonical(text(thing, "/id"));
        let pointer = match type_of(&id).as_str() {
            MACHINES => "/properties/hardwareProfile/vmSize",
            DISKS => "/properties/diskSizeGB",
            _ => return Ok(name_of(&id).to_owned()),
        };
        let seen = self.arm.get(&id).await?.unwrap_or_default();
        Ok(match seen.pointer(pointer) {
            Some(Value::Number(size)) => format!("{size} GiB"),
            Some(Value::String(size)) => size.clone(),
            _ => name_of(&id).to_owned(),
        })
    }
}

/// Parts of machines, and what each hangs on.
#[derive(Debug, Default)]
struct Parts(BTreeMap<String, Option<String>>);

impl Parts {
    /// Those on a machine go with it, and so does an address on such an interface.
    fn is_held(&self, thing: &Value) -> bool {
        let holder = |id: &str| self.0.get(id).and_then(Option::as_deref);
        match holder(&canonical(text(thing, "/id"))) {
            None => false,
            Some(by) if type_of(by) == MACHINES => true,
            Some(by) => holder(by).is_some_and(|by| type_of(by) == MACHINES),
        }
    }
}

/// A disk, an interface or an address that is a machine's.
fn is_part(thing: &Value) -> bool {
    let own = type_of(text(thing, "/id"));
    let is_machines = tags::of(thing).get(tags::ADDRESS).is_some_and(|address| address.starts_with("machine."));
    is_machines && own != MACHINES
}

/// The machine that a disk or an interface is on; the interface that an address is on.
fn held_by(seen: &Value) -> Option<String> {
    let machine = ["/managedBy", "/properties/virtualMachine/id"].map(|pointer| text(seen, pointer));
    let interface = text(seen, "/properties/ipConfiguration/id");
    let interface = interface.split_once("/ipConfigurations/").map_or(interface, |(interface, _)| interface);
    [machine[0], machine[1], interface].into_iter().find(|id| !id.is_empty()).map(canonical)
}

fn filter(tag: &str, wanted: Option<&DeploymentName>) -> String {
    match wanted {
        Some(deployment) => format!("tagName eq '{tag}' and tagValue eq '{deployment}'"),
        None => format!("tagName eq '{tag}'"),
    }
}

fn is_of(tags: &Tags, tag: &str, wanted: Option<&DeploymentName>) -> bool {
    tags.get(tag).is_some_and(|value| wanted.is_none_or(|wanted| wanted.as_str() == value))
}

/// A part of a machine that Azure made without tags is its group's.
fn inherit(things: &mut [Value], group: &Value) {
    let of_group = tags::of(group);
    for thing in things {
        let id = canonical(text(thing, "/id"));
        let may_be = [DISKS, INTERFACES].contains(&type_of(&id).as_str());
        if may_be && name_of(&id).starts_with(PART) && tags::of(thing).is_empty() {
            let mut tags = of_group.clone();
            tags.remove(tags::TOKEN);
            tags.insert(tags::ADDRESS.to_owned(), Address::new(kind::MACHINE, "main").to_string());
            thing["tags"] = serde_json::json!(tags);
        }
    }
}

fn found_in(thing: &Value, tags: &Tags, detail: String) -> Found {
    let id = canonical(text(thing, "/id"));
    let tag = |key: &str| tags.get(key).cloned();
    let kept = tag(tags::KEPT).map(|deployment| format!("{deployment} (kept)"));
    Found {
        region: text(thing, "/location").to_owned(),
        deployment: tag(tags::DEPLOYMENT).or(kept).unwrap_or_default(),
        owner: tag(tags::OWNER),
        kind: kind_of(&id).to_owned(),
        detail,
        created: Some(text(thing, "/createdTime")).filter(|at| !at.is_empty()).map(str::to_owned),
        owned: Owned {
            address: tag(tags::ADDRESS).as_deref().and_then(Address::parse),
            token: tag(tags::TOKEN).map(Token),
            remote_id: RemoteId(id),
            lineage: tag(tags::LINEAGE),
        },
    }
}

fn kind_of(id: &str) -> &'static str {
    let own = type_of(id);
    KINDS.iter().find(|(name, _)| *name == own).map_or("thing", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(own: &str) -> String {
        format!("/subscriptions/S/resourceGroups/DSCTL-DEFAULT-00FF00FF/providers/{own}")
    }

    fn thing(own: &str, tags: Value) -> Value {
        json!({"id": id(own), "location": "westeurope", "tags": tags, "createdTime": "2026-11-26T10:00:00Z"})
    }

    #[test]
    fn what_is_found_says_whose_it_is() {
        let seen = thing(
            "microsoft.compute/virtualMachines/Main-1",
            json!({"dsctl-deployment": "default", "dsctl-address": "machine.main", "dsctl-lineage": "l", "dsctl-token": "t", "dsctl-owner": "ada"}),
        );
        let found = found_in(&seen, &tags::of(&seen), "d".to_owned());
        assert_eq!((found.kind.as_str(), found.deployment.as_str()), ("machine", "default"));
        assert_eq!(found.owned.address, Address::parse("machine.main"));
        let expected =
            "/subscriptions/s/resourceGroups/dsctl-default-00ff00ff/providers/Microsoft.Compute/virtualMachines/main-1";
        assert_eq!(found.owned.remote_id.0, expected);
        assert_eq!(found.created.as_deref(), Some("2026-11-26T10:00:00Z"));
    }

    #[test]
    fn a_part_without_tags_is_its_groups_machines() {
        let group = json!({"tags": {"dsctl-deployment": "default", "dsctl-lineage": "l", "dsctl-token": "t", "dsctl-address": "group.main"}});
        let mut things = vec![
            thing("Microsoft.Compute/disks/main-abcdef", json!(null)),
            thing("Microsoft.Compute/disks/somebodys", json!(null)),
            thing("Microsoft.Network/virtualNetworks/main-x", json!(null)),
        ];
        inherit(&mut things, &group);
        let tags = tags::of(&things[0]);
        assert_eq!((tags[tags::ADDRESS].as_str(), tags[tags::LINEAGE].as_str()), ("machine.main", "l"));
        assert!(!tags.contains_key(tags::TOKEN));
        assert!(tags::of(&things[1]).is_empty() && tags::of(&things[2]).is_empty());
    }

    #[test]
    fn what_hangs_on_a_machine_goes_with_it_and_what_it_left_is_found() {
        let machine = id("Microsoft.Compute/virtualMachines/main-1");
        let nic = id("Microsoft.Network/networkInterfaces/main-1");
        let address = json!({"properties": {"ipConfiguration": {"id": format!("{nic}/ipConfigurations/main")}}});
        let held = |nic_seen: &Value| {
            let tags = json!({"dsctl-address": "machine.main"});
            let [disk, nic, ip] = [
                "Microsoft.Compute/disks/main-1",
                "Microsoft.Network/networkInterfaces/main-1",
                "Microsoft.Network/publicIPAddresses/main-1",
            ]
            .map(|own| thing(own, tags.clone()));
            let seen = [
                (&disk, json!({"managedBy": machine.to_uppercase()})),
                (&nic, nic_seen.clone()),
                (&ip, address.clone()),
            ];
            let parts = seen.iter().map(|(thing, seen)| (canonical(text(thing, "/id")), held_by(seen))).collect();
            let parts = Parts(parts);
            [&disk, &nic, &ip].map(|thing| (is_part(thing), parts.is_held(thing)))
        };
        assert_eq!(held(&json!({"properties": {"virtualMachine": {"id": machine}}})), [(true, true); 3]);
        assert_eq!(held(&json!({"properties": {}})), [(true, true), (true, false), (true, false)]);
        let nat = thing("Microsoft.Network/publicIPAddresses/nat", json!({"dsctl-address": "public-address.nat"}));
        assert!(!is_part(&nat));
    }

    #[test]
    fn what_is_kept_is_shown_and_is_of_no_deployment() {
        let seen = thing(ACCOUNTS, json!({"dsctl-kept": "default"}));
        assert!(is_of(&tags::of(&seen), tags::KEPT, None));
        let found = found_in(&seen, &tags::of(&seen), String::new());
        assert_eq!((found.deployment.as_str(), found.owned.lineage), ("default (kept)", None));
        let name: DeploymentName = "default".parse().unwrap();
        assert!(!is_of(&tags::of(&seen), tags::DEPLOYMENT, Some(&name)));
        assert_eq!(filter(tags::DEPLOYMENT, Some(&name)), "tagName eq 'dsctl-deployment' and tagValue eq 'default'");
    }

    #[test]
    fn a_machine_goes_before_what_it_stands_on_and_the_group_last() {
        let at = |kind: &str| KINDS.iter().position(|(_, own)| *own == kind).unwrap();
        assert!(at(kind::MACHINE) < at(kind::NETWORK) && at(kind::NETWORK) < at(kind::NAT_GATEWAY));
        assert!(at(kind::NAT_GATEWAY) < at(kind::PUBLIC_ADDRESS) && at(kind::ACCESS) < at(kind::STORAGE));
        assert!(KINDS.iter().all(|(_, kind)| at(kind) <= at(kind::GROUP) || *kind == "thing"));
    }
}
