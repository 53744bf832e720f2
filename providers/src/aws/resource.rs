//! What each kind of resource knows to do; [`of`] leads from an address to its kind.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use super::auth::{Aws, Making};
use super::{access, kind, machine, network, storage, tags};

/// The calls of one kind of resource.
#[async_trait]
pub trait Calls: Sync {
    /// Its inputs as AWS shows them; none if it is gone, or going. What is not as we always make it (a bucket that anybody
    /// may read, say) shows as a further key, so that it differs. Looks only.
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError>;

    /// What carries the token and is neither gone nor going. What EC2 makes is found by its tags.
    async fn find(
        &self,
        aws: &Aws,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        for id in tags::carrying(aws, address, token).await? {
            let resource = Resource::unread(id.clone());
            if self.read(aws, &resource, known).await?.is_some() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The one call that makes it, with its tags and its token; everything else is [`Calls::update`]'s, which follows.
    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError>;

    /// Brings what is there to the desired inputs, whatever of it was done before, and waits until it can be stood on.
    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError>;

    /// Removes it and waits until it is gone; what is absent is Ok.
    async fn delete(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<(), ProviderError>;
}

/// The calls of an address' kind.
pub fn of(address: &Address) -> Result<&'static dyn Calls, ProviderError> {
    Ok(match address.kind() {
        kind::NETWORK => &network::vpc::Network,
        kind::SUBNET => &network::subnet::Subnet,
        kind::INTERNET_GATEWAY => &network::internet_gateway::InternetGateway,
        kind::ELASTIC_IP => &network::elastic_ip::ElasticIp,
        kind::NAT_GATEWAY => &network::nat_gateway::NatGateway,
        kind::ROUTE_TABLE => &network::route_table::RouteTable,
        kind::ENDPOINT => &network::endpoint::Endpoint,
        kind::SECURITY_GROUP => &network::security_group::SecurityGroup,
        kind::BUCKET => &storage::bucket::Bucket,
        kind::ARTIFACT => &storage::artifact::Artifact,
        kind::SECRET => &storage::secret::Secret,
        kind::HOST_SPEC => &storage::host_spec::HostSpec,
        kind::ROLE => &access::role::Role,
        kind::INSTANCE_PROFILE => &access::instance_profile::InstanceProfile,
        kind::MACHINE => &machine::Machine,
        _ => {
            let message = "this dsctl does not know such a resource; use the dsctl that made it";
            return Err(ProviderError::permanent(address, message));
        }
    })
}
