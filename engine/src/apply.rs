//! Carrying out a plan: intent, act, outcome.
//!
//! ```text
//! journal intent (synced) -> provider call -> journal outcome (synced) -> state
//! ```
//! A crash between any two of them is resolved by [`Engine::open`]: a pending intent to create is looked up by its
//! token and adopted, everything else is seen by the next refresh, since every act may run twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::id::DeploymentName;

use crate::graph::{Address, Desired, Graph};
use crate::journal::{Journal, JournalError};
use crate::plan::{Action, Change, ObservedAll, Plan, destroy, diff};
use crate::provider::{Known, Provider, ProviderError, Token};
use crate::state::{RemoteId, Resource, State, StateError, StateFile};
use crate::store::Store;

/// What the engine's journal holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    Intent { address: Address, action: Action, token: Token, inputs: Option<Value>, depends_on: Vec<Address> },
    Done { address: Address, token: Token, remote_id: Option<RemoteId> },
    Failed { address: Address, token: Token, message: String },
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("journal: {0}")]
    Journal(#[from] JournalError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{address}: {source}")]
    Provider { address: Address, source: ProviderError },
    #[error("the plan was made from another state of affairs; make a new one")]
    Stale,
}

/// What a step of an apply did, for whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<'a> {
    Begins(&'a Change),
    Done(&'a Change),
    Failed(&'a Change, String),
}

/// Plans and applies for one deployment. Whoever holds one also holds the deployment's lease.
#[derive(Debug)]
pub struct Engine<P> {
    provider: P,
    journal: Journal<Event>,
    state: StateFile,
}

impl<P: Provider> Engine<P> {
    /// Reads state and journal, and settles what an interrupted run left pending.
    pub async fn open(store: Arc<dyn Store>, deployment: &DeploymentName, provider: P) -> Result<Self, EngineError> {
        let (journal, records) = Journal::open(store.clone(), "journal").await?;
        let state = StateFile::open(store, deployment).await?;
        let mut engine = Self { provider, journal, state };
        if let Some(pending) = pending(records.into_iter().map(|record| record.event)) {
            engine.settle(pending).await?;
        }
        Ok(engine)
    }

    pub fn state(&self) -> &State {
        self.state.state()
    }

    pub fn provider(&self) -> &P {
        &self.provider
    }

    /// Looks at everything in the state and compares it with what is wanted. Changes nothing.
    pub async fn plan(&self, graph: &Graph) -> Result<Plan, EngineError> {
        Ok(diff(graph, self.state(), &self.refresh().await?))
    }

    /// The plan that removes everything.
    pub fn plan_destroy(&self) -> Plan {
        destroy(self.state())
    }

    /// Carries out a plan made by [`Engine::plan`] from the same graph; `watch` hears of each step. Stops at the first failure.
    pub async fn apply(
        &mut self,
        plan: &Plan,
        graph: &Graph,
        watch: &mut (dyn FnMut(Step<'_>) + Send),
    ) -> Result<(), EngineError> {
        if plan.made_from != diff(graph, self.state(), &BTreeMap::new()).made_from {
            return Err(EngineError::Stale);
        }
        for change in plan.changes.iter().filter(|change| change.action != Action::NoOp) {
            watch(Step::Begins(change));
            match self.carry_out(change, graph.get(&change.address)).await {
                Ok(()) => watch(Step::Done(change)),
                Err(error) => {
                    watch(Step::Failed(change, error.to_string()));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<ObservedAll, EngineError> {
        let mut all = BTreeMap::new();
        for (address, resource) in &self.state().resources {
            let observed = self.provider.read(address, resource, &Known::of(self.state())).await;
            if let Some(observed) = observed.map_err(|source| provider_error(address, source))? {
                all.insert(address.clone(), observed);
            }
        }
        Ok(all)
    }

    async fn carry_out(&mut self, change: &Change, want: Option<&Desired>) -> Result<(), EngineError> {
        let token = Token(format!("{:016x}", rand::random::<u64>()));
        let intent = Event::Intent {
            address: change.address.clone(),
            action: change.action,
            token: token.clone(),
            inputs: change.after.clone(),
            depends_on: want.map(|want| want.depends_on.iter().cloned().collect()).unwrap_or_default(),
        };
        self.journal.append(Timestamp::now(), intent).await?;
        match self.act(change, want, &token).await {
            Ok(remote_id) => self.record(&change.address, token, remote_id, want).await,
            Err(source) => {
                let failed = Event::Failed { address: change.address.clone(), token, message: source.to_string() };
                // A full disk fails both. The provider's error is the one to tell; an intent without outcome is settled.
                if let Err(error) = self.journal.append(Timestamp::now(), failed).await {
                    tracing::warn!(%error, address = %change.address, "the failure is not in the journal");
                }
                Err(provider_error(&change.address, source))
            }
        }
    }

    async fn act(
        &self,
        change: &Change,
        want: Option<&Desired>,
        token: &Token,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let existing = self.state().resources.get(&change.address);
        let known = Known::of(self.state());
        match (change.action, want, existing) {
            (Action::Create, Some(want), _) | (Action::Update, Some(want), None) => {
                self.provider.create(want, token, &known).await.map(Some)
            }
            (Action::Update, Some(want), Some(it)) => self.provider.update(&it.remote_id, want, &known).await.map(Some),
            (Action::Delete, _, Some(it)) => self.provider.delete(&change.address, it, &known).await.map(|()| None),
            (Action::NoOp | Action::Delete, ..) | (Action::Create | Action::Update, None, _) => Ok(None),
        }
    }

    async fn record(
        &mut self,
        address: &Address,
        token: Token,
        remote_id: Option<RemoteId>,
        want: Option<&Desired>,
    ) -> Result<(), EngineError> {
        let done = Event::Done { address: address.clone(), token, remote_id: remote_id.clone() };
        self.journal.append(Timestamp::now(), done).await?;
        match (remote_id, want) {
            (Some(remote_id), Some(want)) => {
                let resource = Resource {
                    remote_id,
                    inputs: want.inputs.clone(),
                    depends_on: want.depends_on.clone(),
                    monthly_usd: want.monthly_usd,
                };
                self.state.put(address.clone(), resource).await?;
            }
            _ => self.state.remove(address).await?,
        }
        Ok(())
    }

    /// Brings the state up to what the journal says was begun.
    async fn settle(&mut self, pending: Pending) -> Result<(), EngineError> {
        let Pending { address, action, token, inputs, depends_on, remote_id } = pending;
        let found = match (action, remote_id) {
            (Action::Create | Action::Update, Some(remote_id)) => Some(remote_id),
            (Action::Create | Action::Update, None) => {
                let known = Known::of(self.state());
                self.provider.find(&address, &token, &known).await.map_err(|source| provider_error(&address, source))?
            }
            // A delete that was begun is planned again: deleting the absent is Ok.
            (Action::Delete | Action::NoOp, _) => return Ok(()),
        };
        if let Some(remote_id) = found {
            let resource = Resource {
                remote_id,
                inputs: inputs.unwrap_or_default(),
                depends_on: depends_on.into_iter().collect(),
                monthly_usd: None,
            };
            if self.state().resources.get(&address) != Some(&resource) {
                self.state.put(address, resource).await?;
            }
        }
        Ok(())
    }
}

fn provider_error(address: &Address, source: ProviderError) -> EngineError {
    EngineError::Provider { address: address.clone(), source }
}

/// The last intent of an address whose outcome may not have reached the state.
#[derive(Debug)]
struct Pending {
    address: Address,
    action: Action,
    token: Token,
    inputs: Option<Value>,
    depends_on: Vec<Address>,
    remote_id: Option<RemoteId>,
}

/// At most one act is under way at a time, so only the journal's last intent can be unsettled: without an outcome, or
/// with one that the state has not heard of.
fn pending(events: impl Iterator<Item = Event>) -> Option<Pending> {
    let mut last = None;
    for event in events {
        match event {
            Event::Intent { address, action, token, inputs, depends_on } => {
                last = Some(Pending { address, action, token, inputs, depends_on, remote_id: None });
            }
            Event::Done { remote_id: Some(remote_id), .. } => {
                if let Some(pending) = &mut last {
                    pending.remote_id = Some(remote_id);
                }
            }
            Event::Done { remote_id: None, .. } => last = None,
            // What failed may still have been made: it stays pending and is looked up by its token.
            Event::Failed { .. } => {}
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake::{DyingStore, FakeProvider};
    use crate::graph::tests::desired;
    use crate::store::MemoryStore;

    fn name() -> DeploymentName {
        "default".parse().unwrap()
    }

    fn graph() -> Graph {
        let mut changed = desired("b", &["a"]);
        changed.inputs = json!({"name": "b", "size": 2});
        Graph::new([desired("a", &[]), changed, desired("c", &["b"])]).unwrap()
    }

    async fn up(store: Arc<dyn Store>, provider: &FakeProvider, graph: &Graph) -> Result<Plan, EngineError> {
        let mut engine = Engine::open(store, &name(), provider.clone()).await?;
        let plan = engine.plan(graph).await?;
        engine.apply(&plan, graph, &mut |_| {}).await?;
        Ok(plan)
    }

    async fn down(store: Arc<dyn Store>, provider: &FakeProvider) -> Result<(), EngineError> {
        let mut engine = Engine::open(store, &name(), provider.clone()).await?;
        let plan = engine.plan_destroy();
        engine.apply(&plan, &Graph::default(), &mut |_| {}).await
    }

    #[tokio::test]
    async fn a_second_apply_changes_nothing_and_calls_nothing() {
        let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
        up(store.clone(), &provider, &graph()).await.unwrap();
        let (acts, state) = (provider.acts(), store.get("state.json").await.unwrap());
        assert!(up(store.clone(), &provider, &graph()).await.unwrap().is_empty());
        assert_eq!(provider.acts(), acts);
        assert_eq!(store.get("state.json").await.unwrap(), state, "nothing was written");
    }

    #[tokio::test]
    async fn a_plan_of_yesterday_is_refused() {
        let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
        let mut engine = Engine::open(store.clone(), &name(), provider.clone()).await.unwrap();
        let plan = engine.plan(&graph()).await.unwrap();
        engine.apply(&plan, &graph(), &mut |_| {}).await.unwrap();
        let error = engine.apply(&plan, &graph(), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, EngineError::Stale), "{error}");
    }

    #[tokio::test]
    async fn what_vanished_is_made_again() {
        let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
        up(store.clone(), &provider, &graph()).await.unwrap();
        provider.lose(&Address::new("thing", "c"));
        let plan = up(store, &provider, &graph()).await.unwrap();
        assert_eq!(plan.count(Action::Create), 1);
        assert_eq!(provider.alive().len(), 3);
    }

    /// The process dies at every write to the store and at every provider call, before and after it took effect; then
    /// one plain `up` must leave exactly what is wanted, and one plain `down` nothing.
    #[tokio::test]
    async fn a_death_at_any_point_leaves_no_orphan_and_no_duplicate() {
        let mut deaths = 0;
        for survived in 0.. {
            let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
            let dying: Arc<dyn Store> = Arc::new(DyingStore::new(store.clone(), survived));
            let finished = up(dying, &provider, &graph()).await.is_ok();
            check_recovery(store, provider).await;
            if finished {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 9, "intent, outcome and state of three resources are nine writes; died at {deaths}");
        for act in 0..3 {
            for after in [false, true] {
                let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
                provider.fail_act(act, after);
                up(store.clone(), &provider, &graph()).await.unwrap_err();
                check_recovery(store, provider).await;
            }
        }
    }

    async fn check_recovery(store: Arc<MemoryStore>, provider: FakeProvider) {
        let graph = graph();
        up(store.clone(), &provider, &graph).await.unwrap();
        let mut alive = provider.alive();
        alive.sort();
        let wanted: Vec<Address> = graph.iter().map(|want| want.address.clone()).collect();
        assert_eq!(alive, wanted);
        for survived in 0.. {
            let dying: Arc<dyn Store> = Arc::new(DyingStore::new(store.clone(), survived));
            if down(dying, &provider).await.is_ok() {
                break;
            }
        }
        down(store, &provider).await.unwrap();
        assert!(provider.alive().is_empty());
    }
}
