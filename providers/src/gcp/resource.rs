//! What each kind of resource knows to do; [`of`] leads from an address to its kind.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use super::auth::{Gcp, Making};
use super::error::{Denied, Why};
use super::labels::Whose;
use super::{access, kind, machine, network, storage};

/// The calls of one kind of resource.
#[async_trait]
pub trait Calls: Sync {
    /// Its inputs as Google shows them; none if it is gone, or going. What is not as we always make it (a bucket that anybody
    /// may read, say) shows as a further key, so that it differs. Looks only.
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError>;

    /// What carries the token and is neither gone nor going: it is known by its name, which is always the same.
    async fn find(
        &self,
        gcp: &Gcp,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError>;

    /// The one call that makes it, with whose it is from the first moment; everything else is [`Calls::update`]'s, which
    /// follows.
    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError>;

    /// Brings what is there to the desired inputs, whatever of it was done before, and waits until it can be stood on.
    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError>;

    /// Removes it and waits until it is gone; what is absent is Ok.
    async fn delete(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<(), ProviderError>;
}

/// The calls of an address' kind.
pub fn of(address: &Address) -> Result<&'static dyn Calls, ProviderError> {
    Ok(match address.kind() {
        kind::NETWORK => &network::vpc::Network,
        kind::SUBNET => &network::subnet::Subnet,
        kind::ROUTER => &network::router::Router,
        kind::FIREWALL => &network::firewall::Firewall,
        kind::BUCKET => &storage::bucket::Bucket,
        kind::ARTIFACT => &storage::artifact::Artifact,
        kind::SECRET => &storage::secret::Secret,
        kind::HOST_SPEC => &storage::host_spec::HostSpec,
        kind::SERVICE_ACCOUNT => &access::service_account::ServiceAccount,
        kind::ACCESS => &access::bucket_access::BucketAccess,
        kind::MACHINE => &machine::Machine,
        _ => {
            let message = "this dsctl does not know such a resource; use the dsctl that made it";
            return Err(ProviderError::permanent(address, message));
        }
    })
}

/// The id of what was made. A name that is taken already is looked into: what this lineage made for the same address, by
/// whichever intent, is taken over, since there can be no other of that name; anything else is somebody's.
pub async fn made<F>(
    gcp: &Gcp,
    making: &Making<'_>,
    id: RemoteId,
    made: Result<(), Denied>,
    whose: F,
) -> Result<RemoteId, ProviderError>
where
    F: Future<Output = Result<Whose, ProviderError>>,
{
    let address = &making.desired.address;
    match made {
        Ok(()) => Ok(id),
        Err(denied) if denied.why == Why::Conflict => match whose.await? {
            Whose::Marked(whose) if whose.is_place(&gcp.deployment, address, &making.known.lineage) => Ok(id),
            Whose::Marked(_) | Whose::Strangers => Err(taken(address, &id)),
            Whose::Absent => Err(ProviderError::new(ErrorKind::NotYet, address, format!("{} is on its way out", id.0))),
        },
        Err(denied) => Err(denied.error),
    }
}

fn taken(address: &Address, id: &RemoteId) -> ProviderError {
    let message = format!("{} is there already, and is none of this deployment's", id.0);
    ProviderError::permanent(address, message).with_next("dsctl orphans --cloud gcp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_calls_and_an_unknown_one_says_so() {
        for kind in [kind::NETWORK, kind::ROUTER, kind::ACCESS, kind::MACHINE, kind::SECRET] {
            assert!(of(&Address::new(kind, "x")).is_ok(), "{kind}");
        }
        let error = of(&Address::new("nat-gateway", "x")).err().unwrap();
        assert!(error.to_string().contains("use the dsctl that made it"), "{error}");
    }
}
