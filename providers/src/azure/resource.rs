//! What each kind of resource knows to do; [`of`] leads from an address to its kind.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use super::auth::{Azure, Making};
use super::{access, group, kind, machine, network, storage, thing};

/// The calls of one kind of resource.
#[async_trait]
pub trait Calls: Sync {
    /// Its inputs as Azure shows them; none if it is gone, or going. What is not as we always make it (a storage account that
    /// takes keys, say) shows as a further key, so that it differs. Looks only.
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError>;

    /// What carries the token and is neither gone nor going. What Resource Manager keeps is found by its name, which follows
    /// from lineage, address and token.
    async fn find(
        &self,
        azure: &Azure,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        thing::find(azure, address, token, known).await
    }

    /// The one call that makes it, with its tags and its token; everything else is [`Calls::update`]'s, which follows.
    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError>;

    /// Brings what is there to the desired inputs, whatever of it was done before, and waits until it can be stood on.
    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError>;

    /// Removes it and waits until it is gone; what is absent is Ok.
    async fn delete(&self, azure: &Azure, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        azure.arm.delete(&resource.remote_id.0).await
    }
}

/// The calls of an address' kind.
pub fn of(address: &Address) -> Result<&'static dyn Calls, ProviderError> {
    Ok(match address.kind() {
        kind::GROUP => &group::Group,
        kind::SECURITY_GROUP => &network::security_group::SecurityGroup,
        kind::PUBLIC_ADDRESS => &network::public_address::PublicAddress,
        kind::NAT_GATEWAY => &network::nat_gateway::NatGateway,
        kind::NETWORK => &network::vnet::Network,
        kind::IDENTITY => &access::identity::Identity,
        kind::STORAGE => &storage::account::Account,
        kind::BUCKET => &storage::container::Container,
        kind::ACCESS if address.name() == kind::OPERATOR => &access::operator::Operator,
        kind::ACCESS => &access::machine::Machine,
        kind::ARTIFACT => &storage::artifact::Artifact,
        kind::SECRET => &storage::secret::Secret,
        kind::HOST_SPEC => &storage::host_spec::HostSpec,
        kind::MACHINE => &machine::Machine,
        _ => {
            let message = "this dsctl does not know such a resource; use the dsctl that made it";
            return Err(ProviderError::permanent(address, message));
        }
    })
}
