//! Fakes for tests: a provider whose every create makes a new thing, as clouds do, and a store whose process dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;

use crate::graph::{Address, Desired};
use crate::provider::{ErrorKind, Known, Observed, Owned, Provider, ProviderError, Token, Verdict};
use crate::state::{RemoteId, Resource};
use crate::store::{Expect, Store, StoreError, Version};

#[derive(Debug)]
struct Thing {
    address: Address,
    token: Token,
    lineage: String,
    inputs: Value,
    /// A look by token does not see it before.
    shows: Instant,
}

/// What goes wrong with one mutating call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Throttled,
    /// No answer, and nothing happened.
    LostBefore,
    /// It happened, and the answer was lost.
    LostAfter,
    Refused,
}

#[derive(Debug, Default)]
struct Cloud {
    things: BTreeMap<String, Thing>,
    made: usize,
    acts: usize,
    faults: BTreeMap<usize, Fault>,
    /// Values of the input `zone` where there is no room.
    full_zones: BTreeSet<String>,
    hidden: Duration,
    is_idempotent: bool,
    in_flight: usize,
    most_in_flight: usize,
}

/// A cloud in memory; clones share it. Of inputs, `fixed` can't change, `size` needs a new thing, `boot` counts only at the start.
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

    /// Ids of all that exists.
    pub fn alive_ids(&self) -> BTreeSet<String> {
        self.cloud().things.keys().cloned().collect()
    }

    /// Removes a thing behind the engine's back.
    pub fn lose(&self, address: &Address) {
        self.cloud().things.retain(|_, thing| thing.address != *address);
    }

    /// Changes a thing behind the engine's back.
    pub fn tamper(&self, address: &Address, inputs: Value) {
        for thing in self.cloud().things.values_mut().filter(|thing| thing.address == *address) {
            thing.inputs = inputs.clone();
        }
    }

    /// The mutating call number `act` goes wrong, once.
    pub fn fail_act(&self, act: usize, fault: Fault) {
        self.cloud().faults.insert(act, fault);
    }

    pub fn fill_zone(&self, zone: &str) {
        self.cloud().full_zones.insert(zone.to_owned());
    }

    /// What is made from now on is not seen for so long.
    pub fn hide_at_first(&self, time: Duration) {
        self.cloud().hidden = time;
    }

    /// A second create with a token gives the first thing back, as RunInstances does.
    pub fn honour_tokens(&self) {
        self.cloud().is_idempotent = true;
    }

    /// The most calls that were under way at once.
    pub fn most_in_flight(&self) -> usize {
        self.cloud().most_in_flight
    }

    async fn act<T>(&self, effect: impl FnOnce(&mut Cloud) -> Result<T, ProviderError>) -> Result<T, ProviderError> {
        self.enter();
        tokio::task::yield_now().await;
        let mut cloud = self.cloud();
        cloud.in_flight -= 1;
        let at = cloud.acts;
        cloud.acts += 1;
        let failure = |kind| Err(ProviderError::new(kind, "fake", "scripted"));
        match cloud.faults.remove(&at) {
            None => effect(&mut cloud),
            Some(Fault::Throttled) => failure(ErrorKind::Throttled { retry_after: None }),
            Some(Fault::LostBefore) => failure(ErrorKind::Ambiguous),
            Some(Fault::LostAfter) => effect(&mut cloud).and_then(|_| failure(ErrorKind::Ambiguous)),
            Some(Fault::Refused) => failure(ErrorKind::Refused),
        }
    }

    fn enter(&self) {
        let mut cloud = self.cloud();
        cloud.in_flight += 1;
        cloud.most_in_flight = cloud.most_in_flight.max(cloud.in_flight);
    }
}

impl Cloud {
    fn make(&mut self, desired: &Desired, token: &Token, lineage: &str) -> Result<RemoteId, ProviderError> {
        let same = || self.things.iter().find(|(_, thing)| thing.token == *token);
        if let Some((id, _)) = self.is_idempotent.then(same).flatten() {
            return Ok(RemoteId(id.clone()));
        }
        if desired.inputs["zone"].as_str().is_some_and(|zone| self.full_zones.contains(zone)) {
            return Err(ProviderError::new(ErrorKind::Capacity, &desired.address, "the zone is full"));
        }
        self.made += 1;
        let id = format!("thing-{}", self.made);
        let (address, token, inputs) = (desired.address.clone(), token.clone(), desired.inputs.clone());
        let shows = Instant::now() + self.hidden;
        self.things.insert(id.clone(), Thing { address, token, lineage: lineage.to_owned(), inputs, shows });
        Ok(RemoteId(id))
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
        let (cloud, now) = (self.cloud(), Instant::now());
        let is_it = |thing: &Thing| thing.token == *token && thing.address == *address && thing.shows <= now;
        Ok(cloud.things.iter().find(|(_, thing)| is_it(thing)).map(|(id, _)| RemoteId(id.clone())))
    }

    async fn create(&self, desired: &Desired, token: &Token, known: &Known) -> Result<RemoteId, ProviderError> {
        self.act(|cloud| cloud.make(desired, token, &known.lineage)).await
    }

    async fn update(&self, id: &RemoteId, desired: &Desired, _known: &Known) -> Result<RemoteId, ProviderError> {
        self.act(|cloud| {
            if let Some(thing) = cloud.things.get_mut(&id.0) {
                thing.inputs = desired.inputs.clone();
            }
            Ok(id.clone())
        })
        .await
    }

    async fn delete(&self, _address: &Address, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        self.act(|cloud| {
            cloud.things.remove(&resource.remote_id.0);
            Ok(())
        })
        .await
    }

    fn judge(&self, _address: &Address, before: &Value, after: &Value) -> Verdict {
        let differs = |key: &str| before.get(key) != after.get(key);
        let keys = crate::plan::differing_keys(before, after);
        if differs("fixed") {
            return Verdict::Impossible("fixed can't change".to_owned());
        }
        match (differs("size"), keys.iter().all(|key| key == "boot")) {
            (true, _) => Verdict::Replace,
            (false, true) => Verdict::Same,
            (false, false) => Verdict::InPlace,
        }
    }

    async fn sweep(&self) -> Result<Vec<Owned>, ProviderError> {
        let cloud = self.cloud();
        let things = cloud.things.iter().map(|(id, thing)| Owned {
            address: Some(thing.address.clone()),
            token: Some(thing.token.clone()),
            remote_id: RemoteId(id.clone()),
            lineage: Some(thing.lineage.clone()),
        });
        Ok(things.collect())
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
