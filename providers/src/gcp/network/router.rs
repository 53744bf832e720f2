//! `router.main`: a router with one NAT, the way out of machines without an address of the world. The NAT is part of the
//! router's own body, so that one call makes both.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use google_cloud_compute_v1::model::router_nat::{NatIpAllocateOption, SourceSubnetworkIpRangesToNat};
use google_cloud_compute_v1::model::router_nat_log_config::Filter;
use google_cloud_compute_v1::model::{Router as Described, RouterNat, RouterNatLogConfig};
use serde_json::{Value, json};

use super::shown;
use crate::gcp::auth::{Gcp, Making, named};
use crate::gcp::error::{gone, seen};
use crate::gcp::kind::RouterInputs;
use crate::gcp::labels::Whose;
use crate::gcp::names::{Path, base, relative};
use crate::gcp::operation::{act, insert};
use crate::gcp::resource::{Calls, made};

const COLLECTION: &str = "routers";
const NAT: &str = "nat";

#[derive(Debug)]
pub struct Router;

#[async_trait]
impl Calls for Router {
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let path = Path::parse(&resource.remote_id.0)?;
        Ok(described(gcp, &path).await?.map(|router| observed(&router, &resource.inputs, known)))
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
        let inputs: RouterInputs = making.inputs()?;
        let path = path(gcp, &making.known.lineage);
        let router = Described::new()
            .set_name(&path.name)
            .set_description(gcp.mark(making).description())
            .set_network(making.id(&inputs.network)?)
            .set_nats([nat()]);
        let call = gcp.compute.routers.insert().set_project(&path.project).set_region(path.place()).set_body(router);
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
        let router = shown(&desired.address, || described(gcp, &path)).await?;
        if !is_as_made(&router) {
            let call = gcp.compute.routers.patch().set_project(&path.project).set_region(path.place());
            let call = call.set_router(&path.name).set_body(Described::new().set_nats([nat()]));
            act!(format!("the way out of {}", desired.address), call).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let path = Path::parse(&resource.remote_id.0)?;
        let call = gcp.compute.routers.delete().set_project(&path.project);
        let call = call.set_region(path.place()).set_router(&path.name);
        gone(act!(format!("removing {path}"), call).await)
    }
}

fn path(gcp: &Gcp, lineage: &str) -> Path {
    Path::regional(&gcp.project, &gcp.region, COLLECTION, &base(&gcp.deployment, lineage))
}

/// Addresses are Google's choice; what fails on its way is logged, what succeeds is not.
fn nat() -> RouterNat {
    RouterNat::new()
        .set_name(NAT)
        .set_nat_ip_allocate_option(NatIpAllocateOption::AutoOnly)
        .set_source_subnetwork_ip_ranges_to_nat(SourceSubnetworkIpRangesToNat::AllSubnetworksAllIpRanges)
        .set_log_config(RouterNatLogConfig::new().set_enable(true).set_filter(Filter::ErrorsOnly))
}

async fn described(gcp: &Gcp, path: &Path) -> Result<Option<Described>, ProviderError> {
    let call = gcp.compute.routers.get().set_project(&path.project);
    let call = call.set_region(path.place()).set_router(&path.name);
    seen(format!("looking at {path}"), call.send().await)
}

async fn whose(gcp: &Gcp, path: &Path) -> Result<Whose, ProviderError> {
    let router = described(gcp, path).await?;
    Ok(router.map_or(Whose::Absent, |router| Whose::described(router.description.as_deref())))
}

/// Google adds defaults to what was sent (time-outs, ports): only what we set counts.
fn is_as_made(router: &Described) -> bool {
    let wanted = nat();
    let is_ours = |nat: &RouterNat| {
        nat.name == wanted.name
            && nat.nat_ip_allocate_option == wanted.nat_ip_allocate_option
            && nat.source_subnetwork_ip_ranges_to_nat == wanted.source_subnetwork_ip_ranges_to_nat
            && nat
                .log_config
                .as_ref()
                .is_some_and(|log| log.enable == Some(true) && log.filter == Some(Filter::ErrorsOnly))
    };
    matches!(router.nats.as_slice(), [only] if is_ours(only))
}

/// In the shape of [`RouterInputs`]; a way out that is not as we make it, or none, shows as a further key.
fn observed(router: &Described, recorded: &Value, known: &Known) -> Value {
    let network = router.network.as_deref().map(|link| named(known, relative(link)));
    let mut seen = json!({ "network": network, "subnet": recorded["subnet"] });
    if !is_as_made(router) {
        seen["nat"] = json!(if router.nats.is_empty() { "none" } else { "other" });
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Described {
        // As Google shows it, with what it adds.
        serde_json::from_value(json!({"network": "https://x/compute/v1/projects/p/global/networks/n", "nats": [{
            "name": "nat", "type": "PUBLIC", "natIpAllocateOption": "AUTO_ONLY", "minPortsPerVm": 64,
            "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES", "endpointTypes": ["ENDPOINT_TYPE_VM"],
            "logConfig": {"enable": true, "filter": "ERRORS_ONLY"}}]}))
        .unwrap()
    }

    #[test]
    fn a_router_as_it_was_made_shows_its_inputs_only() {
        let recorded = json!({"network": "network.main", "subnet": "subnet.main"});
        let seen = observed(&router(), &recorded, &Known::empty("l"));
        assert_eq!(seen, json!({"network": "projects/p/global/networks/n", "subnet": "subnet.main"}));
    }

    #[test]
    fn another_way_out_shows_and_so_does_none() {
        let shown = |router: &Described| observed(router, &Value::Null, &Known::empty("l"))["nat"].clone();
        assert_eq!(shown(&router().set_nats(Vec::<RouterNat>::new())), "none");
        let silent = nat().set_log_config(RouterNatLogConfig::new().set_enable(false));
        assert_eq!(shown(&router().set_nats([silent])), "other");
        assert_eq!(shown(&router().set_nats([nat(), nat().set_name("second")])), "other");
    }
}
