//! The ownership tags that every resource carries from its first moment: by them an interrupted create is found again,
//! and what nobody knows of any more is found at all.

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use engine::graph::Address;
use engine::provider::{ProviderError, Token};
use engine::state::RemoteId;
use spec::id::DeploymentName;

use super::auth::Aws;
use super::error::failed;
use super::kind;

pub const DEPLOYMENT: &str = "dsctl:deployment";
pub const ADDRESS: &str = "dsctl:address";
pub const TOKEN: &str = "dsctl:token";
pub const LINEAGE: &str = "dsctl:lineage";
/// The caller's ARN.
pub const OWNER: &str = "dsctl:owner";
/// What the console shows.
pub const NAME: &str = "Name";

/// Whose a resource is.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    pub deployment: &'a DeploymentName,
    pub address: &'a Address,
    pub token: &'a Token,
    pub lineage: &'a str,
    pub owner: &'a str,
}

impl Mark<'_> {
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        vec![
            (NAME, format!("dsctl {} {}", self.deployment, self.address)),
            (DEPLOYMENT, self.deployment.to_string()),
            (ADDRESS, self.address.to_string()),
            (TOKEN, self.token.0.clone()),
            (LINEAGE, self.lineage.to_owned()),
            (OWNER, self.owner.to_owned()),
        ]
    }

    /// For the call that makes it.
    pub fn specification(&self, kind: ResourceType) -> TagSpecification {
        let tags = self.pairs().into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        TagSpecification::builder().resource_type(kind).set_tags(Some(tags.collect())).build()
    }
}

/// What a search by one tag is given.
pub fn filter(tag: &str, value: impl Into<String>) -> Filter {
    Filter::builder().name(format!("tag:{tag}")).values(value).build()
}

/// Ids of what EC2 made for an intent, by its tag; what is gone shows for a while still.
pub async fn carrying(aws: &Aws, address: &Address, token: &Token) -> Result<Vec<RemoteId>, ProviderError> {
    let filters = [("key", TOKEN), ("value", token.0.as_str())];
    let filters = filters.map(|(name, value)| Filter::builder().name(name).values(value).build());
    let answer = aws.look.ec2.describe_tags().set_filters(Some(filters.into())).send().await;
    let found = answer.map_err(failed(format!("looking for {address}")))?;
    // Volumes and interfaces of a machine carry its tags too; an id says what it is of by its first letters.
    let is_ours = |id: &&str| id_prefix(address).is_some_and(|prefix| id.starts_with(prefix));
    let ids = found.tags().iter().filter_map(|tag| tag.resource_id()).filter(is_ours);
    Ok(ids.map(|id| RemoteId(id.to_owned())).collect())
}

/// How ids of what EC2 makes for an address begin.
fn id_prefix(address: &Address) -> Option<&'static str> {
    Some(match address.kind() {
        kind::NETWORK => "vpc-",
        kind::SUBNET => "subnet-",
        kind::INTERNET_GATEWAY => "igw-",
        kind::ELASTIC_IP => "eipalloc-",
        kind::NAT_GATEWAY => "nat-",
        kind::ROUTE_TABLE => "rtb-",
        kind::ENDPOINT => "vpce-",
        kind::SECURITY_GROUP => "sg-",
        kind::MACHINE => "i-",
        _ => return None,
    })
}

/// A tag's value.
pub fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}
