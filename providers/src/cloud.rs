//! What dsctl asks of a cloud besides resources: who is asking, what is on offer there now, where a host reports.
//!
//! ```text
//! survey (live) + spec -> graph (pure) -> provider() -> the engine
//! ```
//! One folder a cloud implements [`CloudAdapter`] and the engine's `Provider`; a cloud whose feature is off is refused by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use engine::graph::{Graph, GraphError};
use engine::provider::{Owned, Provider, ProviderError};
use engine::state::State;
use serde::{Deserialize, Serialize};
use spec::amount::Usd;
use spec::host::HostStatus;
use spec::id::{DeploymentName, InvalidId};
use spec::machine::Market;
use spec::resolved::ResolvedSpec;

use crate::local::SecretText;
use crate::local::facts::Binary;

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// E.g. the AWS account's number.
    pub account: String,
    /// E.g. the caller's ARN.
    pub caller: String,
}

/// What is asked about a region before a plan is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub region: String,
    pub machine_types: Vec<String>,
    pub market: Market,
    /// The image that an earlier `up` pinned, or that the spec names; none = the newest.
    pub image: Option<String>,
}

/// What the cloud said just now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    pub identity: Identity,
    pub image: Image,
    /// By machine type; a type that the region does not offer is absent.
    pub offers: BTreeMap<String, LiveOffer>,
    /// By machine type.
    pub quotas: BTreeMap<String, Quota>,
    /// What could not be asked, and why; the catalogue's figures stand there.
    pub notes: Vec<String>,
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
    /// By zone.
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
    pub baseline_key_revision: u64,
}

/// What the provider fills in in a boot script: known only when the machine is made.
pub const BOOT_PLACEHOLDERS: [&str; 4] = ["@BUCKET@", "@REGION@", "@DSCTL_SHA256@", "@ENDPOINT@"];

#[derive(Debug, thiserror::Error)]
pub enum CloudGraphError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("host spec: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Spec(String),
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
    /// Folder of `dsctl`, `dsserve`, `dsgate` for the host.
    pub binaries: std::path::PathBuf,
    pub baseline_key: Option<SecretText>,
}

#[async_trait]
pub trait CloudAdapter: Send + Sync {
    /// The region of the user's own settings, if any.
    fn default_region(&self) -> Option<String>;

    /// Asks the cloud what a plan in this region needs to know. Changes nothing. The calls run side by side.
    async fn survey(&self, question: &Question) -> Result<Survey, ProviderError>;

    /// Everything that the deployment consists of. Pure.
    fn graph(&self, spec: &ResolvedSpec, facts: &CloudFacts) -> Result<Graph, CloudGraphError>;

    /// The resources of one deployment in one region.
    fn provider(&self, deployment: &DeploymentName, region: &str, handed: Handed) -> Arc<dyn Provider>;

    /// What the deployment's machine last reported; none if it has not yet.
    async fn host_status(&self, state: &State) -> Result<Option<HostStatus>, ProviderError>;

    /// The last lines that the machine wrote to its serial console: for a host that never reports.
    async fn console(&self, state: &State) -> Result<String, ProviderError>;

    /// Everything that carries dsctl's tags in every region that the account uses.
    async fn find_all(&self) -> Result<Vec<Found>, ProviderError>;
}
