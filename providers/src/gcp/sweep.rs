//! Everything that carries dsctl's mark: of one deployment, or of all of the project. A project's lists reach through all
//! regions at once.

use engine::provider::ProviderError;
use engine::state::RemoteId;
use futures::future::BoxFuture;
use google_cloud_compute_v1::model::{Disk, Firewall, Instance, Network, Router, Subnetwork};
use spec::id::DeploymentName;

use super::access::service_account;
use super::auth::Services;
use super::clients::{all, everywhere};
use super::error::failed;
use super::labels::{DEPLOYMENT, Ownership};
use super::names::{Path, last, ours};
use super::{kind, storage};
use crate::cloud::{Found, Search};

/// A disk that its machine left.
const DISK: &str = "disk";
/// Where a look went through all regions.
const GLOBAL: &str = "global";

/// Kinds in the order in which what nobody knows of can be removed.
const REMOVAL: [&str; 8] = [
    kind::MACHINE,
    DISK,
    kind::FIREWALL,
    kind::ROUTER,
    kind::SUBNET,
    kind::NETWORK,
    kind::SERVICE_ACCOUNT,
    kind::BUCKET,
];

/// One thing, before it is known whether it is wanted.
struct Marked {
    kind: &'static str,
    id: RemoteId,
    region: String,
    detail: String,
    created: Option<String>,
    whose: Ownership,
}

type Looked = Result<Vec<Marked>, ProviderError>;

/// Of one deployment, of any lineage, in the order in which it can be removed.
pub async fn of_deployment(services: &Services, deployment: &DeploymentName) -> Result<Vec<Found>, ProviderError> {
    let looks = looks(services, Some(deployment)).into_iter().map(|(_, look)| look);
    let found: Vec<Vec<Marked>> = futures::future::try_join_all(looks).await?;
    let mut all: Vec<Marked> = found.into_iter().flatten().collect();
    all.retain(|marked| marked.whose.deployment == deployment.as_str());
    all.sort_by_key(|marked| REMOVAL.iter().position(|kind| *kind == marked.kind));
    Ok(all.into_iter().map(Marked::found).collect())
}

/// Of all deployments. What can't be looked into, which an organisation may forbid, is a note.
pub async fn of_project(services: &Services) -> Search {
    let looks = looks(services, None).into_iter().map(|(what, look)| async move { (what, look.await) });
    let mut search = Search::default();
    for (what, looked) in futures::future::join_all(looks).await {
        match looked {
            Ok(all) => search.found.extend(all.into_iter().map(Marked::found)),
            Err(error) => search.notes.push(format!("{what} were not looked through: {error}")),
        }
    }
    search
}

/// Side by side, all pages.
fn looks<'a>(
    services: &'a Services,
    deployment: Option<&'a DeploymentName>,
) -> Vec<(&'static str, BoxFuture<'a, Looked>)> {
    vec![
        ("machines", Box::pin(instances(services, deployment))),
        ("disks", Box::pin(disks(services, deployment))),
        ("networks", Box::pin(networks(services))),
        ("subnets", Box::pin(subnets(services))),
        ("routers", Box::pin(routers(services))),
        ("firewall rules", Box::pin(firewalls(services))),
        ("service accounts", Box::pin(service_accounts(services))),
        ("buckets", Box::pin(buckets(services))),
    ]
}

impl Marked {
    /// None: it is none of ours, or its link leads nowhere.
    fn new(kind: &'static str, link: Option<&str>, whose: Option<Ownership>, created: Option<String>) -> Option<Self> {
        let path = Path::parse(link?).ok()?;
        let place = path.place();
        // A zone is its region and a letter.
        let region = match path.collection.as_str() {
            "instances" | "disks" => place.rsplit_once('-').map_or(place, |(region, _)| region),
            _ if place.is_empty() => GLOBAL,
            _ => place,
        };
        let (id, region) = (path.id(), region.to_owned());
        Some(Self { kind, id, region, detail: String::new(), created, whose: whose? })
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    fn found(self) -> Found {
        Found {
            region: self.region,
            deployment: self.whose.deployment.clone(),
            owner: self.whose.owner.clone(),
            kind: self.kind.to_owned(),
            detail: self.detail,
            created: self.created,
            owned: self.whose.owned(self.id),
        }
    }
}

/// A filter by label: of this deployment, or of any.
fn labelled(deployment: Option<&DeploymentName>) -> String {
    match deployment {
        Some(name) => format!("labels.{DEPLOYMENT} = {name}"),
        None => format!("labels.{DEPLOYMENT}:*"),
    }
}

async fn instances(services: &Services, deployment: Option<&DeploymentName>) -> Looked {
    let call = services.compute.instances.aggregated_list().set_project(&services.project);
    let call = call.set_filter(labelled(deployment));
    let found = everywhere!(call, instances).await.map_err(failed("looking for machines"))?;
    Ok(found.iter().filter_map(machine).collect())
}

fn machine(it: &Instance) -> Option<Marked> {
    let detail = it.machine_type.as_deref().map(last).unwrap_or_default();
    let whose = Ownership::of_labels(&it.labels);
    Some(Marked::new(kind::MACHINE, it.self_link.as_deref(), whose, it.creation_timestamp.clone())?.detail(detail))
}

/// Those on no machine: the others go with theirs.
async fn disks(services: &Services, deployment: Option<&DeploymentName>) -> Looked {
    let call = services.compute.disks.aggregated_list().set_project(&services.project);
    let call = call.set_filter(labelled(deployment));
    let found = everywhere!(call, disks).await.map_err(failed("looking for disks"))?;
    Ok(found.iter().filter(|disk| disk.users.is_empty()).filter_map(disk).collect())
}

fn disk(it: &Disk) -> Option<Marked> {
    let detail = format!("{} GiB", it.size_gb.unwrap_or_default());
    let whose = Ownership::of_labels(&it.labels);
    Some(Marked::new(DISK, it.self_link.as_deref(), whose, it.creation_timestamp.clone())?.detail(detail))
}

async fn networks(services: &Services) -> Looked {
    let call = services.compute.networks.list().set_project(&services.project).set_filter(ours());
    let found = all!(call).await.map_err(failed("looking for networks"))?;
    let marked = |it: &Network| described(kind::NETWORK, &it.self_link, &it.description, &it.creation_timestamp);
    Ok(found.iter().filter_map(marked).collect())
}

async fn subnets(services: &Services) -> Looked {
    let call = services.compute.subnetworks.aggregated_list().set_project(&services.project);
    let call = call.set_filter(ours());
    let found = everywhere!(call, subnetworks).await.map_err(failed("looking for subnets"))?;
    let marked = |it: &Subnetwork| {
        let marked = described(kind::SUBNET, &it.self_link, &it.description, &it.creation_timestamp)?;
        Some(marked.detail(it.ip_cidr_range.clone().unwrap_or_default()))
    };
    Ok(found.iter().filter_map(marked).collect())
}

async fn routers(services: &Services) -> Looked {
    let call = services.compute.routers.aggregated_list().set_project(&services.project);
    let call = call.set_filter(ours());
    let found = everywhere!(call, routers).await.map_err(failed("looking for routers"))?;
    let marked = |it: &Router| described(kind::ROUTER, &it.self_link, &it.description, &it.creation_timestamp);
    Ok(found.iter().filter_map(marked).collect())
}

async fn firewalls(services: &Services) -> Looked {
    let call = services.compute.firewalls.list().set_project(&services.project).set_filter(ours());
    let found = all!(call).await.map_err(failed("looking for firewall rules"))?;
    let marked = |it: &Firewall| {
        let marked = described(kind::FIREWALL, &it.self_link, &it.description, &it.creation_timestamp)?;
        Some(marked.detail(it.source_ranges.join(", ")))
    };
    Ok(found.iter().filter_map(marked).collect())
}

fn described(
    kind: &'static str,
    link: &Option<String>,
    description: &Option<String>,
    created: &Option<String>,
) -> Option<Marked> {
    Marked::new(kind, link.as_deref(), Ownership::of_description(description.as_deref()), created.clone())
}

async fn service_accounts(services: &Services) -> Looked {
    let found = service_account::owned(&services.rest, &services.project).await?;
    let marked = |(email, whose): (String, Ownership)| Marked {
        kind: kind::SERVICE_ACCOUNT,
        id: service_account::id_of(&services.project, &email),
        region: GLOBAL.to_owned(),
        detail: String::new(),
        created: None,
        whose,
    };
    Ok(found.into_iter().map(marked).collect())
}

async fn buckets(services: &Services) -> Looked {
    let found = storage::bucket::owned(&services.rest, &services.project).await?;
    let marked = |(bucket, whose): (storage::bucket::Described, Ownership)| Marked {
        kind: kind::BUCKET,
        id: RemoteId(bucket.name),
        region: bucket.location.to_ascii_lowercase(),
        detail: String::new(),
        created: bucket.time_created,
        whose,
    };
    Ok(found.into_iter().map(marked).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LINK: &str = "https://www.googleapis.com/compute/v1/projects/p";

    #[test]
    fn what_is_marked_is_told_with_its_place() {
        let instance: Instance = serde_json::from_value(json!({"name": "n", "selfLink": format!("{LINK}/zones/europe-west4-a/instances/n"),
            "machineType": format!("{LINK}/zones/europe-west4-a/machineTypes/g2-standard-4"),
            "labels": {"dsctl-deployment": "default", "dsctl-address": "machine-main", "dsctl-lineage": "l", "dsctl-token": "t"}}))
        .unwrap();
        let found = machine(&instance).unwrap().found();
        assert_eq!((found.region.as_str(), found.detail.as_str()), ("europe-west4", "g2-standard-4"));
        assert_eq!(found.owned.remote_id.0, "projects/p/zones/europe-west4-a/instances/n");
        assert_eq!(found.owned.address.unwrap().as_str(), "machine.main");
    }

    #[test]
    fn what_only_looks_like_ours_is_not_touched() {
        let (link, created) = (Some(format!("{LINK}/global/networks/dsctl-ours")), None);
        assert!(described(kind::NETWORK, &link, &Some("the team's".to_owned()), &created).is_none());
        assert!(described(kind::NETWORK, &link, &None, &created).is_none());
        let ours = Some(r#"{"dsctl":{"deployment":"default","address":"network.main"}}"#.to_owned());
        assert_eq!(described(kind::NETWORK, &link, &ours, &created).unwrap().region, GLOBAL);
    }

    #[test]
    fn what_stands_on_something_goes_before_it() {
        let at = |wanted: &str| REMOVAL.iter().position(|kind| *kind == wanted).unwrap();
        assert!(at(kind::MACHINE) < at(kind::SUBNET) && at(kind::ROUTER) < at(kind::NETWORK));
        assert!(at(kind::FIREWALL) < at(kind::NETWORK) && at(kind::SUBNET) < at(kind::NETWORK));
    }

    #[test]
    fn a_filter_names_one_deployment_or_any() {
        assert_eq!(labelled(Some(&"default".parse().unwrap())), "labels.dsctl-deployment = default");
        assert_eq!(labelled(None), "labels.dsctl-deployment:*");
    }
}
