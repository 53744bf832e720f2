//! Networks with their subnets, and security groups with their rules.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::ask::Refusal;
use super::kinds::{INTERFACE, NETWORK, Put};
use super::place::{is_within, key};
use super::world::{Thing, World, merge, reference};

/// Of IPv4: its first address and how many bits are fixed.
pub(super) type Range = (u32, u32);

/// `10.0.0.0/16`, with no bit set behind the fixed ones.
pub(super) fn range(text: &str) -> Option<Range> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (u32::from(address.parse::<Ipv4Addr>().ok()?), bits.parse::<u32>().ok()?);
    let rest = u32::MAX.checked_shr(bits).unwrap_or_default();
    (bits <= 32 && address & rest == 0).then_some((address, bits))
}

pub(super) fn holds((outer, bits): Range, (inner, inner_bits): Range) -> bool {
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or_default();
    inner_bits >= bits && inner & mask == outer
}

fn overlap(one: Range, other: Range) -> bool {
    holds(one, other) || holds(other, one)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(super) fn put(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    let ranges = texts(&put.property("addressSpace")["addressPrefixes"]);
    let ranges: Vec<Range> =
        ranges.into_iter().map(|text| range(text).ok_or_else(|| not_a_range(text))).collect::<Result<_, _>>()?;
    if ranges.is_empty() {
        return Err(Refusal::new(
            400,
            "InvalidRequestFormat",
            "The address space of a virtual network may not be empty.",
        ));
    }
    let asked = put.property("subnets").as_array().cloned().unwrap_or_default();
    do_not_overlap(&asked)?;
    let subnets = asked.iter().map(|subnet| subnet_of(world, put, subnet, &ranges)).collect::<Result<Vec<_>, _>>()?;
    may_subnets_go(world, put, &subnets)?;
    let mut properties = json!({"enableDdosProtection": false, "virtualNetworkPeerings": []});
    merge(&mut properties, &put.asked["properties"]);
    properties["subnets"] = json!(subnets);
    properties["resourceGuid"] =
        put.old.map_or_else(|| world.uuid().into(), |old| old.body["properties"]["resourceGuid"].clone());
    Ok(json!({ "properties": properties }))
}

fn not_a_range(text: &str) -> Refusal {
    Refusal::new(
        400,
        "InvalidCIDRNotation",
        format!(
            "The address prefix {text} has an invalid CIDR notation. For the given prefix length, the address prefix \
             is wrong."
        ),
    )
}

fn subnet_range(subnet: &Value) -> Result<Range, Refusal> {
    let properties = &subnet["properties"];
    let text =
        properties["addressPrefix"].as_str().or_else(|| properties["addressPrefixes"][0].as_str()).unwrap_or_default();
    range(text).ok_or_else(|| not_a_range(text))
}

fn do_not_overlap(subnets: &[Value]) -> Result<(), Refusal> {
    let ranges = subnets.iter().map(subnet_range).collect::<Result<Vec<_>, _>>()?;
    for (index, range) in ranges.iter().enumerate() {
        if ranges[..index].iter().any(|before| overlap(*before, *range)) {
            let message = format!("Subnet '{}' is not valid in virtual network.", name(&subnets[index]));
            return Err(Refusal::new(400, "NetcfgSubnetRangesOverlap", message));
        }
    }
    Ok(())
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().unwrap_or_default()
}

fn subnet_of(world: &World, put: &Put<'_>, asked: &Value, ranges: &[Range]) -> Result<Value, Refusal> {
    let id = format!("{}/subnets/{}", put.id, name(asked));
    let range = subnet_range(asked)?;
    if !ranges.iter().any(|outer| holds(*outer, range)) {
        let message = format!(
            "Subnet '{}' is not valid because its IP address range is outside the IP address range of virtual \
             network '{}'.",
            name(asked),
            put.place.name()
        );
        return Err(Refusal::new(400, "NetcfgInvalidSubnet", message));
    }
    for other in ["networkSecurityGroup", "natGateway"] {
        if let Some(other) = asked["properties"][other]["id"].as_str() {
            world.referred(other, &id)?;
        }
    }
    Ok(json!({"id": id, "name": name(asked), "etag": world.entity_tag(),
        "type": "Microsoft.Network/virtualNetworks/subnets", "properties": subnet_properties(put, asked)}))
}

fn subnet_properties(put: &Put<'_>, asked: &Value) -> Value {
    let mut properties = json!({"delegations": [], "privateEndpointNetworkPolicies": "Disabled",
        "privateLinkServiceNetworkPolicies": "Enabled"});
    merge(&mut properties, &asked["properties"]);
    properties["provisioningState"] = "Succeeded".into();
    let endpoints = properties.get_mut("serviceEndpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        merge(endpoint, &json!({"locations": [put.location()], "provisioningState": "Succeeded"}));
    }
    properties
}

/// A subnet that the body leaves out is removed, unless something is in it.
fn may_subnets_go(world: &World, put: &Put<'_>, stay: &[Value]) -> Result<(), Refusal> {
    let old = put.old.map(|old| &old.body["properties"]["subnets"]);
    let leaving = old
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|subnet| !stay.iter().any(|stays| name(stays).eq_ignore_ascii_case(name(subnet))));
    leaving.into_iter().try_for_each(|subnet| may_subnet_go(world, subnet))
}

fn may_subnet_go(world: &World, subnet: &Value) -> Result<(), Refusal> {
    let Some(user) = used_by(world, subnet["id"].as_str().unwrap_or_default()).first().cloned() else { return Ok(()) };
    let message = format!(
        "Subnet {} is in use by {user} and cannot be deleted. In order to delete the subnet, delete all the \
         resources within the subnet. See aka.ms/deletesubnet.",
        name(subnet)
    );
    Err(Refusal::new(400, "InUseSubnetCannotBeDeleted", message))
}

/// Configurations of interfaces in a subnet.
fn used_by(world: &World, subnet: &str) -> Vec<String> {
    let all =
        world.of_kind(INTERFACE).flat_map(|interface| interface.body["properties"]["ipConfigurations"].as_array());
    let inside = all.flatten().filter(|configuration| {
        configuration["properties"]["subnet"]["id"].as_str().is_some_and(|id| key(id) == key(subnet))
    });
    inside.filter_map(|configuration| configuration["id"].as_str().map(str::to_owned)).collect()
}

pub(super) fn view(world: &World, thing: &Thing) -> Value {
    let mut body = thing.body.clone();
    let subnets = body["properties"].get_mut("subnets").and_then(Value::as_array_mut);
    for subnet in subnets.into_iter().flatten() {
        let users = used_by(world, subnet["id"].as_str().unwrap_or_default());
        if !users.is_empty() {
            subnet["properties"]["ipConfigurations"] = users.iter().map(|id| reference(id)).collect();
        }
    }
    body
}

pub(super) fn may_go(world: &mut World, id: &str) -> Result<(), Refusal> {
    let subnets = world.thing(id).map(|thing| thing.body["properties"]["subnets"].clone()).unwrap_or_default();
    subnets.as_array().into_iter().flatten().try_for_each(|subnet| may_subnet_go(world, subnet))
}

pub(super) fn put_security_group(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    let asked = put.property("securityRules").as_array().cloned().unwrap_or_default();
    let rules = asked.iter().map(|rule| rule_of(world, put, rule)).collect::<Result<Vec<_>, _>>()?;
    do_not_conflict(&rules)?;
    let guid = put.old.map_or_else(|| world.uuid().into(), |old| old.body["properties"]["resourceGuid"].clone());
    Ok(
        json!({"properties": {"resourceGuid": guid, "securityRules": rules, "defaultSecurityRules": default_rules(put.id)}}),
    )
}

fn rule_of(world: &World, put: &Put<'_>, asked: &Value) -> Result<Value, Refusal> {
    let id = format!("{}/securityRules/{}", put.id, name(asked));
    let properties = &asked["properties"];
    let has = |one: &str, many: &str| properties[one].is_string() || !texts(&properties[many]).is_empty();
    let pairs = [
        ("sourceAddressPrefix", "sourceAddressPrefixes"),
        ("destinationAddressPrefix", "destinationAddressPrefixes"),
        ("sourcePortRange", "sourcePortRanges"),
        ("destinationPortRange", "destinationPortRanges"),
    ];
    if let Some((one, _)) = pairs.iter().find(|(one, many)| !has(one, many)) {
        let message = format!(
            "Required security rule parameters are missing for security rule with Id: {id}. Security rule must \
             specify {one}."
        );
        return Err(Refusal::new(400, "SecurityRuleParameterNotSpecified", message));
    }
    let priority = properties["priority"].as_i64().unwrap_or_default();
    if !(100..=4096).contains(&priority) {
        let message = format!("Security rule has invalid priority. Value provided: {priority} Allowed range 100-4096.");
        return Err(Refusal::new(400, "SecurityRuleInvalidPriority", message));
    }
    for list in ["sourceAddressPrefixes", "destinationAddressPrefixes"] {
        prefixes_stand_alone(name(asked), &texts(&properties[list]))?;
    }
    let mut shown = properties.clone();
    merge(&mut shown, &json!({"provisioningState": "Succeeded"}));
    for (_, many) in pairs {
        merge(&mut shown, &json!({ many: texts(&properties[many]) }));
    }
    Ok(json!({"id": id, "name": name(asked), "etag": world.entity_tag(), "properties": shown,
        "type": "Microsoft.Network/networkSecurityGroups/securityRules"}))
}

/// No range of a rule lies in another of it.
fn prefixes_stand_alone(rule: &str, prefixes: &[&str]) -> Result<(), Refusal> {
    let ranges: Vec<(&str, Range)> = prefixes.iter().filter_map(|text| Some((*text, range(text)?))).collect();
    for (index, (text, one)) in ranges.iter().enumerate() {
        if let Some((other, _)) = ranges[..index].iter().find(|(_, before)| overlap(*before, *one)) {
            let message = format!(
                "Security rule {rule} specifies overlapping subnets {other} and {text}. Overlapping subnets are not \
                 permitted in a security rule."
            );
            return Err(Refusal::new(400, "OverlappingSubnetsNotPermittedInSecurityRule", message));
        }
    }
    Ok(())
}

fn do_not_conflict(rules: &[Value]) -> Result<(), Refusal> {
    for (index, rule) in rules.iter().enumerate() {
        let is_same = |other: &&Value| {
            ["priority", "direction"].iter().all(|field| other["properties"][field] == rule["properties"][field])
        };
        if let Some(other) = rules[..index].iter().find(is_same) {
            let message = format!(
                "Security rule {} conflicts with rule {}. Rules cannot have the same Priority and Direction.",
                name(rule),
                name(other)
            );
            return Err(Refusal::new(400, "SecurityRuleConflict", message));
        }
    }
    Ok(())
}

/// The rules that every group ends with.
fn default_rules(group: &str) -> Value {
    let rule = |name: &str, (direction, access, priority): (&str, &str, i64), source: &str, destination: &str| {
        json!({"id": format!("{group}/defaultSecurityRules/{name}"), "name": name,
            "type": "Microsoft.Network/networkSecurityGroups/defaultSecurityRules",
            "properties": {"protocol": "*", "sourcePortRange": "*", "destinationPortRange": "*", "priority": priority,
                "sourceAddressPrefix": source, "destinationAddressPrefix": destination, "access": access,
                "direction": direction, "provisioningState": "Succeeded"}})
    };
    json!([
        rule("AllowVnetInBound", ("Inbound", "Allow", 65000), "VirtualNetwork", "VirtualNetwork"),
        rule("AllowAzureLoadBalancerInBound", ("Inbound", "Allow", 65001), "AzureLoadBalancer", "*"),
        rule("DenyAllInBound", ("Inbound", "Deny", 65500), "*", "*"),
        rule("AllowVnetOutBound", ("Outbound", "Allow", 65000), "VirtualNetwork", "VirtualNetwork"),
        rule("AllowInternetOutBound", ("Outbound", "Allow", 65001), "*", "Internet"),
        rule("DenyAllOutBound", ("Outbound", "Deny", 65500), "*", "*"),
    ])
}

/// Subnets that name something in one of their properties.
pub(super) fn subnets_with(world: &World, property: &str, id: &str) -> Vec<String> {
    let subnets = world.of_kind(NETWORK).flat_map(|network| network.body["properties"]["subnets"].as_array()).flatten();
    let naming = subnets
        .filter(|subnet| subnet["properties"][property]["id"].as_str().is_some_and(|named| key(named) == key(id)));
    naming.filter_map(|subnet| subnet["id"].as_str().map(str::to_owned)).collect()
}

fn interfaces_with(world: &World, group: &str) -> Vec<String> {
    let naming = world.of_kind(INTERFACE).filter(|interface| {
        interface.body["properties"]["networkSecurityGroup"]["id"].as_str().is_some_and(|id| key(id) == key(group))
    });
    naming.map(|interface| interface.id.clone()).collect()
}

pub(super) fn view_security_group(world: &World, thing: &Thing) -> Value {
    let mut body = thing.body.clone();
    for (list, users) in [
        ("subnets", subnets_with(world, "networkSecurityGroup", &thing.id)),
        ("networkInterfaces", interfaces_with(world, &thing.id)),
    ] {
        if !users.is_empty() {
            body["properties"][list] = users.iter().map(|id| reference(id)).collect();
        }
    }
    body
}

pub(super) fn may_security_group_go(world: &mut World, id: &str) -> Result<(), Refusal> {
    let users = [subnets_with(world, "networkSecurityGroup", id), interfaces_with(world, id)].concat();
    if users.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Network security group {id} cannot be deleted because it is in use by the following resources: {}. In order \
         to delete the Network security group, remove the association with the resource(s). To learn how to do this, \
         see aka.ms/deletensg.",
        users.join(", ")
    );
    Err(Refusal::new(400, "InUseNetworkSecurityGroupCannotBeDeleted", message))
}

/// The network and the subnet of an id, with what the subnet may hold.
pub(super) fn subnet<'a>(world: &'a World, id: &str) -> Option<(&'a Thing, &'a Value)> {
    let network = world.of_kind(NETWORK).find(|network| is_within(id, &network.id))?;
    let subnets = network.body["properties"]["subnets"].as_array()?;
    let found =
        subnets.iter().find(|subnet| subnet["id"].as_str().is_some_and(|of_subnet| key(of_subnet) == key(id)))?;
    Some((network, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole() {
        assert_eq!(range("10.0.0.0/16"), Some((0x0a00_0000, 16)));
        assert_eq!((range("10.0.0.1/16"), range("10.0.0.0"), range("10.0.0.0/33")), (None, None, None));
        assert_eq!(range("10.0.0.1/32"), Some((0x0a00_0001, 32)));
    }

    #[test]
    fn ranges_hold_each_other() {
        let [wide, narrow, other] =
            ["10.0.0.0/16", "10.0.1.0/24", "10.1.0.0/24"].map(|text| range(text).expect("a range"));
        assert!(holds(wide, narrow) && holds(wide, wide) && !holds(narrow, wide) && !holds(wide, other));
        assert!(overlap(narrow, wide) && !overlap(narrow, other));
        assert!(holds((0, 0), other));
    }
}
