//! `security-group.machine`, `security-group.endpoints`: one TCP port, open to the ranges that may reach it. What goes out
//! is left as AWS makes it.

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{
    Filter, IpPermission, IpRange, Ipv6Range, PrefixListId, ResourceType, SecurityGroup as Described, UserIdGroupPair,
};
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{Difference, SHOW_LIMIT, made, vanished};
use crate::aws::auth::{Aws, Making, inputs, named};
use crate::aws::error::{done_or, failed, found, gone};
use crate::aws::kind::SecurityGroupInputs;
use crate::aws::resource::Calls;
use crate::aws::tags;
use crate::wait::Pauses;

#[derive(Debug)]
pub struct SecurityGroup;

#[async_trait]
impl Calls for SecurityGroup {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let group = described(aws, &resource.remote_id.0).await?;
        Ok(group.map(|group| observed(&group, &resource.inputs, known)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: SecurityGroupInputs = making.inputs()?;
        let address = &making.desired.address;
        let (name, network) = (group_name(aws, making), making.id(&inputs.network)?);
        let call = aws
            .act
            .ec2
            .create_security_group()
            .group_name(&name)
            .description(format!("dsctl {}: {address}", aws.deployment))
            .vpc_id(network)
            .tag_specifications(aws.mark(making).await?.specification(ResourceType::SecurityGroup));
        match call.send().await {
            Ok(answer) => made(address, answer.group_id()),
            // By its name, which the token is part of: an earlier call with the same token had made it.
            Err(error) if error.code() == Some("InvalidGroup.Duplicate") => by_name(aws, making, &name, network).await,
            Err(error) => Err(failed(address)(error)),
        }
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let wanted = wanted(&inputs(desired)?);
        let mut pauses = Pauses::until(SHOW_LIMIT);
        loop {
            // Not seen yet: what was made a moment ago. A rule that does not show yet is refused as a duplicate.
            if let Some(group) = described(aws, &id.0).await? {
                let difference = Difference::between(&rules(group.ip_permissions()), &wanted);
                if difference.is_empty() {
                    return Ok(id.clone());
                }
                set_rules(aws, &id.0, &difference, desired).await?;
            }
            pauses.next(format!("the rules of {} are not as they should be", desired.address)).await?;
        }
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        gone(format!("removing {id}"), aws.act.ec2.delete_security_group().group_id(id).send().await)?;
        vanished(id, SHOW_LIMIT, || described(aws, id)).await
    }
}

async fn described(aws: &Aws, id: &str) -> Result<Option<Described>, ProviderError> {
    let answer = aws.look.ec2.describe_security_groups().group_ids(id).send().await;
    let answer = found(format!("looking at {id}"), answer)?;
    Ok(answer.and_then(|answer| answer.security_groups().first().cloned()))
}

/// Unlike any other in the network: AWS takes no two of a name, and one that is replaced stands beside its successor.
fn group_name(aws: &Aws, making: &Making<'_>) -> String {
    let token: String = making.token.0.chars().take(8).collect();
    format!("dsctl-{}-{}-{token}", aws.deployment, making.desired.address.name())
}

async fn by_name(aws: &Aws, making: &Making<'_>, name: &str, network: &str) -> Result<RemoteId, ProviderError> {
    let address = &making.desired.address;
    let call = aws
        .look
        .ec2
        .describe_security_groups()
        .filters(Filter::builder().name("group-name").values(name).build())
        .filters(Filter::builder().name("vpc-id").values(network).build())
        .filters(tags::filter(tags::TOKEN, &making.token.0));
    let answer = call.send().await.map_err(failed(format!("looking for {address}")))?;
    made(address, answer.security_groups().first().and_then(Described::group_id))
}

/// One source that may come in, at some ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    /// `-1` is all of them.
    protocol: String,
    ports: Option<(i32, i32)>,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Range(String),
    Ipv6(String),
    Group { id: String, account: Option<String> },
    Prefixes(String),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.protocol == "-1" { "all" } else { &self.protocol })?;
        match self.ports {
            Some((from, to)) if from == to => write!(f, " {from}")?,
            Some((from, to)) => write!(f, " {from}-{to}")?,
            None => {}
        }
        let (Source::Range(text) | Source::Ipv6(text) | Source::Prefixes(text) | Source::Group { id: text, .. }) =
            &self.source;
        write!(f, " from {text}")
    }
}

impl Rule {
    fn tcp(port: i32, range: &str) -> Self {
        Self { protocol: "tcp".to_owned(), ports: Some((port, port)), source: Source::Range(range.to_owned()) }
    }

    /// As AWS takes it.
    fn permission(&self) -> IpPermission {
        let made = IpPermission::builder()
            .ip_protocol(&self.protocol)
            .set_from_port(self.ports.map(|(from, _)| from))
            .set_to_port(self.ports.map(|(_, to)| to));
        let made = match &self.source {
            Source::Range(range) => made.ip_ranges(IpRange::builder().cidr_ip(range).build()),
            Source::Ipv6(range) => made.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(range).build()),
            Source::Prefixes(id) => made.prefix_list_ids(PrefixListId::builder().prefix_list_id(id).build()),
            Source::Group { id, account } => {
                made.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).set_user_id(account.clone()).build())
            }
        };
        made.build()
    }
}

fn wanted(inputs: &SecurityGroupInputs) -> BTreeSet<Rule> {
    inputs.allow.iter().map(|range| Rule::tcp(i32::from(inputs.port), range)).collect()
}

/// AWS shows one permission for all sources of a protocol and its ports.
fn rules(permissions: &[IpPermission]) -> BTreeSet<Rule> {
    permissions.iter().flat_map(|permission| sources(permission).map(move |source| rule(permission, source))).collect()
}

fn rule(permission: &IpPermission, source: Source) -> Rule {
    let protocol = permission.ip_protocol().unwrap_or("-1").to_owned();
    Rule { protocol, ports: permission.from_port().zip(permission.to_port()), source }
}

fn sources(permission: &IpPermission) -> impl Iterator<Item = Source> {
    let range = |it: &IpRange| Some(Source::Range(it.cidr_ip()?.to_owned()));
    let ipv6 = |it: &Ipv6Range| Some(Source::Ipv6(it.cidr_ipv6()?.to_owned()));
    let prefixes = |it: &PrefixListId| Some(Source::Prefixes(it.prefix_list_id()?.to_owned()));
    let group = |it: &UserIdGroupPair| {
        Some(Source::Group { id: it.group_id()?.to_owned(), account: it.user_id().map(str::to_owned) })
    };
    let ranges = permission.ip_ranges().iter().filter_map(range);
    let ranges = ranges.chain(permission.ipv6_ranges().iter().filter_map(ipv6));
    let others = permission.prefix_list_ids().iter().filter_map(prefixes);
    ranges.chain(others).chain(permission.user_id_group_pairs().iter().filter_map(group))
}

/// In the shape of [`SecurityGroupInputs`]. Which port is ours only the record tells; every other rule shows as a further one.
fn observed(group: &Described, recorded: &Value, known: &Known) -> Value {
    let port = recorded["port"].as_u64().and_then(|port| i32::try_from(port).ok());
    let (mut allow, mut further) = (BTreeSet::new(), Vec::new());
    for rule in rules(group.ip_permissions()) {
        match (&rule.source, port) {
            (Source::Range(range), Some(port)) if rule == Rule::tcp(port, range) => {
                allow.insert(range.clone());
            }
            _ => further.push(rule.to_string()),
        }
    }
    let network = group.vpc_id().map(|id| named(known, id));
    let mut seen = json!({ "network": network, "port": recorded["port"], "allow": allow });
    if !further.is_empty() {
        seen["further_rules"] = json!(further);
    }
    seen
}

/// Takes away first, so that nothing is open that should not be; AWS refuses all of a call for one duplicate in it.
async fn set_rules(aws: &Aws, id: &str, difference: &Difference<Rule>, desired: &Desired) -> Result<(), ProviderError> {
    let permissions = |rules: &[Rule]| rules.iter().map(Rule::permission).collect::<Vec<_>>();
    let what = format!("rules of {}", desired.address);
    if !difference.surplus.is_empty() {
        let call = aws.act.ec2.revoke_security_group_ingress().group_id(id);
        let call = call.set_ip_permissions(Some(permissions(&difference.surplus)));
        done_or(&what, &["InvalidPermission.NotFound"], call.send().await)?;
    }
    if !difference.missing.is_empty() {
        let call = aws.act.ec2.authorize_security_group_ingress().group_id(id);
        let call = call.set_ip_permissions(Some(permissions(&difference.missing)));
        done_or(&what, &["InvalidPermission.Duplicate"], call.send().await)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(allow: &[&str]) -> SecurityGroupInputs {
        let allow = allow.iter().map(|range| (*range).to_owned()).collect();
        SecurityGroupInputs { network: "vpc-1".to_owned(), port: 443, allow }
    }

    fn group(permissions: Vec<IpPermission>) -> Described {
        Described::builder().vpc_id("vpc-1").set_ip_permissions(Some(permissions)).build()
    }

    #[test]
    fn what_was_asked_for_shows_as_asked_and_leaves_nothing_to_do() {
        let inputs = inputs(&["10.0.0.0/8", "192.168.0.0/16"]);
        let permissions: Vec<IpPermission> = wanted(&inputs).iter().map(Rule::permission).collect();
        assert!(Difference::between(&rules(&permissions), &wanted(&inputs)).is_empty());
        let recorded = serde_json::to_value(&inputs).unwrap();
        assert_eq!(observed(&group(permissions), &recorded, &Known::empty("l")), recorded);
    }

    #[test]
    fn every_other_rule_shows_in_words_and_is_to_go() {
        let permission = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(443)
            .to_port(443)
            .ip_ranges(IpRange::builder().cidr_ip("10.0.0.0/8").build())
            .ipv6_ranges(Ipv6Range::builder().cidr_ipv6("::/0").build());
        let all = IpPermission::builder()
            .ip_protocol("-1")
            .user_id_group_pairs(UserIdGroupPair::builder().group_id("sg-2").user_id("1").build());
        let permissions = vec![permission.build(), all.build()];
        let surplus = Difference::between(&rules(&permissions), &wanted(&inputs(&["10.0.0.0/8"]))).surplus;
        let again: Vec<IpPermission> = surplus.iter().map(Rule::permission).collect();
        assert_eq!(rules(&again), surplus.iter().cloned().collect::<BTreeSet<_>>());

        let seen = observed(&group(permissions), &json!({ "port": 443 }), &Known::empty("l"));
        assert_eq!(seen["allow"], json!(["10.0.0.0/8"]));
        assert_eq!(seen["further_rules"], json!(["all from sg-2", "tcp 443 from ::/0"]));
    }

    #[test]
    fn a_changed_range_is_one_rule_to_add_and_one_to_remove() {
        let (before, after) = (wanted(&inputs(&["10.0.0.0/8"])), wanted(&inputs(&["10.1.0.0/16"])));
        let difference = Difference::between(&before, &after);
        assert_eq!(difference.missing, [Rule::tcp(443, "10.1.0.0/16")]);
        assert_eq!(difference.surplus, [Rule::tcp(443, "10.0.0.0/8")]);
    }
}
