//! Networks, subnetworks, routers and firewall rules.

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::super::call::{Call, Refusal, Reply, items, text};
use super::super::storage::merge;
use super::super::world::World;
use super::kind::{Kind, Place, Scope, last, link, path_of, unlinked};
use super::thing::begun;
use super::{check, operation, quota, target};

/// Bytes of a description, at most.
const LONGEST_DESCRIPTION: usize = 2048;

pub(super) fn answer(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    match (kind.collection, call.act().1) {
        (_, "insert") => insert(world, call, kind),
        (_, "delete") => operation::delete(world, call, kind),
        ("subnetworks", "setPrivateIpGoogleAccess") => set_private_access(world, call, kind),
        ("networks", "removePeering") => remove_peering(world, call, kind),
        ("networks", "addPeering") => add_peering(world, call, kind),
        (_, "patch" | "update") => patch(world, call, kind),
        _ => Err(Refusal::unserved(call.method)),
    }
}

fn insert(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    let path = place.path(kind, check::required(&call.body, "name")?);
    if call.text("description").len() > LONGEST_DESCRIPTION {
        return Err(Refusal::invalid("resource.description", &call.body["description"], "It is too long."));
    }
    world.free(&path)?;
    let mut body = begun(world, &path, kind, &call.body);
    match kind.collection {
        "networks" => network(&mut body)?,
        "subnetworks" => subnetwork(world, &place, &mut body)?,
        "routers" => router(world, &place, &mut body)?,
        _ => firewall(world, &place, &mut body)?,
    }
    quota::admits(world, &place.project, kind)?;
    world.put(&path, kind, body);
    Ok(operation::making(world, call, vec![path], None))
}

fn network(body: &mut Value) -> Result<(), Refusal> {
    if body["autoCreateSubnetworks"] != false {
        return Err(Refusal::unserved("networks that make their own subnetworks"));
    }
    let self_link = text(&body["selfLink"]).to_owned();
    let id = text(&body["id"]).to_owned();
    body["selfLinkWithId"] = json!(self_link.replace(last(&self_link), &id));
    default(body, "networkFirewallPolicyEnforcementOrder", json!("AFTER_CLASSIC_FIREWALL"));
    if body["routingConfig"]["routingMode"].is_null() {
        body["routingConfig"] = json!({"routingMode": "REGIONAL"});
    }
    Ok(())
}

fn subnetwork(world: &mut World, place: &Place, body: &mut Value) -> Result<(), Refusal> {
    let network = in_network(world, place, body)?;
    let written = check::required(body, "ipCidrRange")?;
    let range: Ipv4Net = written.parse().map_err(|_| wrong_range(written))?;
    if range.trunc() != range {
        return Err(wrong_range(written));
    }
    let within = world.things.iter().filter(|(_, it)| it.body["network"] == link(&network).as_str());
    for (path, other) in within.filter(|(_, it)| it.kind.collection == "subnetworks") {
        let taken: Ipv4Net = text(&other.body["ipCidrRange"]).parse().expect("a range that was checked");
        if taken.contains(&range) || range.contains(&taken) {
            let region = path.split('/').nth(3).unwrap_or_default();
            let message = format!(
                "Invalid IPCidrRange: {written} conflicts with existing subnetwork '{}' in region '{region}'.",
                last(path)
            );
            return Err(Refusal::new(400, "badRequest", message));
        }
    }
    let gateway = range.hosts().next().map(|address| address.to_string());
    body["gatewayAddress"] = json!(gateway);
    body["region"] = json!(link(&place.folder(Scope::Region)));
    body["fingerprint"] = json!(world.fingerprint());
    for (field, value) in [("purpose", "PRIVATE"), ("stackType", "IPV4_ONLY")] {
        default(body, field, json!(value));
    }
    default(body, "privateIpGoogleAccess", json!(false));
    default(body, "privateIpv6GoogleAccess", json!("DISABLE_GOOGLE_ACCESS"));
    Ok(())
}

fn wrong_range(written: &str) -> Refusal {
    Refusal::invalid(
        "resource.ipCidrRange",
        &json!(written),
        "Must be a CIDR address range, with no bits after its length.",
    )
}

fn router(world: &mut World, place: &Place, body: &mut Value) -> Result<(), Refusal> {
    in_network(world, place, body)?;
    nats(body)?;
    body["region"] = json!(link(&place.folder(Scope::Region)));
    default(body, "encryptedInterconnectRouter", json!(false));
    Ok(())
}

/// What Google says of NATs that were left open.
fn nats(body: &mut Value) -> Result<(), Refusal> {
    let Some(nats) = body.get_mut("nats").and_then(Value::as_array_mut) else { return Ok(()) };
    for nat in nats {
        for field in ["name", "sourceSubnetworkIpRangesToNat"] {
            check::required(nat, field)?;
        }
        default(nat, "natIpAllocateOption", json!("AUTO_ONLY"));
        default(nat, "type", json!("PUBLIC"));
        default(nat, "endpointTypes", json!(["ENDPOINT_TYPE_VM"]));
        default(nat, "autoNetworkTier", json!("PREMIUM"));
        default(nat, "enableEndpointIndependentMapping", json!(false));
    }
    Ok(())
}

fn firewall(world: &mut World, place: &Place, body: &mut Value) -> Result<(), Refusal> {
    in_network(world, place, body)?;
    completed_rule(body)
}

/// With what Google says where nothing was said.
fn completed_rule(body: &mut Value) -> Result<(), Refusal> {
    rule(body)?;
    default(body, "direction", json!("INGRESS"));
    default(body, "priority", json!(1000));
    default(body, "disabled", json!(false));
    default(body, "logConfig", json!({"enable": false}));
    Ok(())
}

/// What a firewall rule may say.
fn rule(body: &mut Value) -> Result<(), Refusal> {
    let has = |field: &str| items(&body[field]).next().is_some();
    if has("allowed") == has("denied") {
        let message = "Firewall rules must have either allowed or denied.";
        return Err(Refusal::new(400, "invalid", message));
    }
    let by_account = has("sourceServiceAccounts") || has("targetServiceAccounts");
    if by_account && (has("sourceTags") || has("targetTags")) {
        let message = "Firewall rules cannot have both service accounts and tags.";
        return Err(Refusal::new(400, "invalid", message));
    }
    for range in items(&body["sourceRanges"]) {
        let parsed = text(range).parse::<ipnet::IpNet>();
        if parsed.is_err() {
            return Err(Refusal::invalid("resource.sourceRanges", range, "Must be a valid IP address range."));
        }
    }
    let is_open = !has("sourceRanges") && !has("sourceTags") && !has("sourceServiceAccounts");
    if is_open && body["direction"] != "EGRESS" {
        body["sourceRanges"] = json!(["0.0.0.0/0"]);
    }
    Ok(())
}

/// The path of the network that something lies in; the body gets its link.
fn in_network(world: &mut World, place: &Place, body: &mut Value) -> Result<String, Refusal> {
    let written = text(&body["network"]);
    let network = path_of(if written.is_empty() { "global/networks/default" } else { written }, &place.project);
    world.usable(&network)?;
    body["network"] = json!(link(&network));
    Ok(network)
}

fn set_private_access(world: &mut World, call: &Call, kind: &Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    world.usable(&path)?;
    let (access, print) = (call.body["privateIpGoogleAccess"].clone(), world.fingerprint());
    Ok(operation::change(world, call, (&path, "setPrivateIpGoogleAccess"), move |body| {
        body["privateIpGoogleAccess"] = access;
        body["fingerprint"] = json!(print);
    }))
}

fn add_peering(world: &mut World, call: &Call, kind: &Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    world.usable(&path)?;
    let mut peering = call.body["networkPeering"].clone();
    check::required(&peering, "name")?;
    peering["network"] = json!(link(&path_of(text(&peering["network"]), call.path("project"))));
    peering["state"] = json!("INACTIVE");
    Ok(operation::change(world, call, (&path, "addPeering"), move |body| {
        let mut peerings = body["peerings"].as_array().cloned().unwrap_or_default();
        peerings.push(peering);
        body["peerings"] = json!(peerings);
    }))
}

fn remove_peering(world: &mut World, call: &Call, kind: &Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    let name = call.text("name").to_owned();
    let has = items(&world.usable(&path)?.body["peerings"]).any(|peering| peering["name"] == name.as_str());
    if !has {
        let message = format!("There is no route network peering {name} for network {path}");
        return Err(Refusal::new(400, "badRequest", message));
    }
    Ok(operation::change(world, call, (&path, "removePeering"), move |body| {
        let left: Vec<Value> = items(&body["peerings"]).filter(|it| it["name"] != name.as_str()).cloned().collect();
        match left.is_empty() {
            true => drop(body.as_object_mut().map(|body| body.remove("peerings"))),
            false => body["peerings"] = json!(left),
        }
    }))
}

/// What an update leaves as it is, since only Google says it or it cannot change.
const KEPT: [&str; 9] = [
    "kind",
    "id",
    "name",
    "creationTimestamp",
    "selfLink",
    "network",
    "region",
    "encryptedInterconnectRouter",
    "logConfig",
];

/// A patch: fields that were sent take the place of those that are there, lists as a whole. An update leaves nothing else.
fn patch(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    let thing = world.usable(&path)?;
    if kind.collection == "subnetworks" {
        check::fingerprint(&call.body["fingerprint"], &thing.body["fingerprint"], "resource")?;
    }
    let (verb, mut after, mut asked) = (call.act().1, thing.body.clone(), call.body.clone());
    same(&mut asked, &after, "network", call.path("project"))?;
    if verb == "update" {
        after.as_object_mut().into_iter().for_each(|body| body.retain(|field, _| KEPT.contains(&field.as_str())));
    }
    merge(&mut after, &asked);
    match kind.collection {
        "routers" => nats(&mut after)?,
        "firewalls" => completed_rule(&mut after)?,
        _ => {}
    }
    let print = world.fingerprint();
    Ok(operation::change(world, call, (&path, verb), move |body| {
        *body = after;
        if body["fingerprint"].is_string() {
            body["fingerprint"] = json!(print);
        }
    }))
}

/// That a link that cannot change leads where it did.
fn same(asked: &mut Value, actual: &Value, field: &str, project: &str) -> Result<(), Refusal> {
    let Some(written) = asked[field].as_str() else {
        return Ok(());
    };
    let meant = link(&path_of(written, project));
    if actual[field] != meant.as_str() {
        let value = unlinked(&meant).to_owned();
        return Err(Refusal::invalid(&format!("resource.{field}"), &json!(value), "It cannot be changed."));
    }
    asked[field] = json!(meant);
    Ok(())
}

fn default(body: &mut Value, field: &str, value: Value) {
    if body[field].is_null() {
        body[field] = value;
    }
}
