//! Everything that carries dsctl's tags: of one deployment, or of all in every region that the account uses.

use aws_sdk_ec2::types::{Filter, Tag};
use engine::graph::Address;
use engine::provider::{Owned, ProviderError, Token};
use engine::state::RemoteId;
use futures::StreamExt;
use futures::future::BoxFuture;
use spec::id::DeploymentName;

use super::auth::{Services, Session};
use super::error::failed;
use super::{access, kind, storage, tags};
use crate::cloud::{Found, Search};

/// Regions that are asked at once.
const REGIONS_AT_ONCE: usize = 6;

/// All that a call lists, page by page.
macro_rules! all {
    ($call:expr) => {
        $call.into_paginator().items().send().collect::<Result<Vec<_>, _>>()
    };
}

/// One thing with its tags, before it is known whose it is.
struct Tagged {
    kind: &'static str,
    id: String,
    detail: String,
    created: Option<String>,
    tags: Vec<(String, String)>,
}

/// Of one deployment, in one region and in what belongs to no region.
pub async fn of_deployment(
    look: &Services,
    region: &str,
    deployment: &DeploymentName,
) -> Result<Vec<Found>, ProviderError> {
    let mut all = in_region(look, Some(deployment)).await?;
    all.extend(buckets(look, Some(deployment)).await?);
    all.extend(identities(look, Some(deployment)).await?);
    Ok(all.into_iter().map(|tagged| tagged.found(region)).collect())
}

/// Of all deployments, in every region. One that can't be looked into, which an organisation may forbid, is a note.
pub async fn everywhere(session: &Session, home: &str) -> Result<Search, ProviderError> {
    let regions = regions(&session.look(home)).await?;
    let looks = regions.into_iter().map(|region| async move {
        let look = session.look(&region);
        let found = futures::try_join!(in_region(&look, None), buckets(&look, None));
        (region, found.map(|(machines, buckets)| machines.into_iter().chain(buckets).collect::<Vec<_>>()))
    });
    let mut search = Search::default();
    let mut looks = futures::stream::iter(looks).buffered(REGIONS_AT_ONCE);
    while let Some((region, here)) = looks.next().await {
        search.add(&region, here);
    }
    search.add("global", identities(&session.look(home), None).await);
    Ok(search)
}

impl Search {
    fn add(&mut self, region: &str, looked: Result<Vec<Tagged>, ProviderError>) {
        match looked {
            Ok(all) => self.found.extend(all.into_iter().map(|tagged| tagged.found(region))),
            Err(error) => self.notes.push(format!("{region} was not looked through: {error}")),
        }
    }
}

async fn regions(look: &Services) -> Result<Vec<String>, ProviderError> {
    let answer = look.ec2.describe_regions().send().await.map_err(failed("regions"))?;
    Ok(answer.regions().iter().filter_map(|region| region.region_name().map(str::to_owned)).collect())
}

impl Tagged {
    fn new(kind: &'static str, id: Option<&str>, tags: &[Tag]) -> Self {
        let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
        let (id, tags) = (id.unwrap_or_default().to_owned(), tags.iter().filter_map(pair).collect());
        Self { kind, id, detail: String::new(), created: None, tags }
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    fn created(mut self, at: Option<&aws_sdk_ec2::primitives::DateTime>) -> Self {
        self.created = at.map(ToString::to_string);
        self
    }

    fn tag(&self, key: &str) -> Option<String> {
        self.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }

    fn found(self, region: &str) -> Found {
        Found {
            region: region.to_owned(),
            deployment: self.tag(tags::DEPLOYMENT).unwrap_or_default(),
            owner: self.tag(tags::OWNER),
            kind: self.kind.to_owned(),
            owned: Owned {
                address: self.tag(tags::ADDRESS).as_deref().and_then(Address::parse),
                token: self.tag(tags::TOKEN).map(Token),
                remote_id: RemoteId(self.id.clone()),
                lineage: self.tag(tags::LINEAGE),
            },
            detail: self.detail,
            created: self.created,
        }
    }
}

fn wanted(deployment: Option<&DeploymentName>) -> Filter {
    match deployment {
        Some(name) => tags::filter(tags::DEPLOYMENT, name.as_str()),
        None => Filter::builder().name("tag-key").values(tags::DEPLOYMENT).build(),
    }
}

fn filters(deployment: Option<&DeploymentName>, more: &[(&str, &[&str])]) -> Vec<Filter> {
    let more = more.iter().map(|(name, values)| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Filter::builder().name(*name).set_values(Some(values)).build()
    });
    std::iter::once(wanted(deployment)).chain(more).collect()
}

/// What EC2 knows of in the clients' region: side by side, all pages.
async fn in_region(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let looks: Vec<BoxFuture<'_, Result<Vec<Tagged>, ProviderError>>> = vec![
        Box::pin(instances(look, deployment)),
        Box::pin(volumes(look, deployment)),
        Box::pin(interfaces(look, deployment)),
        Box::pin(networks(look, deployment)),
        Box::pin(gateways(look, deployment)),
        Box::pin(addresses(look, deployment)),
        Box::pin(around_networks(look, deployment)),
    ];
    let found: Vec<Vec<Tagged>> = futures::future::try_join_all(looks).await?;
    Ok(found.into_iter().flatten().collect())
}

async fn instances(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let alive = ("instance-state-name", ["pending", "running", "stopping", "stopped"]);
    let call = look.ec2.describe_instances().set_filters(Some(filters(deployment, &[(alive.0, &alive.1)])));
    let mut pages = call.into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(failed("looking for machines"))?;
        found.extend(page.reservations().iter().flat_map(|all| all.instances()).map(|it| {
            let kind = it.instance_type().map_or("", |kind| kind.as_str());
            Tagged::new(kind::MACHINE, it.instance_id(), it.tags()).detail(kind).created(it.launch_time())
        }));
    }
    Ok(found)
}

/// Those on no machine: the others go with theirs.
async fn volumes(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let filters = filters(deployment, &[("status", &["available"])]);
    let found = all!(look.ec2.describe_volumes().set_filters(Some(filters))).await;
    let found = found.map_err(failed("looking for volumes"))?;
    let volume = |it: &aws_sdk_ec2::types::Volume| {
        let size = format!("{} GiB", it.size().unwrap_or_default());
        Tagged::new("volume", it.volume_id(), it.tags()).detail(size).created(it.create_time())
    };
    Ok(found.iter().map(volume).collect())
}

/// Those on no machine, as with volumes.
async fn interfaces(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let filters = filters(deployment, &[("status", &["available"])]);
    let found = all!(look.ec2.describe_network_interfaces().set_filters(Some(filters))).await;
    let found = found.map_err(failed("looking for network interfaces"))?;
    Ok(found.iter().map(|it| Tagged::new("network-interface", it.network_interface_id(), it.tag_set())).collect())
}

async fn networks(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let ours = || Some(filters(deployment, &[]));
    let (networks, subnets) = futures::join!(
        all!(look.ec2.describe_vpcs().set_filters(ours())),
        all!(look.ec2.describe_subnets().set_filters(ours())),
    );
    let (networks, subnets) =
        (networks.map_err(failed("looking for networks"))?, subnets.map_err(failed("looking for subnets"))?);
    let networks = networks
        .iter()
        .map(|it| Tagged::new(kind::NETWORK, it.vpc_id(), it.tags()).detail(it.cidr_block().unwrap_or_default()));
    let subnets = subnets.iter().map(|it| {
        Tagged::new(kind::SUBNET, it.subnet_id(), it.tags()).detail(it.availability_zone().unwrap_or_default())
    });
    Ok(networks.chain(subnets).collect())
}

async fn gateways(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let alive = filters(deployment, &[("state", &["pending", "available"])]);
    let ours = Some(filters(deployment, &[]));
    let (nat, internet) = futures::join!(
        all!(look.ec2.describe_nat_gateways().set_filter(Some(alive))),
        all!(look.ec2.describe_internet_gateways().set_filters(ours)),
    );
    let (nat, internet) =
        (nat.map_err(failed("looking for NAT gateways"))?, internet.map_err(failed("looking for internet gateways"))?);
    let nat =
        nat.iter().map(|it| Tagged::new(kind::NAT_GATEWAY, it.nat_gateway_id(), it.tags()).created(it.create_time()));
    let internet = internet.iter().map(|it| Tagged::new(kind::INTERNET_GATEWAY, it.internet_gateway_id(), it.tags()));
    Ok(nat.chain(internet).collect())
}

async fn addresses(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let answer = look.ec2.describe_addresses().set_filters(Some(filters(deployment, &[]))).send().await;
    let answer = answer.map_err(failed("looking for addresses"))?;
    let all = answer.addresses().iter();
    Ok(all
        .map(|it| {
            Tagged::new(kind::ELASTIC_IP, it.allocation_id(), it.tags()).detail(it.public_ip().unwrap_or_default())
        })
        .collect())
}

async fn around_networks(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let ours = || Some(filters(deployment, &[]));
    let (tables, groups, endpoints) = futures::join!(
        all!(look.ec2.describe_route_tables().set_filters(ours())),
        all!(look.ec2.describe_security_groups().set_filters(ours())),
        all!(look.ec2.describe_vpc_endpoints().set_filters(ours())),
    );
    let tables = tables.map_err(failed("looking for route tables"))?;
    let groups = groups.map_err(failed("looking for security groups"))?;
    let mut endpoints = endpoints.map_err(failed("looking for endpoints"))?;
    endpoints.retain(|it| !it.state().is_some_and(|state| state.as_str().to_ascii_lowercase().starts_with("delet")));
    let tables = tables.iter().map(|it| Tagged::new(kind::ROUTE_TABLE, it.route_table_id(), it.tags()));
    let groups = groups.iter().map(|it| Tagged::new(kind::SECURITY_GROUP, it.group_id(), it.tags()));
    let endpoints = endpoints.iter().map(|it| {
        Tagged::new(kind::ENDPOINT, it.vpc_endpoint_id(), it.tags()).detail(it.service_name().unwrap_or_default())
    });
    Ok(tables.chain(groups).chain(endpoints).collect())
}

async fn buckets(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let found = storage::bucket::owned(look, deployment).await?;
    Ok(found.into_iter().map(|(id, tags)| tagged(kind::BUCKET, id, tags)).collect())
}

/// Roles and instance profiles, which belong to no region.
async fn identities(look: &Services, deployment: Option<&DeploymentName>) -> Result<Vec<Tagged>, ProviderError> {
    let found = access::owned(look, deployment).await?;
    Ok(found.into_iter().map(|(kind, id, tags)| tagged(kind, id, tags)).collect())
}

fn tagged(kind: &'static str, id: String, tags: Vec<(String, String)>) -> Tagged {
    Tagged { kind, id, detail: String::new(), created: None, tags }
}
