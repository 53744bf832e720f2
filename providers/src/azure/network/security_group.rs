//! `security-group.machine`: one TCP port, open to the ranges that may reach it; all else that would come in is refused, from
//! inside the network too. What goes out is left as Azure makes it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{group_named, list, text};
use crate::azure::auth::{Azure, Making, inputs};
use crate::azure::kind::SecurityGroupInputs;
use crate::azure::resource::Calls;
use crate::azure::thing::{fulfils, living, make, mend, with_oddities};

const RULES: &str = "/properties/securityRules";
const ALLOW: &str = "gateway";
const DENY: &str = "nothing-else";
const ALLOW_PRIORITY: u32 = 100;
/// The last that a rule of ours may have: Azure's own come after it.
const DENY_PRIORITY: u32 = 4096;

#[derive(Debug)]
pub struct SecurityGroup;

#[async_trait]
impl Calls for SecurityGroup {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = living(azure, id).await? else { return Ok(None) };
        Ok(Some(observed(&seen, group_named(known, id)?, &resource.inputs)))
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        make(azure, making, body(&making.inputs()?)).await
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        mend(azure, id, desired, known, body(&inputs(desired)?)).await.map(|_| id.clone())
    }
}

/// All rules at once: what is not among them goes.
fn body(inputs: &SecurityGroupInputs) -> Value {
    let allow = (!inputs.allow.is_empty()).then(|| allow(inputs));
    let rules: Vec<Value> = allow.into_iter().chain([deny()]).collect();
    json!({ "properties": { "securityRules": rules } })
}

fn allow(inputs: &SecurityGroupInputs) -> Value {
    json!({ "name": ALLOW, "properties": {
        "priority": ALLOW_PRIORITY, "direction": "Inbound", "access": "Allow", "protocol": "Tcp",
        "sourceAddressPrefixes": inputs.allow, "sourcePortRange": "*",
        "destinationAddressPrefix": "*", "destinationPortRange": inputs.port.to_string(),
    }})
}

fn deny() -> Value {
    json!({ "name": DENY, "properties": {
        "priority": DENY_PRIORITY, "direction": "Inbound", "access": "Deny", "protocol": "*",
        "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "*",
    }})
}

/// In the shape of [`SecurityGroupInputs`]. Which port is ours only the record tells; every other rule shows in words.
fn observed(seen: &Value, group: String, recorded: &Value) -> Value {
    let rules = list(seen, RULES);
    let named = |name: &str| rules.iter().find(|rule| text(rule, "/name").eq_ignore_ascii_case(name));
    let (own, allow) = named(ALLOW).and_then(|rule| own(rule, recorded)).unzip();
    let denies = named(DENY).is_some_and(|rule| fulfils(rule, &deny()));
    let is_ours =
        |rule: &&Value| (text(rule, "/name") == ALLOW && own.is_some()) || (text(rule, "/name") == DENY && denies);
    let further: Vec<String> = rules.iter().filter(|rule| !is_ours(rule)).map(words).collect();
    let port = own.map_or_else(|| recorded["port"].clone(), Value::from);
    let mut shown = json!({ "group": group, "port": port, "allow": allow.unwrap_or_default() });
    if !further.is_empty() {
        shown["further_rules"] = json!(further);
    }
    if !denies {
        shown["other_ports"] = json!("open");
    }
    with_oddities(shown, seen)
}

/// Port and ranges of the rule that lets clients in, if it does no more than that.
fn own(rule: &Value, recorded: &Value) -> Option<(u16, BTreeSet<String>)> {
    let port = text(rule, "/properties/destinationPortRange").parse().ok();
    let port = port.or_else(|| recorded["port"].as_u64().and_then(|port| u16::try_from(port).ok()))?;
    let all = sources(rule);
    let allow_list = all.iter().cloned().collect();
    let inputs = SecurityGroupInputs { group: String::new(), port, allow: allow_list };
    let mut wanted = allow(&inputs);
    if let Some(properties) = wanted["properties"].as_object_mut() {
        // Azure may write one range by itself.
        properties.remove("sourceAddressPrefixes");
    }
    fulfils(rule, &wanted).then_some((port, all))
}

fn sources(rule: &Value) -> BTreeSet<String> {
    let one = text(rule, "/properties/sourceAddressPrefix");
    let many = list(rule, "/properties/sourceAddressPrefixes").iter().filter_map(Value::as_str);
    many.chain((!one.is_empty()).then_some(one)).map(str::to_owned).collect()
}

fn words(rule: &Value) -> String {
    let part = |field: &str| text(rule, &format!("/properties/{field}")).to_owned();
    let ports = list(rule, "/properties/destinationPortRanges").iter().filter_map(Value::as_str);
    let ports: Vec<String> = ports.map(str::to_owned).chain([part("destinationPortRange")]).collect();
    let ports = ports.into_iter().filter(|port| !port.is_empty()).collect::<Vec<_>>().join(", ");
    let sources = sources(rule).into_iter().collect::<Vec<_>>().join(", ");
    let (access, direction, protocol) = (part("access"), part("direction"), part("protocol"));
    format!("{}: {access} {direction} {protocol} {ports} from {sources}", text(rule, "/name")).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(allow: &[&str]) -> SecurityGroupInputs {
        let allow = allow.iter().map(|range| (*range).to_owned()).collect();
        SecurityGroupInputs { group: "group.main".to_owned(), port: 443, allow }
    }

    fn shown(rules: Vec<Value>, recorded: &SecurityGroupInputs) -> Value {
        let tags = ["dsctl-token", "dsctl-address", "dsctl-lineage", "dsctl-deployment"]
            .map(|key| (key.to_owned(), json!("x")));
        let seen =
            json!({ "tags": Value::Object(tags.into_iter().collect()), "properties": { "securityRules": rules } });
        observed(&seen, "group.main".to_owned(), &serde_json::to_value(recorded).unwrap())
    }

    fn rules(inputs: &SecurityGroupInputs) -> Vec<Value> {
        list(&body(inputs), RULES).to_vec()
    }

    #[test]
    fn what_was_asked_for_shows_as_asked_and_leaves_nothing_to_do() {
        for allow in [&["10.0.0.0/8", "192.168.0.0/16"][..], &["10.0.0.0/8"], &[]] {
            let inputs = inputs(allow);
            assert_eq!(shown(rules(&inputs), &inputs), serde_json::to_value(&inputs).unwrap());
        }
        let mut alone = rules(&inputs(&["10.0.0.0/8"]));
        let properties = alone[0]["properties"].as_object_mut().unwrap();
        properties.remove("sourceAddressPrefixes");
        properties.insert("sourceAddressPrefix".to_owned(), json!("10.0.0.0/8"));
        assert_eq!(shown(alone, &inputs(&["10.0.0.0/8"]))["allow"], json!(["10.0.0.0/8"]));
    }

    #[test]
    fn a_changed_port_and_a_changed_range_show_as_what_they_are() {
        let recorded = inputs(&["10.0.0.0/8"]);
        let opened = shown(rules(&inputs(&["0.0.0.0/0", "10.0.0.0/8"])), &recorded);
        assert_eq!(opened["allow"], json!(["0.0.0.0/0", "10.0.0.0/8"]));
        let moved = SecurityGroupInputs { port: 22, ..inputs(&["10.0.0.0/8"]) };
        assert_eq!(shown(rules(&moved), &recorded)["port"], json!(22));
    }

    #[test]
    fn every_other_rule_shows_in_words_and_so_does_a_missing_one() {
        let recorded = inputs(&["10.0.0.0/8"]);
        let mut more = rules(&recorded);
        more.push(json!({"name": "ssh", "properties": {"priority": 200, "direction": "Inbound", "access": "Allow",
            "protocol": "Tcp", "sourceAddressPrefix": "*", "destinationPortRange": "22"}}));
        assert_eq!(shown(more, &recorded)["further_rules"], json!(["ssh: allow inbound tcp 22 from *"]));
        let open = shown(rules(&recorded)[..1].to_vec(), &recorded);
        assert_eq!(open["other_ports"], "open");
        let mut any = rules(&recorded);
        any[0]["properties"]["protocol"] = json!("*");
        let any = shown(any, &recorded);
        assert_eq!((&any["allow"], any["further_rules"].as_array().unwrap().len()), (&json!([]), 1));
    }
}
