//! What dsctl asks of a cloud besides resources: who is asking, what is on offer there now, where a host reports.
//!
//! ```text
//! survey (live) + spec -> graph (pure) -> provider() -> the engine
//! ```
//! One folder a cloud implements [`CloudAdapter`] and the engine's `Provider`; a cloud whose feature is off is refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use engine::graph::{Address, Graph, GraphError};
use engine::provider::{Owned, Provider, ProviderError};
use engine::state::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use spec::amount::Usd;
use spec::host::HostStatus;
use spec::id::{DeploymentName, HostName, InvalidId};
use spec::machine::{Market, Offer};
use spec::resolved::ResolvedSpec;

use crate::host_plan::HostPlanError;
use crate::local::facts::Binary;
use crate::secret::{Given, Revisions, SecretText};

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// E.g. the AWS account's number, the id of a project of Google's.
    pub account: String,
    /// E.g. the caller's ARN.
    pub caller: String,
}

/// What is asked about a region before a plan is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub region: String,
    /// What the catalogue has there of the machine types in question.
    pub offers: Vec<Offer>,
    pub market: Market,
    pub image: ImageWish,
}

/// Which image is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageWish {
    None,
    /// The newest that the cloud names.
    Newest,
    /// That the machine was booted from.
    Booted(String),
    /// That the spec names.
    Named(String),
}

/// What the cloud said just now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    pub identity: Identity,
    /// None if it was not asked for.
    pub image: Option<Image>,
    /// By machine type; a type that the region does not offer is absent.
    pub offers: BTreeMap<String, LiveOffer>,
    /// By machine type.
    pub quotas: BTreeMap<String, Quota>,
    /// What could not be asked, and why; the catalogue's figures stand there.
    pub notes: Vec<String>,
}

impl Survey {
    /// A row of the catalogue with what the cloud said in its place: one a zone where each has a price of its own. What the
    /// region does not offer has no zones left. `today` as `YYYY-MM-DD`.
    pub fn rows(&self, offer: &Offer, today: &str) -> Vec<Offer> {
        let Some(live) = self.offers.get(&offer.machine_type) else {
            return vec![Offer { zones: Vec::new(), ..offer.clone() }];
        };
        let priced = |row: &Offer| Offer {
            price_as_of: Some(today.to_owned()),
            price_source: "asked of the cloud just now".to_owned(),
            ..row.clone()
        };
        let mut row = Offer { zones: live.zones.clone(), ..offer.clone() };
        if live.on_demand_hourly.is_some() {
            row = Offer { on_demand_hourly: live.on_demand_hourly, ..priced(&row) };
        }
        if let Some(everywhere) = live.spot_hourly.get(&offer.region) {
            return vec![Offer { spot_hourly: Some(*everywhere), ..priced(&row) }];
        }
        if live.spot_hourly.is_empty() {
            return vec![row];
        }
        let in_zone = |zone: &String| Offer {
            zones: vec![zone.clone()],
            spot_hourly: live.spot_hourly.get(zone).copied(),
            ..priced(&row)
        };
        live.zones.iter().map(in_zone).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub id: String,
    /// E.g. the parameter that named it.
    pub source: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveOffer {
    /// Full names, sorted.
    pub zones: Vec<String>,
    pub on_demand_hourly: Option<Usd>,
    /// By zone; by the region where it is the same in all of them.
    pub spot_hourly: BTreeMap<String, Usd>,
}

/// A limit of the account that a machine type counts against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// The cloud's code, e.g. `L-DB2E81BA`.
    pub code: String,
    pub name: String,
    /// E.g. vCPUs.
    pub unit: String,
    /// What one such machine takes of it.
    pub need: f64,
    /// None: could not be asked.
    pub limit: Option<f64>,
    pub used: f64,
    /// The command that asks for more.
    pub request: String,
}

impl Quota {
    /// Whether there is room for one machine more; unknown counts as room, since the cloud itself will say.
    pub fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| limit - self.used >= self.need)
    }
}

/// What a graph needs besides the spec.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudFacts {
    pub identity: Identity,
    pub image: Image,
    /// `dsctl`, `dsserve` and `dsgate` for the host, and the folder where they lie on this machine.
    pub binaries: BTreeMap<String, Binary>,
    /// The script of the first boot, with the placeholders that [`BOOT_PLACEHOLDERS`] lists.
    pub boot_script: String,
    /// Random, kept from the first `up` on: salt of the traffic split.
    pub salt: String,
    pub revisions: Revisions,
    /// Price of the first candidate and what goes with it; none if it is not known.
    pub machine_hourly: Option<Usd>,
    /// Graphics cards that every candidate has, as it was when the machine was planned.
    pub gpus: u32,
    pub laid_out: LaidOut,
}

/// What of a deployment is there already, and stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaidOut {
    pub account: Option<String>,
    pub region: Option<String>,
    /// Zones that the network reaches into; none are named where it reaches into all of its region.
    pub zones: BTreeSet<String>,
    /// The zone that the way out leads through, if there is one.
    pub egress_zone: Option<String>,
    pub machine: Option<Placed>,
}

/// The machine that a deployment has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub machine_type: String,
    pub zone: Option<String>,
    pub market: Market,
    /// The image that it was booted from.
    pub image: String,
}

/// Inputs of a deployment's resources: of all that is, or may be.
pub type Begun = BTreeMap<Address, Value>;

/// The folder that a cloud's host keeps everything in, as `spec::layout::HomeLayout` lays it out.
pub const HOST_HOME: &str = "/var/lib/dsctl";

/// What a cloud deployment's one host is called.
pub fn host_name() -> Result<HostName, InvalidId> {
    "main".parse()
}

/// What the provider fills in in a boot script: known only when the machine is made.
pub const BOOT_PLACEHOLDERS: [&str; 4] = ["@BUCKET@", "@REGION@", "@DSCTL_SHA256@", "@ENDPOINT@"];

/// Of a traffic split.
pub fn new_salt() -> String {
    hex::encode(rand::random::<[u8; 8]>())
}

/// A number that is another for another key, and says nothing of it: 32 bits of a salted digest.
pub fn key_revision(key: &SecretText, salt: &str) -> u64 {
    let digest = Sha256::digest(format!("{salt} {}", key.reveal()));
    digest.iter().take(4).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[derive(Debug, thiserror::Error)]
pub enum CloudGraphError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("host spec: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Host(#[from] HostPlanError),
    #[error("{0}")]
    Spec(String),
}

/// A deployment's machine, as it is seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HostView {
    /// The cloud's name of the machine; none while there is none.
    pub machine: Option<String>,
    /// Base URL for clients.
    pub endpoint: Option<String>,
    /// Where the key for clients lies.
    pub api_key: Option<String>,
    /// Of the host spec that lies in the bucket.
    pub generation: Option<u64>,
    /// What it last reported; none if it has not yet.
    pub status: Option<HostStatus>,
    /// What it wrote to its serial console; asked for only while it has not reported.
    pub console: String,
}

impl HostView {
    /// What it reported of the host spec as it is now; older reports say nothing.
    pub fn current(&self) -> Option<&HostStatus> {
        self.status.as_ref().filter(|status| Some(status.generation) >= self.generation)
    }

    /// Whether it has answered with a real token.
    pub fn is_ready(&self) -> bool {
        self.current().is_some_and(|status| status.ready_since.is_some())
    }
}

/// Something of ours that was found by its tags, anywhere in the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub region: String,
    pub deployment: String,
    /// Who made it, as its tag says.
    pub owner: Option<String>,
    /// E.g. `instance`, `volume`.
    pub kind: String,
    /// Machine type, size; for the reader.
    pub detail: String,
    pub created: Option<String>,
    pub owned: Owned,
}

/// What secrets and files a provider of one deployment is given; nothing of it is in inputs, state or journal.
#[derive(Debug, Clone, Default)]
pub struct Handed {
    /// The account that the deployment lies in, if it is known: no other may be touched.
    pub account: Option<String>,
    /// Folder of `dsctl`, `dsserve`, `dsgate` for the host.
    pub binaries: std::path::PathBuf,
    pub given: Given,
}

/// What a look through all regions found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    pub found: Vec<Found>,
    /// Where it could not be looked, and why.
    pub notes: Vec<String>,
}

/// A deployment's machine, from outside: through its bucket and the cloud.
#[async_trait]
pub trait HostReach: Send + Sync {
    /// The machine, and what it last reported.
    async fn host(&self, region: &str, state: &State) -> Result<HostView, ProviderError>;

    /// What lies in the deployment's bucket under this key; none if nothing does, or there is no bucket.
    async fn object(&self, region: &str, state: &State, key: &str) -> Result<Option<Vec<u8>>, ProviderError>;
}

#[async_trait]
pub trait CloudAdapter: HostReach {
    /// The region of the user's own settings, if any.
    fn default_region(&self) -> Option<String>;

    /// Asks the cloud what a plan in this region needs to know. Changes nothing. The calls run side by side.
    async fn survey(&self, question: &Question) -> Result<Survey, ProviderError>;

    /// What of a deployment is there already. Pure.
    fn laid_out(&self, begun: &Begun) -> LaidOut;

    /// Everything that the deployment consists of. Pure.
    fn graph(&self, spec: &ResolvedSpec, facts: &CloudFacts) -> Result<Graph, CloudGraphError>;

    /// The resources of one deployment in one region.
    fn provider(&self, deployment: &DeploymentName, region: &str, handed: Handed) -> Arc<dyn Provider>;

    /// Everything that carries dsctl's tags in every region that the account uses.
    async fn find_all(&self) -> Result<Search, ProviderError>;
}

#[cfg(test)]
mod tests {
    use spec::deployment::Cloud;
    use spec::machine::Gpu;

    use super::*;

    fn offer() -> Offer {
        Offer {
            cloud: Cloud::Azure,
            machine_type: "m".to_owned(),
            region: "r".to_owned(),
            zones: vec!["r-9".to_owned()],
            vcpus: 1,
            memory_mib: 1,
            gpu: Some(Gpu { name: "T4".to_owned(), memory_mib: 1 }),
            gpu_count: 1,
            on_demand_hourly: "2".parse().ok(),
            spot_hourly: None,
            price_as_of: None,
            price_source: String::new(),
            on_demand_quota: None,
            spot_quota: None,
        }
    }

    fn rows(spot: &[(&str, &str)]) -> Vec<Offer> {
        let zones = vec!["r-1".to_owned(), "r-2".to_owned()];
        let spot_hourly = spot.iter().map(|(at, price)| ((*at).to_owned(), price.parse().unwrap())).collect();
        let live = LiveOffer { zones, on_demand_hourly: None, spot_hourly };
        let survey = Survey {
            identity: Identity { account: String::new(), caller: String::new() },
            image: None,
            offers: [("m".to_owned(), live)].into(),
            quotas: BTreeMap::new(),
            notes: Vec::new(),
        };
        survey.rows(&offer(), "2026-11-26")
    }

    #[test]
    fn a_row_for_each_zone_with_a_price_of_its_own_and_one_where_all_have_the_same() {
        let prices = |rows: &[Offer]| rows.iter().map(|row| (row.zones.len(), row.spot_hourly)).collect::<Vec<_>>();
        assert_eq!(prices(&rows(&[("r-1", "1"), ("r-2", "3")])), [(1, "1".parse().ok()), (1, "3".parse().ok())]);
        assert_eq!(prices(&rows(&[("r", "1")])), [(2, "1".parse().ok())]);
        assert_eq!(prices(&rows(&[])), [(2, None)]);
    }
}
