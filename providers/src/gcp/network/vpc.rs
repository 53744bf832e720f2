//! `network.main`: a VPC without subnets of its own choosing, for one region.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use google_cloud_compute_v1::model::network_routing_config::RoutingMode;
use google_cloud_compute_v1::model::{
    Network as Described, NetworkPeering, NetworkRoutingConfig, NetworksRemovePeeringRequest,
};
use serde_json::{Value, json};

use super::shown;
use crate::gcp::auth::{Gcp, Making};
use crate::gcp::error::{gone, seen};
use crate::gcp::labels::Whose;
use crate::gcp::names::{Path, base};
use crate::gcp::operation::{act, insert};
use crate::gcp::resource::{Calls, made};

pub const COLLECTION: &str = "networks";

#[derive(Debug)]
pub struct Network;

#[async_trait]
impl Calls for Network {
    async fn read(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<Option<Value>, ProviderError> {
        let path = Path::parse(&resource.remote_id.0)?;
        Ok(described(gcp, &path).await?.map(|network| observed(&network, gcp)))
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
        let network = Described::new()
            .set_name(&path.name)
            .set_description(gcp.mark(making).description())
            .set_auto_create_subnetworks(false)
            .set_routing_config(NetworkRoutingConfig::new().set_routing_mode(RoutingMode::Regional));
        let call = gcp.compute.networks.insert().set_project(&path.project).set_body(network);
        let answer = insert!(gcp, making, call).await;
        made(gcp, making, path.id(), answer, whose(gcp, &path)).await
    }

    /// Networks that somebody joined to it could reach the machine by ways that no rule of ours was made for.
    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let path = Path::parse(&id.0)?;
        let network = shown(&desired.address, || described(gcp, &path)).await?;
        for peering in peerings(&network) {
            let call = gcp.compute.networks.remove_peering().set_project(&path.project).set_network(&path.name);
            let call = call.set_body(NetworksRemovePeeringRequest::new().set_name(peering));
            gone(act!(format!("peering {peering} of {}", desired.address), call).await)?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let path = Path::parse(&resource.remote_id.0)?;
        let call = gcp.compute.networks.delete().set_project(&path.project).set_network(&path.name);
        gone(act!(format!("removing {path}"), call).await)
    }
}

fn path(gcp: &Gcp, lineage: &str) -> Path {
    Path::global(&gcp.project, COLLECTION, &base(&gcp.deployment, lineage))
}

async fn described(gcp: &Gcp, path: &Path) -> Result<Option<Described>, ProviderError> {
    let call = gcp.compute.networks.get().set_project(&path.project).set_network(&path.name);
    seen(format!("looking at {path}"), call.send().await)
}

async fn whose(gcp: &Gcp, path: &Path) -> Result<Whose, ProviderError> {
    let network = described(gcp, path).await?;
    Ok(network.map_or(Whose::Absent, |network| Whose::described(network.description.as_deref())))
}

fn peerings(network: &Described) -> impl Iterator<Item = &str> {
    network.peerings.iter().filter_map(|peering: &NetworkPeering| peering.name.as_deref())
}

/// In the shape of [`super::super::kind::NetworkInputs`]; other networks that were joined to it show as a further key.
fn observed(network: &Described, gcp: &Gcp) -> Value {
    let mut seen = json!({ "account": gcp.project, "region": gcp.region });
    let peerings: Vec<&str> = peerings(network).collect();
    if !peerings.is_empty() {
        seen["peerings"] = json!(peerings);
    }
    seen
}
