//! `endpoint.s3` (gateway: a route in each table), `endpoint.ssm`, … (interface: an address in each subnet, which the
//! service's own name leads to).

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_ec2::types::{
    ResourceType, SecurityGroupIdentifier, State, UnsuccessfulItem, VpcEndpoint, VpcEndpointType,
};
use engine::graph::Desired;
use engine::provider::{ErrorKind, Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{BUILD_LIMIT, Difference, ids, made, names, vanished};
use crate::aws::auth::{Aws, Making, inputs, named};
use crate::aws::error::{failed, found};
use crate::aws::kind::EndpointInputs;
use crate::aws::resource::Calls;
use crate::wait::Pauses;

/// States of an endpoint that will never work again.
const OVER: [&str; 5] = ["deleting", "deleted", "failed", "rejected", "expired"];

#[derive(Debug)]
pub struct Endpoint;

#[async_trait]
impl Calls for Endpoint {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let endpoint = described(aws, &resource.remote_id.0).await?;
        let living = endpoint.filter(|endpoint| !OVER.contains(&state(endpoint).as_str()));
        Ok(living.map(|endpoint| observed(&endpoint, known)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: EndpointInputs = making.inputs()?;
        let address = &making.desired.address;
        let parts = Parts::wanted(making.desired, making.known, &inputs)?;
        let kind = kind_of(&inputs.service);
        let call = aws
            .act
            .ec2
            .create_vpc_endpoint()
            .client_token(&making.token.0)
            .set_private_dns_enabled((kind == VpcEndpointType::Interface).then_some(true))
            .vpc_endpoint_type(kind)
            .vpc_id(making.id(&inputs.network)?)
            .service_name(&inputs.service)
            .set_route_table_ids(some(parts.route_tables.into_iter().collect()))
            .set_subnet_ids(some(parts.subnets.into_iter().collect()))
            .set_security_group_ids(some(parts.groups.into_iter().collect()))
            .tag_specifications(aws.mark(making).await?.specification(ResourceType::VpcEndpoint));
        let answer = call.send().await.map_err(failed(address))?;
        made(address, answer.vpc_endpoint().and_then(VpcEndpoint::vpc_endpoint_id))
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: EndpointInputs = inputs(desired)?;
        let wanted = Parts::wanted(desired, known, &inputs)?;
        let endpoint = available(aws, &id.0, desired).await?;
        set_parts(aws, &endpoint, &wanted, desired).await?;
        set_private_names(aws, &endpoint, desired).await?;
        available(aws, &id.0, desired).await?;
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        let Some(endpoint) = standing(aws, id).await? else { return Ok(()) };
        if state(&endpoint) != "deleting" {
            let answer = aws.act.ec2.delete_vpc_endpoints().vpc_endpoint_ids(id).send().await;
            // A 200, even if nothing was removed.
            if let Some(answer) = found(format!("removing {id}"), answer)? {
                answer.unsuccessful().iter().try_for_each(|item| refusal(id, item).map_or(Ok(()), Err))?;
            }
        }
        // Until then its interfaces hold its subnets and its group.
        vanished(id, BUILD_LIMIT, || standing(aws, id)).await
    }
}

async fn described(aws: &Aws, id: &str) -> Result<Option<VpcEndpoint>, ProviderError> {
    let answer = aws.look.ec2.describe_vpc_endpoints().vpc_endpoint_ids(id).send().await;
    let answer = found(format!("looking at {id}"), answer)?;
    Ok(answer.and_then(|answer| answer.vpc_endpoints().first().cloned()))
}

/// The endpoint while it holds on to anything.
async fn standing(aws: &Aws, id: &str) -> Result<Option<VpcEndpoint>, ProviderError> {
    Ok(described(aws, id).await?.filter(|endpoint| state(endpoint) != "deleted"))
}

/// In lower case, as AWS writes it; its model, and so the SDK, has it otherwise.
fn state(endpoint: &VpcEndpoint) -> String {
    endpoint.state().map_or("pending", State::as_str).to_ascii_lowercase()
}

fn kind_of(service: &str) -> VpcEndpointType {
    if service.ends_with(".s3") { VpcEndpointType::Gateway } else { VpcEndpointType::Interface }
}

/// In the shape of [`EndpointInputs`]. What shows only when it is not as we make it: several groups, and names that lead
/// past the endpoint.
fn observed(endpoint: &VpcEndpoint, known: &Known) -> Value {
    let groups = names(known, endpoint.groups().iter().filter_map(SecurityGroupIdentifier::group_id));
    let mut seen = json!({
        "network": endpoint.vpc_id().map(|id| named(known, id)),
        "service": endpoint.service_name(),
        "route_tables": names(known, endpoint.route_table_ids().iter().map(String::as_str)),
        "subnets": names(known, endpoint.subnet_ids().iter().map(String::as_str)),
        "security_group": groups.first(),
    });
    if groups.len() > 1 {
        seen["security_groups"] = json!(groups);
    }
    if lacks_private_names(endpoint) {
        seen["private_names"] = json!(false);
    }
    seen
}

fn lacks_private_names(endpoint: &VpcEndpoint) -> bool {
    kind_of(endpoint.service_name().unwrap_or_default()) == VpcEndpointType::Interface
        && endpoint.private_dns_enabled() != Some(true)
}

/// What an endpoint stands on, by ids.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    route_tables: BTreeSet<String>,
    subnets: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Parts {
    fn wanted(desired: &Desired, known: &Known, inputs: &EndpointInputs) -> Result<Self, ProviderError> {
        Ok(Self {
            route_tables: ids(desired, known, &inputs.route_tables)?,
            subnets: ids(desired, known, &inputs.subnets)?,
            groups: ids(desired, known, inputs.security_group.as_slice())?,
        })
    }

    fn of(endpoint: &VpcEndpoint) -> Self {
        let groups = endpoint.groups().iter().filter_map(|group| group.group_id().map(str::to_owned));
        Self {
            route_tables: endpoint.route_table_ids().iter().cloned().collect(),
            subnets: endpoint.subnet_ids().iter().cloned().collect(),
            groups: groups.collect(),
        }
    }
}

/// An empty list is no parameter.
fn some(ids: Vec<String>) -> Option<Vec<String>> {
    (!ids.is_empty()).then_some(ids)
}

async fn set_parts(aws: &Aws, endpoint: &VpcEndpoint, wanted: &Parts, desired: &Desired) -> Result<(), ProviderError> {
    let has = Parts::of(endpoint);
    if has == *wanted {
        return Ok(());
    }
    let route_tables = Difference::between(&has.route_tables, &wanted.route_tables);
    let subnets = Difference::between(&has.subnets, &wanted.subnets);
    let groups = Difference::between(&has.groups, &wanted.groups);
    let call = aws
        .act
        .ec2
        .modify_vpc_endpoint()
        .set_vpc_endpoint_id(endpoint.vpc_endpoint_id().map(str::to_owned))
        .set_add_route_table_ids(some(route_tables.missing))
        .set_remove_route_table_ids(some(route_tables.surplus))
        .set_add_subnet_ids(some(subnets.missing))
        .set_remove_subnet_ids(some(subnets.surplus))
        .set_add_security_group_ids(some(groups.missing))
        .set_remove_security_group_ids(some(groups.surplus));
    call.send().await.map(|_| ()).map_err(failed(format!("parts of {}", desired.address)))
}

async fn set_private_names(aws: &Aws, endpoint: &VpcEndpoint, desired: &Desired) -> Result<(), ProviderError> {
    if !lacks_private_names(endpoint) {
        return Ok(());
    }
    let id = endpoint.vpc_endpoint_id().map(str::to_owned);
    let call = aws.act.ec2.modify_vpc_endpoint().set_vpc_endpoint_id(id).private_dns_enabled(true);
    call.send().await.map(|_| ()).map_err(failed(format!("private names of {}", desired.address)))
}

/// Waits until it works: a gateway does at once, an interface within minutes.
async fn available(aws: &Aws, id: &str, desired: &Desired) -> Result<VpcEndpoint, ProviderError> {
    let mut pauses = Pauses::until(BUILD_LIMIT);
    loop {
        // Not seen yet: what was made a moment ago.
        if let Some(endpoint) = described(aws, id).await? {
            match state(&endpoint).as_str() {
                "available" => return Ok(endpoint),
                state if OVER.contains(&state) => return Err(ended(&endpoint, desired)),
                _ => {}
            }
        }
        pauses.next(format!("{} is not available", desired.address)).await?;
    }
}

/// The token leads to this endpoint and no other.
fn ended(endpoint: &VpcEndpoint, desired: &Desired) -> ProviderError {
    let told = endpoint.last_error().and_then(|error| error.message()).or(endpoint.failure_reason());
    let message = format!("the endpoint is {}: {}", state(endpoint), told.unwrap_or("no reason given"));
    ProviderError::new(ErrorKind::TokenSpent, &desired.address, message)
}

/// Why an endpoint was not removed; none if it does not exist.
fn refusal(id: &str, item: &UnsuccessfulItem) -> Option<ProviderError> {
    let error = item.error();
    let code = error.and_then(|error| error.code()).unwrap_or("no reason given");
    let message = error.and_then(|error| error.message()).unwrap_or_default();
    let kind = match code {
        _ if code.ends_with(".NotFound") => return None,
        "DependencyViolation" | "IncorrectState" => ErrorKind::NotYet,
        "InternalError" | "Unavailable" | "ServiceUnavailable" => ErrorKind::Ambiguous,
        "RequestLimitExceeded" => ErrorKind::Throttled { retry_after: None },
        "UnauthorizedOperation" => ErrorKind::Credentials,
        _ => ErrorKind::Refused,
    };
    Some(ProviderError::new(kind, format!("removing {id}"), format!("{message} ({code})")))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::UnsuccessfulItemError;

    use super::*;

    fn endpoint(service: &str) -> VpcEndpoint {
        VpcEndpoint::builder().service_name(service).vpc_id("vpc-1").subnet_ids("subnet-1").build()
    }

    #[test]
    fn only_the_bucket_service_has_a_gateway() {
        assert_eq!(kind_of("com.amazonaws.eu-west-1.s3"), VpcEndpointType::Gateway);
        assert_eq!(kind_of("com.amazonaws.eu-west-1.ssm"), VpcEndpointType::Interface);
    }

    #[test]
    fn names_that_lead_past_an_interface_show() {
        let known = Known::empty("l");
        assert_eq!(observed(&endpoint("com.amazonaws.eu-west-1.ssm"), &known)["private_names"], json!(false));
        assert!(observed(&endpoint("com.amazonaws.eu-west-1.s3"), &known).get("private_names").is_none());
    }

    #[test]
    fn a_state_is_known_in_either_case() {
        for text in ["Available", "available"] {
            assert_eq!(state(&VpcEndpoint::builder().state(State::from(text)).build()), "available");
        }
    }

    #[test]
    fn a_refusal_inside_a_200_is_an_error_and_absence_is_none() {
        let item = |code: &str| {
            UnsuccessfulItem::builder().error(UnsuccessfulItemError::builder().code(code).message("m").build()).build()
        };
        assert!(refusal("vpce-1", &item("InvalidVpcEndpointId.NotFound")).is_none());
        let error = refusal("vpce-1", &item("OperationNotPermitted")).unwrap();
        assert_eq!(
            (error.kind, error.to_string().as_str()),
            (ErrorKind::Refused, "removing vpce-1: m (OperationNotPermitted)")
        );
    }
}
