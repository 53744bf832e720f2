//! `firewall.gateway`: one TCP port of the machine, open to the ranges that may reach it. A rule of somebody else's that lets
//! more into this network shows as drift of this one, and goes with it: nothing else may come in here.

use std::collections::BTreeSet;

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use google_cloud_compute_v1::model::Firewall as Described;
use google_cloud_compute_v1::model::firewall::{Allowed, Direction};
use serde_json::{Value, json};

use super::shown;
use crate::gcp::access::service_account;
use crate::gcp::auth::{Gcp, Making, id as id_of, inputs, named};
use crate::gcp::clients::all;
use crate::gcp::error::{failed, gone, seen};
use crate::gcp::kind::FirewallInputs;
use crate::gcp::labels::Whose;
use crate::gcp::names::{self, Path, relative};
use crate::gcp::operation::{act, insert};
use crate::gcp::resource::{Calls, made};

const COLLECTION: &str = "firewalls";
const PRIORITY: i32 = 1000;

#[derive(Debug)]
pub struct Firewall;

#[async_trait]
impl Calls for Firewall {
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let path = Path::parse(&resource.remote_id.0)?;
        let Some(firewall) = described(gcp, &path).await? else { return Ok(None) };
        let others = others(gcp, &firewall).await?;
        Ok(Some(observed(&firewall, &others, &resource.inputs, known, &gcp.project)))
    }

    async fn find(
        &self,
        gcp: &Gcp,
        _address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let path = path(gcp, &known.lineage);
        Ok(whose(gcp, &path).await?.found_by(token, path.id()))
    }

    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let path = path(gcp, &making.known.lineage);
        let firewall = wanted(making.desired, making.known)?
            .set_name(&path.name)
            .set_description(gcp.mark(making).description())
            .set_direction(Direction::Ingress);
        let call = gcp.compute.firewalls.insert().set_project(&path.project).set_body(firewall);
        let answer = insert!(gcp, making, call).await;
        made(gcp, making, path.id(), answer, whose(gcp, &path)).await
    }

    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let path = Path::parse(&id.0)?;
        let firewall = shown(&desired.address, || described(gcp, &path)).await?;
        // Takes away first, so that nothing is open that should not be.
        for other in others(gcp, &firewall).await? {
            remove(gcp, &Path::global(&path.project, COLLECTION, &other)).await?;
        }
        let wanted = wanted(desired, known)?;
        if !is_same(&firewall, &wanted) {
            // As a whole: a patch would leave what somebody added, and tags do not go with accounts.
            let call = gcp.compute.firewalls.update().set_project(&path.project).set_firewall(&path.name);
            act!(format!("rules of {}", desired.address), call.set_body(over(wanted, firewall))).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        remove(gcp, &Path::parse(&resource.remote_id.0)?).await
    }
}

fn path(gcp: &Gcp, lineage: &str) -> Path {
    Path::global(&gcp.project, COLLECTION, &names::firewall(&gcp.deployment, lineage))
}

async fn remove(gcp: &Gcp, path: &Path) -> Result<(), ProviderError> {
    let call = gcp.compute.firewalls.delete().set_project(&path.project).set_firewall(&path.name);
    gone(act!(format!("removing {path}"), call).await)
}

async fn described(gcp: &Gcp, path: &Path) -> Result<Option<Described>, ProviderError> {
    let call = gcp.compute.firewalls.get().set_project(&path.project).set_firewall(&path.name);
    seen(format!("looking at {path}"), call.send().await)
}

async fn whose(gcp: &Gcp, path: &Path) -> Result<Whose, ProviderError> {
    let firewall = described(gcp, path).await?;
    Ok(firewall.map_or(Whose::Absent, |firewall| Whose::described(firewall.description.as_deref())))
}

/// Names of the other rules that let something into the same network; sorted.
async fn others(gcp: &Gcp, own: &Described) -> Result<BTreeSet<String>, ProviderError> {
    let all = all!(gcp.compute.firewalls.list().set_project(&gcp.project)).await;
    let all = all.map_err(failed("looking at firewall rules"))?;
    Ok(all.into_iter().filter(|rule| lets_more_in(rule, own)).filter_map(|rule| rule.name).collect())
}

fn lets_more_in(rule: &Described, own: &Described) -> bool {
    let network = |rule: &Described| rule.network.as_deref().map(|link| relative(link).to_owned());
    rule.name != own.name
        && network(rule) == network(own)
        && rule.direction != Some(Direction::Egress)
        && !rule.allowed.is_empty()
        && rule.disabled != Some(true)
}

/// What the inputs ask for, as Google takes it; whose it is does not change any more.
fn wanted(desired: &Desired, known: &Known) -> Result<Described, ProviderError> {
    let inputs: FirewallInputs = inputs(desired)?;
    let account = id_of(desired, known, &inputs.service_account)?;
    Ok(Described::new()
        .set_network(id_of(desired, known, &inputs.network)?)
        .set_priority(PRIORITY)
        .set_allowed([tcp(inputs.port)])
        .set_source_ranges(inputs.allow)
        .set_target_service_accounts([service_account::email(account)?])
        .set_disabled(false))
}

/// With what an update would take away if it were not said again: whose it is, which way it goes.
fn over(wanted: Described, seen: Described) -> Described {
    wanted.set_or_clear_name(seen.name).set_or_clear_description(seen.description).set_direction(Direction::Ingress)
}

fn tcp(port: u16) -> Allowed {
    Allowed::new().set_ip_protocol("tcp").set_ports([port.to_string()])
}

fn sorted(ranges: &[String]) -> BTreeSet<&String> {
    ranges.iter().collect()
}

fn is_same(seen: &Described, wanted: &Described) -> bool {
    sorted(&seen.source_ranges) == sorted(&wanted.source_ranges)
        && seen.target_service_accounts == wanted.target_service_accounts
        && seen.allowed == wanted.allowed
        && oddities(seen).is_empty()
}

/// What is not as we always make it.
fn oddities(seen: &Described) -> Vec<(&'static str, Value)> {
    let mut odd = Vec::new();
    if seen.disabled == Some(true) {
        odd.push(("disabled", json!(true)));
    }
    if seen.priority.is_some_and(|priority| priority != PRIORITY) {
        odd.push(("priority", json!(seen.priority)));
    }
    // A rule is for either; with tags, it is for whatever carries them.
    let tags: Vec<&String> = seen.source_tags.iter().chain(&seen.target_tags).collect();
    if !tags.is_empty() {
        odd.push(("tags", json!(tags)));
    }
    if !seen.source_service_accounts.is_empty() {
        odd.push(("source_service_accounts", json!(seen.source_service_accounts)));
    }
    odd
}

/// In the shape of [`FirewallInputs`]. Which port is ours only the record tells; whatever else is let in shows as a further
/// rule.
fn observed(seen: &Described, others: &BTreeSet<String>, recorded: &Value, known: &Known, project: &str) -> Value {
    let port = recorded["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let is_ours = |allowed: &&Allowed| port.is_some_and(|port| **allowed == tcp(port));
    let mut further: BTreeSet<String> = seen.allowed.iter().filter(|allowed| !is_ours(allowed)).map(in_words).collect();
    further.extend(others.iter().map(|other| format!("rule {other}")));
    let accounts: Vec<String> = seen
        .target_service_accounts
        .iter()
        .map(|email| named(known, &service_account::id_of(project, email).0))
        .collect();
    let mut fields = json!({
        "network": seen.network.as_deref().map(|link| named(known, relative(link))),
        "service_account": accounts.first(),
        "port": if seen.allowed.iter().any(|allowed| is_ours(&allowed)) { recorded["port"].clone() } else { Value::Null },
        "allow": sorted(&seen.source_ranges),
    });
    if !further.is_empty() {
        fields["further_rules"] = json!(further);
    }
    if accounts.len() > 1 {
        fields["service_accounts"] = json!(accounts);
    }
    for (key, how) in oddities(seen) {
        fields[key] = how;
    }
    fields
}

fn in_words(allowed: &Allowed) -> String {
    let ports = if allowed.ports.is_empty() { "all ports".to_owned() } else { allowed.ports.join(", ") };
    format!("{} {ports}", allowed.ip_protocol.as_deref().unwrap_or("all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> Described {
        Described::new()
            .set_name(name)
            .set_network("https://x/compute/v1/projects/p/global/networks/n")
            .set_direction(Direction::Ingress)
            .set_priority(PRIORITY)
            .set_allowed([tcp(443)])
            .set_source_ranges(["192.168.0.0/16", "10.0.0.0/8"])
            .set_target_service_accounts(["dsctl-1@p.iam.gserviceaccount.com"])
    }

    fn shown(rule: &Described, others: &[&str]) -> Value {
        let others = others.iter().map(|name| (*name).to_owned()).collect();
        observed(rule, &others, &json!({"port": 443}), &Known::empty("l"), "p")
    }

    #[test]
    fn a_rule_as_it_was_made_shows_its_inputs_only() {
        assert_eq!(
            shown(&rule("own"), &[]),
            json!({"network": "projects/p/global/networks/n", "port": 443, "allow": ["10.0.0.0/8", "192.168.0.0/16"],
                "service_account": "projects/p/serviceAccounts/dsctl-1@p.iam.gserviceaccount.com"})
        );
    }

    #[test]
    fn whatever_else_is_let_in_shows_in_words() {
        let open = rule("own").set_allowed([tcp(443), Allowed::new().set_ip_protocol("icmp")]);
        assert_eq!(shown(&open, &["ssh"])["further_rules"], json!(["icmp all ports", "rule ssh"]));
        assert_eq!(shown(&rule("own").set_allowed([tcp(22)]), &[])["port"], Value::Null);
        let by_account = rule("own").set_source_service_accounts(["eve@q.iam.gserviceaccount.com"]);
        assert_eq!(shown(&by_account, &[])["source_service_accounts"], json!(["eve@q.iam.gserviceaccount.com"]));
        assert!(!is_same(&by_account, &rule("own")));
        let off = rule("own").set_disabled(true).set_target_tags(["web"]);
        assert_eq!((&shown(&off, &[])["disabled"], &shown(&off, &[])["tags"]), (&json!(true), &json!(["web"])));
    }

    #[test]
    fn only_what_lets_something_into_the_same_network_is_more() {
        let own = rule("own");
        assert!(lets_more_in(&rule("ssh"), &own));
        assert!(!lets_more_in(&own, &own));
        assert!(!lets_more_in(&rule("out").set_direction(Direction::Egress), &own));
        assert!(!lets_more_in(&rule("off").set_disabled(true), &own));
        assert!(!lets_more_in(&rule("deny").set_allowed(Vec::<Allowed>::new()), &own));
        assert!(!lets_more_in(&rule("other").set_network("projects/p/global/networks/m"), &own));
    }

    #[test]
    fn the_order_of_ranges_does_not_count() {
        let turned = rule("own").set_source_ranges(["10.0.0.0/8", "192.168.0.0/16"]);
        assert!(is_same(&rule("own"), &turned));
        assert!(!is_same(&rule("own"), &turned.set_source_ranges(["0.0.0.0/0"])));
        assert!(!is_same(&rule("own").set_disabled(true), &rule("own")));
    }
}
