//! Everything that is alive in the account, asked of moto itself by a python of Amazon's own client, past proxy and faults;
//! and what somebody else does there.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::python::Conversation;

#[derive(Debug)]
pub struct Account(Conversation);

impl Account {
    /// `environment` is the virtual environment with boto3.
    #[track_caller]
    pub fn start(environment: &Path) -> Self {
        Self(Conversation::start(environment, "aws_account.py"))
    }

    /// By kind, in lists: `instances`, `volumes`, `vpcs`, `subnets`, `internet_gateways`, `addresses`, `nat_gateways`,
    /// `route_tables`, `endpoints`, `security_groups`, `interfaces`, `spot_requests`, `buckets`, `roles`,
    /// `instance_profiles`. Each has `id` and `tags`; the rest is as `python/aws_account.py` writes it.
    #[track_caller]
    pub fn list(&self, url: &str, region: &str) -> Value {
        self.0.ask(&json!({"endpoint": url, "region": region}))
    }

    /// One call of boto3's, as somebody else in the account would make it; gives its answer.
    #[track_caller]
    pub fn call(&self, url: &str, region: &str, (service, operation): (&str, &str), arguments: &Value) -> Value {
        self.0.ask(&json!({
            "endpoint": url, "region": region, "service": service, "operation": operation, "arguments": arguments,
        }))
    }
}

/// Kinds whose ids a state records as they are.
const BY_ID: [&str; 12] = [
    "instances",
    "vpcs",
    "subnets",
    "internet_gateways",
    "addresses",
    "nat_gateways",
    "route_tables",
    "endpoints",
    "security_groups",
    "buckets",
    "roles",
    "instance_profiles",
];

/// Of everything that a deployment's state records: ids of EC2, the bucket's name, `s3://bucket/key` of its objects, names
/// of roles and instance profiles. Volumes and interfaces are their machine's; [`orphans`] tells those that have none.
pub fn alive_ids(account: &Value) -> BTreeSet<String> {
    alive(account).into_iter().collect()
}

/// The same, sorted, with what two things share as often as there are: a role and an instance profile of one name.
pub fn alive(account: &Value) -> Vec<String> {
    let ids = BY_ID.iter().flat_map(|kind| things(account, kind)).map(|thing| text(&thing["id"]));
    let objects = things(account, "buckets").flat_map(|bucket| {
        let keys = bucket["keys"].as_array().into_iter().flatten();
        keys.map(|key| format!("s3://{}/{}", text(&bucket["id"]), text(key)))
    });
    let mut alive: Vec<String> = ids.chain(objects).collect();
    alive.sort();
    alive
}

/// What costs money and belongs to no machine: free volumes and interfaces, addresses that nothing uses.
pub fn orphans(account: &Value) -> BTreeSet<String> {
    let free =
        |kind| things(account, kind).filter(|thing| thing["attached_to"].is_null()).map(|thing| text(&thing["id"]));
    ["volumes", "interfaces", "addresses"].into_iter().flat_map(free).collect()
}

/// The things of a kind.
pub fn things<'a>(account: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let list = account[kind].as_array().unwrap_or_else(|| panic!("no {kind} in {account}"));
    list.iter()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
