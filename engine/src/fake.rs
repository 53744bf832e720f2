//! Fakes for tests: a provider whose every create makes a new thing, as clouds do, and a store whose process dies.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use crate::graph::{Address, Desired};
use crate::provider::{ErrorKind, Known, Observed, Provider, ProviderError, Token};
use crate::state::{RemoteId, Resource};
use crate::store::{Expect, Store, StoreError, Version};

#[derive(Debug)]
struct Thing {
    address: Address,
    token: Token,
    inputs: Value,
}

#[derive(Debug, Default)]
struct Cloud {
    things: BTreeMap<String, Thing>,
    made: usize,
    acts: usize,
    fail: Option<(usize, bool)>,
}

/// A cloud in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct FakeProvider {
    cloud: Arc<Mutex<Cloud>>,
}

impl FakeProvider {
    fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mutating calls so far.
    pub fn acts(&self) -> usize {
        self.cloud().acts
    }

    /// Addresses of all that exists, duplicates included.
    pub fn alive(&self) -> Vec<Address> {
        self.cloud().things.values().map(|thing| thing.address.clone()).collect()
    }

    /// Removes a thing behind the engine's back.
    pub fn lose(&self, address: &Address) {
        self.cloud().things.retain(|_, thing| thing.address != *address);
    }

    /// The mutating call number `act` fails, once: before or after it took effect.
    pub fn fail_act(&self, act: usize, after: bool) {
        self.cloud().fail = Some((act, after));
    }

    fn act<T>(&self, effect: impl FnOnce(&mut Cloud) -> T) -> Result<T, ProviderError> {
        let mut cloud = self.cloud();
        let at = cloud.acts;
        cloud.acts += 1;
        let failure = ProviderError::new(ErrorKind::Ambiguous, "fake", "connection reset");
        match cloud.fail {
            Some((act, after)) if act == at => {
                cloud.fail = None;
                if after {
                    effect(&mut cloud);
                }
                Err(failure)
            }
            _ => Ok(effect(&mut cloud)),
        }
    }
}

#[async_trait]
impl Provider for FakeProvider {
    async fn read(
        &self,
        _address: &Address,
        resource: &Resource,
        _known: &Known,
    ) -> Result<Option<Observed>, ProviderError> {
        Ok(self.cloud().things.get(&resource.remote_id.0).map(|thing| Observed { inputs: thing.inputs.clone() }))
    }

    async fn find(&self, address: &Address, token: &Token, _known: &Known) -> Result<Option<RemoteId>, ProviderError> {
        let cloud = self.cloud();
        let found = cloud.things.iter().find(|(_, thing)| thing.token == *token && thing.address == *address);
        Ok(found.map(|(id, _)| RemoteId(id.clone())))
    }

    async fn create(&self, desired: &Desired, token: &Token, _known: &Known) -> Result<RemoteId, ProviderError> {
        self.act(|cloud| {
            cloud.made += 1;
            let id = format!("thing-{}", cloud.made);
            let thing =
                Thing { address: desired.address.clone(), token: token.clone(), inputs: desired.inputs.clone() };
            cloud.things.insert(id.clone(), thing);
            RemoteId(id)
        })
    }

    async fn update(&self, id: &RemoteId, desired: &Desired, _known: &Known) -> Result<RemoteId, ProviderError> {
        self.act(|cloud| {
            if let Some(thing) = cloud.things.get_mut(&id.0) {
                thing.inputs = desired.inputs.clone();
            }
            id.clone()
        })
    }

    async fn delete(&self, _address: &Address, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        self.act(|cloud| {
            cloud.things.remove(&resource.remote_id.0);
        })
    }
}

/// A store whose process dies after a number of writes: every later call fails.
#[derive(Debug)]
pub struct DyingStore {
    inner: Arc<dyn Store>,
    left: AtomicUsize,
}

impl DyingStore {
    pub fn new(inner: Arc<dyn Store>, survived_writes: usize) -> Self {
        Self { inner, left: AtomicUsize::new(survived_writes) }
    }

    fn spend(&self) -> Result<(), StoreError> {
        let spent = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        spent.map(|_| ()).map_err(|_| StoreError::Io {
            what: "writing".to_owned(),
            source: std::io::Error::other("the process died here"),
        })
    }
}

#[async_trait]
impl Store for DyingStore {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        self.inner.get(key).await
    }

    async fn put_if(&self, key: &str, bytes: &[u8], expect: Expect) -> Result<Version, StoreError> {
        self.spend()?;
        self.inner.put_if(key, bytes, expect).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.spend()?;
        self.inner.delete(key).await
    }
}

/// What every provider must do, given a resource it can make and a change of its inputs.
pub async fn provider_conformance(provider: &dyn Provider, desired: Desired, changed: Desired) {
    let known = Known::empty("lineage-1");
    let token = Token("token-1".to_owned());
    let address = desired.address.clone();
    assert_eq!(provider.find(&address, &token, &known).await.expect("find before"), None);
    let id = provider.create(&desired, &token, &known).await.expect("create");
    let made = resource(&id, &desired);
    let seen = provider.read(&address, &made, &known).await.expect("read").expect("it is there");
    assert_eq!(seen.inputs, desired.inputs, "what was made is what was asked for");
    assert_eq!(provider.find(&address, &token, &known).await.expect("find"), Some(id.clone()));
    let id = provider.update(&id, &changed, &known).await.expect("update");
    let made = resource(&id, &changed);
    let seen = provider.read(&address, &made, &known).await.expect("read").expect("it is there");
    assert_eq!(seen.inputs, changed.inputs, "an update takes effect");
    provider.delete(&address, &made, &known).await.expect("delete");
    provider.delete(&address, &made, &known).await.expect("deleting the absent is Ok");
    assert_eq!(provider.read(&address, &made, &known).await.expect("read after"), None);
    assert_eq!(provider.find(&address, &token, &known).await.expect("find after"), None);
}

fn resource(id: &RemoteId, desired: &Desired) -> Resource {
    Resource {
        remote_id: id.clone(),
        inputs: desired.inputs.clone(),
        depends_on: desired.depends_on.clone(),
        monthly_usd: desired.monthly_usd,
    }
}
