//! `subnet.main`: the network's one range, in all zones of the region. What is in it reaches Google's own services (the
//! bucket, say) without an address of the world.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use google_cloud_compute_v1::model::subnetwork::StackType;
use google_cloud_compute_v1::model::{Subnetwork, SubnetworksSetPrivateIpGoogleAccessRequest};
use serde_json::{Value, json};

use super::shown;
use crate::gcp::auth::{Gcp, Making, named};
use crate::gcp::error::{gone, seen};
use crate::gcp::kind::SubnetInputs;
use crate::gcp::labels::Whose;
use crate::gcp::names::{Path, base, relative};
use crate::gcp::operation::{act, insert};
use crate::gcp::resource::{Calls, made};

const COLLECTION: &str = "subnetworks";

#[derive(Debug)]
pub struct Subnet;

#[async_trait]
impl Calls for Subnet {
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let path = Path::parse(&resource.remote_id.0)?;
        Ok(described(gcp, &path).await?.map(|subnet| observed(&subnet, known)))
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
        let inputs: SubnetInputs = making.inputs()?;
        let path = path(gcp, &making.known.lineage);
        let subnet = Subnetwork::new()
            .set_name(&path.name)
            .set_description(gcp.mark(making).description())
            .set_network(making.id(&inputs.network)?)
            .set_ip_cidr_range(&inputs.range)
            .set_private_ip_google_access(true)
            .set_stack_type(StackType::Ipv4Only);
        let call =
            gcp.compute.subnetworks.insert().set_project(&path.project).set_region(path.place()).set_body(subnet);
        let answer = insert!(gcp, making, call).await;
        made(gcp, making, path.id(), answer, whose(gcp, &path)).await
    }

    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let path = Path::parse(&id.0)?;
        let subnet = shown(&desired.address, || described(gcp, &path)).await?;
        if subnet.private_ip_google_access != Some(true) {
            let on = SubnetworksSetPrivateIpGoogleAccessRequest::new().set_private_ip_google_access(true);
            let call = gcp.compute.subnetworks.set_private_ip_google_access().set_project(&path.project);
            let call = call.set_region(path.place()).set_subnetwork(&path.name).set_body(on);
            act!(format!("way to Google's services from {}", desired.address), call).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let path = Path::parse(&resource.remote_id.0)?;
        let call = gcp.compute.subnetworks.delete().set_project(&path.project);
        let call = call.set_region(path.place()).set_subnetwork(&path.name);
        gone(act!(format!("removing {path}"), call).await)
    }
}

fn path(gcp: &Gcp, lineage: &str) -> Path {
    Path::regional(&gcp.project, &gcp.region, COLLECTION, &base(&gcp.deployment, lineage))
}

async fn described(gcp: &Gcp, path: &Path) -> Result<Option<Subnetwork>, ProviderError> {
    let call = gcp.compute.subnetworks.get().set_project(&path.project);
    let call = call.set_region(path.place()).set_subnetwork(&path.name);
    seen(format!("looking at {path}"), call.send().await)
}

async fn whose(gcp: &Gcp, path: &Path) -> Result<Whose, ProviderError> {
    let subnet = described(gcp, path).await?;
    Ok(subnet.map_or(Whose::Absent, |subnet| Whose::described(subnet.description.as_deref())))
}

/// In the shape of [`SubnetInputs`]. One that leads to Google's services only by the world is not as we make it.
fn observed(subnet: &Subnetwork, known: &Known) -> Value {
    let network = subnet.network.as_deref().map(|link| named(known, relative(link)));
    let mut seen = json!({ "network": network, "range": subnet.ip_cidr_range });
    if subnet.private_ip_google_access != Some(true) {
        seen["google_access"] = json!("off");
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_turned_off_shows() {
        let link = "https://www.googleapis.com/compute/v1/projects/p/global/networks/n";
        let subnet = Subnetwork::new().set_network(link).set_ip_cidr_range("10.77.0.0/16");
        let known = Known::empty("l");
        let on = subnet.clone().set_private_ip_google_access(true);
        assert_eq!(observed(&on, &known), json!({"network": "projects/p/global/networks/n", "range": "10.77.0.0/16"}));
        assert_eq!(observed(&subnet, &known)["google_access"], "off");
    }
}
