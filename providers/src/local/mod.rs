//! This machine as a cloud: folders for buckets, files for secrets, a detached agent for a machine.
//!
//! ```text
//! bucket <- secret.* weights.* <- host-spec <- agent
//!        <- artifact.*         <-----------'
//! ```
//! Each resource leaves a record (`records/<address>.json`) with its token and inputs: what tags are in a cloud.

use std::path::PathBuf;

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, Observed, Provider, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;
use spec::id::{DeploymentName, HostName};
use spec::layout::{DeploymentLayout, HomeLayout};

use crate::host_spec::ASK;
use crate::secret::{CHANGE, Given};

pub mod facts;
pub mod graph;
mod host_spec;
mod machine;
mod record;
mod storage;
pub mod watchers;

pub use machine::{is_alive as agent_is_alive, living_agent};
pub use storage::{deployments, digest_file, pinned_weights};

/// The kinds of resource on this machine.
pub mod kind {
    pub const BUCKET: &str = "bucket";
    pub const SECRET: &str = "secret";
    pub const ARTIFACT: &str = "artifact";
    pub const WEIGHTS: &str = "weights";
    pub const HOST_SPEC: &str = "host-spec";
    pub const AGENT: &str = "agent";
}

/// The one host of a local deployment.
pub fn host_name() -> HostName {
    // A constant that is a valid name; the test below holds it.
    "local".parse().unwrap_or_else(|_| unreachable!("\"local\" is a host name"))
}

/// Resources of one deployment on this machine.
#[derive(Debug, Clone)]
pub struct LocalProvider {
    home: HomeLayout,
    deployment: DeploymentName,
    /// Folder that `dsctl`, `dsserve` and `dsgate` were built or installed into.
    binaries: PathBuf,
    /// The user's own secrets, on their way from the environment or files into `secrets/`.
    given: Given,
}

impl LocalProvider {
    pub fn new(home: HomeLayout, deployment: DeploymentName, binaries: PathBuf) -> Self {
        Self { home, deployment, binaries, given: Given::default() }
    }

    #[must_use]
    pub fn with_given(mut self, given: Given) -> Self {
        self.given = given;
        self
    }

    /// Starts the agent of a deployment that exists, if it is not alive; for repairs that change nothing else.
    pub async fn start_agent(&self) -> Result<(), ProviderError> {
        let address = Address::new(kind::AGENT, "local");
        let record = self.records().get(&address)?;
        let record = record.ok_or_else(|| ProviderError::permanent(&address, "it was never made; next: dsctl up"))?;
        machine::start(&self.home, &self.deployment, &record.inputs).await
    }

    /// Asks the agent to try again at once what failed: the same host spec under a new generation.
    pub fn retry(&self) -> Result<(), ProviderError> {
        host_spec::renew(&self.layout())
    }

    fn layout(&self) -> DeploymentLayout {
        self.home.deployment(&self.deployment)
    }

    fn records(&self) -> record::Records {
        record::Records::of(&self.layout())
    }

    async fn make(&self, address: &Address, inputs: &Value) -> Result<(), ProviderError> {
        match address.kind() {
            kind::BUCKET => storage::make_bucket(&self.layout()),
            kind::SECRET => storage::write_secret(&self.layout(), &self.deployment, address, &self.given),
            kind::ARTIFACT => storage::copy_artifact(&self.home, &self.binaries, address, inputs).await,
            // The record is the resource: it pins the digest in the cache; the agent fetches the bytes.
            kind::WEIGHTS => Ok(()),
            kind::HOST_SPEC => host_spec::write(&self.layout(), inputs).await,
            kind::AGENT => machine::start(&self.home, &self.deployment, inputs).await,
            _ => Err(unknown_kind(address)),
        }
    }
}

/// Of inputs what is recorded: not what is asked for once.
fn lasting(inputs: &Value) -> Value {
    let mut lasting = inputs.clone();
    if let Some(fields) = lasting.as_object_mut() {
        fields.retain(|key, _| ![ASK, CHANGE].contains(&key.as_str()));
    }
    lasting
}

fn unknown_kind(address: &Address) -> ProviderError {
    ProviderError::permanent(address, "this dsctl does not know such a resource; use the dsctl that made it")
}

#[async_trait]
impl Provider for LocalProvider {
    async fn read(
        &self,
        address: &Address,
        _resource: &Resource,
        _known: &Known,
    ) -> Result<Option<Observed>, ProviderError> {
        let Some(record) = self.records().get(address)? else { return Ok(None) };
        let inputs = match address.kind() {
            kind::BUCKET => self.layout().bucket().root().is_dir().then_some(record.inputs),
            kind::SECRET => storage::has_secret(&self.layout(), address)?.then_some(record.inputs),
            kind::ARTIFACT => storage::has_artifact(&self.home, address, &record.inputs)?.then_some(record.inputs),
            kind::WEIGHTS => Some(record.inputs),
            kind::HOST_SPEC => host_spec::read(&self.layout())?,
            kind::AGENT => machine::is_alive(&self.layout())?.then_some(record.inputs),
            _ => return Err(unknown_kind(address)),
        };
        Ok(inputs.map(|inputs| Observed { inputs }))
    }

    async fn find(&self, address: &Address, token: &Token, _known: &Known) -> Result<Option<RemoteId>, ProviderError> {
        let record = self.records().get(address)?;
        Ok(record.filter(|record| record.token == *token).map(|_| RemoteId(address.to_string())))
    }

    async fn create(&self, desired: &Desired, token: &Token, _known: &Known) -> Result<RemoteId, ProviderError> {
        // The record first: what is made after it is found again whenever the process ends. `read` looks at the thing itself.
        self.records().put(&desired.address, token, &desired.inputs)?;
        self.make(&desired.address, &desired.inputs).await?;
        Ok(RemoteId(desired.address.to_string()))
    }

    async fn update(&self, id: &RemoteId, desired: &Desired, _known: &Known) -> Result<RemoteId, ProviderError> {
        if desired.address.kind() == kind::AGENT {
            machine::leave(&self.layout()).await?;
        }
        match desired.inputs.get(CHANGE) {
            Some(change) if desired.address.kind() == kind::SECRET => {
                storage::rekey(&self.layout(), &self.deployment, &desired.address, change)?;
            }
            _ => self.make(&desired.address, &desired.inputs).await?,
        }
        self.records().update(&desired.address, &lasting(&desired.inputs))?;
        Ok(id.clone())
    }

    async fn delete(&self, address: &Address, _resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let record = self.records().get(address)?;
        match (address.kind(), record) {
            (kind::BUCKET, _) => storage::remove_bucket(&self.layout())?,
            (kind::SECRET, _) => storage::remove_secret(&self.layout(), address)?,
            (kind::ARTIFACT, Some(record)) => storage::remove_artifact(&self.home, &self.deployment, address, &record)?,
            (kind::ARTIFACT, None) | (kind::WEIGHTS, _) => {}
            (kind::HOST_SPEC, _) => {
                // An agent that the state does not know of yet would work on without a spec.
                machine::wind_up(&self.layout()).await?;
                host_spec::remove(&self.layout())?;
            }
            (kind::AGENT, Some(record)) => machine::stop(&self.home, &self.deployment, &record.inputs).await?,
            (kind::AGENT, None) => {}
            _ => return Err(unknown_kind(address)),
        }
        self.records().remove(address)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use engine::fake::provider_conformance;
    use serde_json::json;

    use super::*;

    fn desired(kind: &str, name: &str, inputs: Value) -> Desired {
        Desired {
            address: Address::new(kind, name),
            inputs,
            depends_on: BTreeSet::new(),
            summary: String::new(),
            disk_bytes: 0,
            monthly_usd: Some(0.0),
            candidates: Vec::new(),
        }
    }

    fn digest(text: &str) -> String {
        use sha2::Digest;
        hex::encode(sha2::Sha256::digest(text))
    }

    /// The agent is left out: it needs a real dsctl, and the whole-program tests start one.
    #[tokio::test]
    async fn every_kind_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let binaries = folder.path().join("bin");
        std::fs::create_dir(&binaries).unwrap();
        std::fs::write(binaries.join("dsserve"), "binary").unwrap();
        let home = HomeLayout::new(folder.path().join("home"));
        let provider = LocalProvider::new(home, "default".parse().unwrap(), binaries);
        let artifact = json!({"sha256": digest("binary")});
        let spec = host_spec::tests::inputs(8080);
        for (before, after) in [
            (desired(kind::BUCKET, "main", json!({})), desired(kind::BUCKET, "main", json!({"v": 2}))),
            (desired(kind::SECRET, "api-key", json!({})), desired(kind::SECRET, "api-key", json!({"revision": 2}))),
            (desired(kind::ARTIFACT, "dsserve", artifact.clone()), desired(kind::ARTIFACT, "dsserve", artifact)),
            (desired(kind::WEIGHTS, "m", json!({"a": 1})), desired(kind::WEIGHTS, "m", json!({"a": 2}))),
            (
                desired(kind::HOST_SPEC, "local", spec),
                desired(kind::HOST_SPEC, "local", host_spec::tests::inputs(8090)),
            ),
        ] {
            provider_conformance(&provider, before, after).await;
        }
    }

    #[tokio::test]
    async fn a_binary_that_is_not_the_planned_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dsserve"), "other").unwrap();
        let home = HomeLayout::new(folder.path().join("home"));
        let provider = LocalProvider::new(home, "default".parse().unwrap(), folder.path().to_owned());
        let want = desired(kind::ARTIFACT, "dsserve", json!({"sha256": digest("binary")}));
        let error = provider.create(&want, &Token("t".to_owned()), &Known::default()).await.unwrap_err().to_string();
        assert!(error.contains("changed since the plan"), "{error}");
    }

    #[tokio::test]
    async fn a_kind_of_another_version_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let home = HomeLayout::new(folder.path());
        let provider = LocalProvider::new(home, "default".parse().unwrap(), folder.path().to_owned());
        let error = provider
            .create(&desired("moon", "one", json!({})), &Token("t".to_owned()), &Known::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("moon.one"), "{error}");
    }

    #[test]
    fn the_host_has_a_name() {
        assert_eq!(host_name().as_str(), "local");
    }
}
