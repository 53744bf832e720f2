//! `route-table.private`, `route-table.public`: where `0.0.0.0/0` goes, and for which subnets.
//!
//! Routes to other ranges are not looked at: those of gateway endpoints are AWS', those to peers are the user's.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_ec2::types::{
    Filter, ResourceType, Route, RouteTable as Described, RouteTableAssociation, RouteTableAssociationStateCode,
};
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{Difference, SHOW_LIMIT, ids, made, names, shown, vanished};
use crate::aws::auth::{Aws, Making, id as id_of, inputs, named};
use crate::aws::error::{done_or, failed, found, gone};
use crate::aws::kind::{self, RouteTableInputs};
use crate::aws::resource::Calls;

const ANYWHERE: &str = "0.0.0.0/0";

#[derive(Debug)]
pub struct RouteTable;

#[async_trait]
impl Calls for RouteTable {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let table = described(aws, &resource.remote_id.0).await?;
        Ok(table.map(|table| observed(&table, known)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: RouteTableInputs = making.inputs()?;
        let address = &making.desired.address;
        let call = aws
            .act
            .ec2
            .create_route_table()
            .client_token(&making.token.0)
            .vpc_id(making.id(&inputs.network)?)
            .tag_specifications(aws.mark(making).await?.specification(ResourceType::RouteTable));
        let answer = call.send().await.map_err(failed(address))?;
        made(address, answer.route_table().and_then(Described::route_table_id))
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: RouteTableInputs = inputs(desired)?;
        let way = inputs.default_route.as_deref().map(|address| Way::to(desired, known, address)).transpose()?;
        let table = shown(&desired.address, || described(aws, &id.0)).await?;
        set_default_route(aws, &id.0, change(default_target(&table), way), desired).await?;
        set_subnets(aws, &table, &ids(desired, known, &inputs.subnets)?, desired).await?;
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        let Some(table) = described(aws, id).await? else { return Ok(()) };
        for association in table.associations().iter().filter(|association| is_ours(association)) {
            leave(aws, association, id).await?;
        }
        gone(format!("removing {id}"), aws.act.ec2.delete_route_table().route_table_id(id).send().await)?;
        vanished(id, SHOW_LIMIT, || described(aws, id)).await
    }
}

async fn described(aws: &Aws, id: &str) -> Result<Option<Described>, ProviderError> {
    let answer = aws.look.ec2.describe_route_tables().route_table_ids(id).send().await;
    let answer = found(format!("looking at {id}"), answer)?;
    Ok(answer.and_then(|answer| answer.route_tables().first().cloned()))
}

/// In the shape of [`RouteTableInputs`].
fn observed(table: &Described, known: &Known) -> Value {
    let subnets = table.associations().iter().filter(|association| is_ours(association));
    json!({
        "network": table.vpc_id().map(|id| named(known, id)),
        "default_route": default_target(table).map(|id| named(known, id)),
        "subnets": names(known, subnets.filter_map(RouteTableAssociation::subnet_id)),
    })
}

/// Whether it stands, and was made by a call: the network's main association was not, and can't be taken away.
fn is_ours(association: &RouteTableAssociation) -> bool {
    let over = [
        RouteTableAssociationStateCode::Disassociated,
        RouteTableAssociationStateCode::Disassociating,
        RouteTableAssociationStateCode::Failed,
    ];
    let state = association.association_state().and_then(|state| state.state());
    association.main() != Some(true) && !state.is_some_and(|state| over.contains(state))
}

/// What `0.0.0.0/0` goes to now, whatever it is.
fn default_target(table: &Described) -> Option<&str> {
    let route = table.routes().iter().find(|route| route.destination_cidr_block() == Some(ANYWHERE))?;
    Some(target(route).unwrap_or("elsewhere"))
}

fn target(route: &Route) -> Option<&str> {
    let targets = [
        route.nat_gateway_id(),
        route.gateway_id(),
        route.transit_gateway_id(),
        route.vpc_peering_connection_id(),
        route.network_interface_id(),
        route.instance_id(),
        route.local_gateway_id(),
        route.carrier_gateway_id(),
        route.core_network_arn(),
    ];
    targets.into_iter().flatten().find(|id| !id.is_empty())
}

/// A gateway that leads out; the two kinds have a parameter each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way<'a> {
    Internet(&'a str),
    Nat(&'a str),
}

impl<'a> Way<'a> {
    fn to(desired: &Desired, known: &'a Known, address: &str) -> Result<Self, ProviderError> {
        let id = id_of(desired, known, address)?;
        match Address::parse(address).as_ref().map(Address::kind) {
            Some(kind::INTERNET_GATEWAY) => Ok(Self::Internet(id)),
            Some(kind::NAT_GATEWAY) => Ok(Self::Nat(id)),
            _ => Err(ProviderError::permanent(&desired.address, format!("{address} is no way out"))),
        }
    }

    const fn id(self) -> &'a str {
        match self {
            Self::Internet(id) | Self::Nat(id) => id,
        }
    }

    /// As `gateway_id` and as `nat_gateway_id`.
    fn parameters(self) -> (Option<String>, Option<String>) {
        match self {
            Self::Internet(id) => (Some(id.to_owned()), None),
            Self::Nat(id) => (None, Some(id.to_owned())),
        }
    }
}

/// What is to be done about the default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change<'a> {
    Keep,
    Create(Way<'a>),
    Replace(Way<'a>),
    Delete,
}

fn change<'a>(has: Option<&str>, wanted: Option<Way<'a>>) -> Change<'a> {
    match (has, wanted) {
        (None, None) => Change::Keep,
        (Some(has), Some(way)) if has == way.id() => Change::Keep,
        (Some(_), Some(way)) => Change::Replace(way),
        (None, Some(way)) => Change::Create(way),
        (Some(_), None) => Change::Delete,
    }
}

async fn set_default_route(aws: &Aws, id: &str, change: Change<'_>, desired: &Desired) -> Result<(), ProviderError> {
    let what = format!("default route of {}", desired.address);
    match change {
        Change::Keep => Ok(()),
        Change::Create(way) => {
            let (internet, nat) = way.parameters();
            let call = aws.act.ec2.create_route().route_table_id(id).destination_cidr_block(ANYWHERE);
            let call = call.set_gateway_id(internet).set_nat_gateway_id(nat);
            done_or(what, &["RouteAlreadyExists"], call.send().await)
        }
        Change::Replace(way) => {
            let (internet, nat) = way.parameters();
            let call = aws.act.ec2.replace_route().route_table_id(id).destination_cidr_block(ANYWHERE);
            let call = call.set_gateway_id(internet).set_nat_gateway_id(nat);
            call.send().await.map(|_| ()).map_err(failed(what))
        }
        Change::Delete => {
            let call = aws.act.ec2.delete_route().route_table_id(id).destination_cidr_block(ANYWHERE);
            gone(what, call.send().await)
        }
    }
}

async fn set_subnets(
    aws: &Aws,
    table: &Described,
    wanted: &BTreeSet<String>,
    desired: &Desired,
) -> Result<(), ProviderError> {
    let ours: Vec<_> = table.associations().iter().filter(|association| is_ours(association)).collect();
    let has = ours.iter().filter_map(|association| association.subnet_id()).map(str::to_owned).collect();
    let difference = Difference::between(&has, wanted);
    let is_surplus = |subnet: &str| difference.surplus.iter().any(|surplus| surplus == subnet);
    for association in ours {
        if association.subnet_id().is_some_and(is_surplus) {
            leave(aws, association, desired.address.as_str()).await?;
        }
    }
    for subnet in &difference.missing {
        join(aws, table.route_table_id().unwrap_or_default(), subnet, desired).await?;
    }
    Ok(())
}

async fn leave(aws: &Aws, association: &RouteTableAssociation, table: &str) -> Result<(), ProviderError> {
    let Some(id) = association.route_table_association_id() else { return Ok(()) };
    let subnet = association.subnet_id().unwrap_or("a gateway");
    let call = aws.act.ec2.disassociate_route_table().association_id(id);
    gone(format!("taking {subnet} off {table}"), call.send().await)
}

/// AWS refuses a second table for a subnet, so that one that somebody moved is moved back.
async fn join(aws: &Aws, table: &str, subnet: &str, desired: &Desired) -> Result<(), ProviderError> {
    let what = format!("{} for {subnet}", desired.address);
    if let Some(association) = association_of(aws, subnet).await? {
        let call = aws.act.ec2.replace_route_table_association().association_id(association).route_table_id(table);
        return call.send().await.map(|_| ()).map_err(failed(what));
    }
    let call = aws.act.ec2.associate_route_table().route_table_id(table).subnet_id(subnet);
    done_or(what, &["Resource.AlreadyAssociated"], call.send().await)
}

/// Id of the association that a subnet has, with whichever table.
async fn association_of(aws: &Aws, subnet: &str) -> Result<Option<String>, ProviderError> {
    let of_subnet = Filter::builder().name("association.subnet-id").values(subnet).build();
    let answer = aws.look.ec2.describe_route_tables().filters(of_subnet).send().await;
    let answer = answer.map_err(failed(format!("looking for the route table of {subnet}")))?;
    let mut associations = answer.route_tables().iter().flat_map(Described::associations);
    let held = associations.find(|association| association.subnet_id() == Some(subnet) && is_ours(association));
    Ok(held.and_then(|association| association.route_table_association_id().map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(target: Route) -> Described {
        let local = Route::builder().destination_cidr_block("10.77.0.0/16").gateway_id("local").build();
        let endpoint = Route::builder().destination_prefix_list_id("pl-1").gateway_id("vpce-1").build();
        let subnet = |id: &str| RouteTableAssociation::builder().subnet_id(id).main(false).build();
        Described::builder()
            .vpc_id("vpc-1")
            .set_routes(Some(vec![local, endpoint, target]))
            .set_associations(Some(vec![subnet("subnet-2"), subnet("subnet-1")]))
            .associations(RouteTableAssociation::builder().main(true).build())
            .build()
    }

    #[test]
    fn a_foreign_default_route_shows_as_what_it_leads_to() {
        let foreign = Route::builder().destination_cidr_block(ANYWHERE).transit_gateway_id("tgw-1").build();
        let seen = observed(&table(foreign), &Known::empty("l"));
        let expected = json!({"network": "vpc-1", "default_route": "tgw-1", "subnets": ["subnet-1", "subnet-2"]});
        assert_eq!(seen, expected);
        let peer = Route::builder().destination_cidr_block("10.1.0.0/16").vpc_peering_connection_id("pcx-1").build();
        assert_eq!(observed(&table(peer), &Known::empty("l"))["default_route"], Value::Null);
    }

    #[test]
    fn each_pair_of_routes_has_its_change() {
        let nat = Way::Nat("nat-1");
        assert_eq!(change(None, None), Change::Keep);
        assert_eq!(change(Some("nat-1"), Some(nat)), Change::Keep);
        assert_eq!(change(Some("igw-1"), Some(nat)), Change::Replace(nat));
        assert_eq!(change(None, Some(nat)), Change::Create(nat));
        assert_eq!(change(Some("igw-1"), None), Change::Delete);
    }
}
