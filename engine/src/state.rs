//! The durable record: address -> remote id and what it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::id::DeploymentName;

use crate::graph::Address;
use crate::store::{Expect, Store, StoreError, Version};

const KEY: &str = "state.json";
const FORMAT: u32 = 1;

/// The provider's own name for a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RemoteId(pub String);

/// One resource that exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    pub remote_id: RemoteId,
    pub inputs: Value,
    pub depends_on: BTreeSet<Address>,
    /// US dollars while it lives (730 hours a month); none = unknown, never taken as zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_usd: Option<f64>,
}

impl Resource {
    /// One of which only the id is known.
    pub const fn unread(remote_id: RemoteId) -> Self {
        Self { remote_id, inputs: Value::Null, depends_on: BTreeSet::new(), monthly_usd: None }
    }
}

/// All resources of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub format: u32,
    pub deployment: DeploymentName,
    /// Made once with the state: tells it from another state of the same name.
    #[serde(default)]
    pub lineage: String,
    /// Goes up with each write.
    pub serial: u64,
    pub resources: BTreeMap<Address, Resource>,
    /// Replaced, and still there until the new one has taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
    /// Left to themselves by `forget`: still there, and nobody here removes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<RemoteId>,
}

impl State {
    /// One of these resources, not written yet.
    pub const fn of(deployment: DeploymentName, lineage: String, resources: BTreeMap<Address, Resource>) -> Self {
        Self { format: FORMAT, deployment, lineage, serial: 0, resources, replaced: Vec::new(), forgotten: Vec::new() }
    }

    fn empty(deployment: &DeploymentName) -> Self {
        Self::of(deployment.clone(), format!("{:016x}", rand::random::<u64>()), BTreeMap::new())
    }
}

/// A resource whose successor stands at its address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replaced {
    pub address: Address,
    pub resource: Resource,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("state.json: not a state: {0}")]
    Unreadable(#[source] serde_json::Error),
    #[error("state.json: format {found} is newer than this dsctl knows ({FORMAT}); use the dsctl that wrote it")]
    Newer { found: u32 },
    #[error("state.json: belongs to deployment {found}, not {wanted}")]
    OtherDeployment { found: DeploymentName, wanted: DeploymentName },
}

/// A state together with the token that the next write needs.
#[derive(Debug)]
pub struct StateFile {
    store: Arc<dyn Store>,
    version: Option<Version>,
    state: State,
}

impl StateFile {
    /// An absent state is an empty one.
    pub async fn open(store: Arc<dyn Store>, deployment: &DeploymentName) -> Result<Self, StateError> {
        let (state, version) = match store.get(KEY).await? {
            None => (State::empty(deployment), None),
            Some((bytes, version)) => (parse(&bytes, deployment)?, Some(version)),
        };
        Ok(Self { store, version, state })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Records that a resource exists.
    pub async fn put(&mut self, address: Address, resource: Resource) -> Result<(), StateError> {
        self.state.resources.insert(address, resource);
        self.write().await
    }

    /// Records that a resource does not exist any more.
    pub async fn remove(&mut self, address: &Address) -> Result<(), StateError> {
        match self.state.resources.remove(address) {
            Some(_) => self.write().await,
            None => Ok(()),
        }
    }

    /// Leaves a resource to itself.
    pub async fn forget(&mut self, address: &Address) -> Result<(), StateError> {
        if let Some(resource) = self.state.resources.get(address) {
            self.state.forgotten.push(resource.remote_id.clone());
        }
        self.remove(address).await
    }

    /// Puts a new resource in place of the one at its address, which waits to be removed.
    pub async fn replace(&mut self, address: Address, resource: Resource) -> Result<(), StateError> {
        if let Some(old) = self.state.resources.insert(address.clone(), resource) {
            self.state.replaced.push(Replaced { address, resource: old });
        }
        self.write().await
    }

    /// Records something that exists and is to be removed, beside what stands at its address.
    pub async fn set_aside(&mut self, address: Address, resource: Resource) -> Result<(), StateError> {
        self.state.replaced.push(Replaced { address, resource });
        self.write().await
    }

    /// Records that something that was replaced does not exist any more.
    pub async fn retire(&mut self, remote_id: &RemoteId) -> Result<(), StateError> {
        self.state.replaced.retain(|it| it.resource.remote_id != *remote_id);
        self.write().await
    }

    /// One serial more and nothing else: from here on whoever read the state before can write no more.
    pub async fn fence(&mut self) -> Result<(), StateError> {
        self.write().await
    }

    async fn write(&mut self) -> Result<(), StateError> {
        self.state.serial += 1;
        let bytes = serde_json::to_vec_pretty(&self.state).map_err(StateError::Unreadable)?;
        let expect = self.version.clone().map_or(Expect::Absent, Expect::Version);
        self.version = Some(self.store.put_if(KEY, &bytes, expect).await?);
        Ok(())
    }
}

fn parse(bytes: &[u8], wanted: &DeploymentName) -> Result<State, StateError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_slice(bytes).map_err(StateError::Unreadable)?;
    if format > FORMAT {
        return Err(StateError::Newer { found: format });
    }
    let state: State = serde_json::from_slice(bytes).map_err(StateError::Unreadable)?;
    if state.deployment != *wanted {
        return Err(StateError::OtherDeployment { found: state.deployment, wanted: wanted.clone() });
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::MemoryStore;

    fn resource() -> Resource {
        Resource {
            remote_id: RemoteId("r-1".to_owned()),
            inputs: json!({"a": 1}),
            depends_on: BTreeSet::new(),
            monthly_usd: None,
        }
    }

    #[tokio::test]
    async fn a_second_writer_learns_that_it_is_not_alone() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let name = "default".parse().unwrap();
        let mut first = StateFile::open(store.clone(), &name).await.unwrap();
        let mut second = StateFile::open(store.clone(), &name).await.unwrap();
        first.put(Address::new("thing", "a"), resource()).await.unwrap();
        let error = second.put(Address::new("thing", "b"), resource()).await.unwrap_err();
        assert!(matches!(error, StateError::Store(StoreError::Conflict { .. })), "{error}");
        let read = StateFile::open(store, &name).await.unwrap();
        assert_eq!(read.state().resources.len(), 1);
        assert_eq!(read.state().serial, 1);
    }

    #[tokio::test]
    async fn what_is_no_state_of_ours_is_refused() {
        for (text, hint) in [
            ("{", "not a state"),
            (r#"{"format": 99}"#, "newer than this dsctl knows"),
            (r#"{"format":1,"deployment":"other","serial":1,"resources":{}}"#, "belongs to deployment other"),
        ] {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
            store.put_if(KEY, text.as_bytes(), Expect::Absent).await.unwrap();
            let error = StateFile::open(store, &"default".parse().unwrap()).await.unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }
}
