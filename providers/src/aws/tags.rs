//! The ownership tags that every resource carries from its first moment: by them an interrupted create is found again,
//! and what nobody knows of any more is found at all.

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use engine::graph::Address;
use engine::provider::Token;
use spec::id::DeploymentName;

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

/// The search for what an intent made.
pub fn of_intent(deployment: &DeploymentName, address: &Address, token: &Token) -> Vec<Filter> {
    vec![filter(DEPLOYMENT, deployment.as_str()), filter(ADDRESS, address.as_str()), filter(TOKEN, token.0.as_str())]
}

/// A tag's value.
pub fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}
