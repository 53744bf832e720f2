//! Carrying out a plan: intent, act, outcome.
//!
//! ```text
//! open: journal + state -> settle what is unsettled        (settle.rs says what, pure)
//! apply: schedule -> intent (synced) -> provider call -> outcome (synced) -> state
//!                       ^---- calls run side by side; journal and state have one writer ----^
//! ```
//! A crash between any two of them is resolved by [`Engine::open`]: a pending intent to create is looked up by its
//! token and adopted, everything else is seen by the next refresh, since every act may run twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::id::DeploymentName;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::act::{Act, look_for, perform};
use crate::book::{Book, new_token};
use crate::drift::{Drift, drift};
use crate::graph::{Address, Desired, Graph};
use crate::journal::{Journal, JournalError};
use crate::plan::{Action, Change, Impossible, ObservedAll, Plan, destroy, diff, made_from};
use crate::provider::{ErrorKind, Known, Owned, Provider, ProviderError, Token};
use crate::saved::SavedPlan;
use crate::schedule::Schedule;
use crate::settle::{Pending, Spare, Unsettled, unsettled};
use crate::state::{RemoteId, Replaced, Resource, State, StateError, StateFile};
use crate::store::Store;

/// What the engine's journal holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    Intent {
        address: Address,
        action: Action,
        token: Token,
        inputs: Option<Value>,
        depends_on: Vec<Address>,
        #[serde(default)]
        monthly_usd: Option<f64>,
    },
    Done {
        address: Address,
        token: Token,
        remote_id: Option<RemoteId>,
    },
    Failed {
        address: Address,
        token: Token,
        message: String,
        /// Absent in older journals.
        #[serde(default)]
        kind: Option<ErrorKind>,
    },
    /// What an intent should have made was looked for and not seen.
    Settled {
        address: Address,
        token: Token,
    },
    /// Left out of the state by hand; it may live on.
    Forgotten {
        address: Address,
    },
    /// The lease was taken from one who never gave it back.
    TakenOver {
        from: String,
    },
    /// What was replaced is gone.
    Retired {
        address: Address,
        remote_id: RemoteId,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("journal: {0}")]
    Journal(#[from] JournalError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{address}: {source}")]
    Provider { address: Address, source: ProviderError },
    /// Every way to make it was tried.
    #[error("{address}: none of {} candidates could be had:{}", attempts.len(), listed(attempts))]
    NoCapacity { address: Address, attempts: Vec<String> },
    #[error(transparent)]
    Impossible(#[from] Impossible),
    #[error("the plan was made from another state of affairs; make a new one")]
    Stale,
    #[error("interrupted: what was under way is finished and recorded, the rest was not begun")]
    Interrupted,
}

fn listed(attempts: &[String]) -> String {
    attempts.iter().map(|attempt| format!("\n  {attempt}")).collect()
}

/// No act goes on for as long, waits and repeats and all: what an older intent made shows by now, if it made anything.
const LONGEST_ACT: Duration = Duration::from_secs(60 * 60);

/// What a step of an apply did, for whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<'a> {
    Begins(&'a Change),
    Done(&'a Change),
    Failed(&'a Change, String),
    /// The place of a candidate has no capacity: which one, why, and which is tried next.
    NextCandidate(&'a Change, NextCandidate),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextCandidate {
    pub from: String,
    pub why: String,
    pub to: String,
}

/// Whoever watches an apply.
pub type Watch<'a> = dyn FnMut(Step<'_>) + Send + 'a;

/// How an engine works with its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Calls under way at once.
    pub parallelism: usize,
    /// How long the provider may not show what was just made.
    pub visibility: Duration,
    /// Calls for one act before its failure counts.
    pub attempts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { parallelism: 8, visibility: Duration::ZERO, attempts: 6 }
    }
}

/// Plans and applies for one deployment. Whoever holds one also holds the deployment's lease.
#[derive(Debug)]
pub struct Engine<P> {
    provider: P,
    book: Book,
    settings: Settings,
    stop: CancellationToken,
}

impl<P: Provider> Engine<P> {
    /// Reads state and journal, and settles what an interrupted run left pending.
    pub async fn open(store: Arc<dyn Store>, deployment: &DeploymentName, provider: P) -> Result<Self, EngineError> {
        Self::open_with(store, deployment, provider, Settings::default()).await
    }

    pub async fn open_with(
        store: Arc<dyn Store>,
        deployment: &DeploymentName,
        provider: P,
        settings: Settings,
    ) -> Result<Self, EngineError> {
        let (journal, records) = Journal::open(store.clone(), "journal").await?;
        let state = StateFile::open(store, deployment).await?;
        let Unsettled { pending, spare } = unsettled(records);
        let book = Book { journal, state, spare };
        let mut engine = Self { provider, book, settings, stop: CancellationToken::new() };
        // When the last of their calls was sent is not known: the whole time is waited from now, once for all of them.
        let until = Instant::now() + settings.visibility;
        for pending in pending {
            engine.settle(pending, until).await?;
        }
        Ok(engine)
    }

    /// The same without settling anything, for commands that only look: what an interrupted run left stays pending.
    pub async fn look(
        store: Arc<dyn Store>,
        deployment: &DeploymentName,
        provider: P,
        settings: Settings,
    ) -> Result<Self, EngineError> {
        let (journal, _) = Journal::open(store.clone(), "journal").await?;
        let state = StateFile::open(store, deployment).await?;
        let book = Book { journal, state, spare: Vec::new() };
        Ok(Self { provider, book, settings, stop: CancellationToken::new() })
    }

    /// Bars the way of an earlier holder that may wake up: both the next journal record and the next state are ours now, so
    /// its next write meets a conflict before it can call the provider.
    pub async fn fence(&mut self, from: &str) -> Result<(), EngineError> {
        self.book.append(Event::TakenOver { from: from.to_owned() }).await?;
        Ok(self.book.state.fence().await?)
    }

    pub fn state(&self) -> &State {
        self.book.state.state()
    }

    pub fn provider(&self) -> &P {
        &self.provider
    }

    /// Cancelled: nothing more is begun; what is under way ends and is recorded.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Looks at everything in the state and compares it with what is wanted. Changes nothing.
    pub async fn plan(&self, graph: &Graph) -> Result<Plan, EngineError> {
        let observed = self.refresh().await?;
        let judge = |address: &Address, before: &Value, after: &Value| self.provider.judge(address, before, after);
        Ok(diff(graph, self.state(), &observed, &judge)?)
    }

    /// The plan of a file, if it is still what would be done now.
    pub async fn check_saved(&self, saved: &SavedPlan) -> Result<Plan, EngineError> {
        let plan = self.plan(&saved.graph).await?;
        if plan == saved.plan { Ok(plan) } else { Err(EngineError::Stale) }
    }

    /// What is not as the state recorded it, and what nobody recorded. Never writes.
    pub async fn drift(&self) -> Result<Vec<Drift>, EngineError> {
        let mut found = drift(self.state(), &self.refresh().await?);
        let address = Address::new("deployment", self.state().deployment.as_str());
        let unknown = self.unknown().await.map_err(|source| EngineError::Provider { address, source })?;
        found.extend(unknown.into_iter().map(Drift::Unknown));
        Ok(found)
    }

    /// Brings a resource to its recorded inputs with something laid over them that is not recorded: what is asked for once. It may
    /// be asked twice.
    pub async fn ask(&self, address: &Address, key: &str, once: Value) -> Result<(), EngineError> {
        let failed = |source| EngineError::Provider { address: address.clone(), source };
        let lacking = || failed(ProviderError::permanent(address, "it is not in the state"));
        let resource = self.state().resources.get(address).ok_or_else(lacking)?;
        let mut inputs = resource.inputs.clone();
        if let Some(fields) = inputs.as_object_mut() {
            fields.insert(key.to_owned(), once);
        }
        let desired = Desired {
            address: address.clone(),
            inputs,
            depends_on: resource.depends_on.clone(),
            summary: String::new(),
            disk_bytes: 0,
            monthly_usd: resource.monthly_usd,
            candidates: Vec::new(),
        };
        let act = Act::Update(resource.remote_id.clone(), desired);
        let known = Known::of(self.state());
        perform(&self.provider, act, known, &self.settings, new_token()).await.map_err(failed)?;
        Ok(())
    }

    /// The plan that removes everything.
    pub fn plan_destroy(&self) -> Plan {
        destroy(self.state())
    }

    /// Carries out a plan made by [`Engine::plan`] from the same graph; `watch` hears of each step. After a failure nothing
    /// more is begun, what is under way ends, and the first failure is the answer. What the plan replaces lives on until
    /// [`Engine::retire`], but for the plan that removes everything.
    pub async fn apply(&mut self, plan: &Plan, graph: &Graph, watch: &mut Watch<'_>) -> Result<(), EngineError> {
        if plan.made_from != made_from(graph, self.state()) {
            return Err(EngineError::Stale);
        }
        if graph.iter().next().is_none() {
            self.retire(watch).await?;
        }
        if self.state().serial == 0 {
            // The lineage that everything is tagged with must outlive a crash at the very first call.
            self.book.state.fence().await?;
        }
        let schedule = Schedule::new(&plan.changes, graph, self.state());
        let Self { provider, book, settings, stop } = self;
        let mut run =
            Run { provider, book, settings, watch, plan, graph, schedule, failure: None, attempts: BTreeMap::new() };
        run.carry_out(stop).await
    }

    /// Removes what was replaced: to be called when the new ones serve.
    pub async fn retire(&mut self, watch: &mut Watch<'_>) -> Result<(), EngineError> {
        while let Some(Replaced { address, resource }) = next_to_retire(&self.state().replaced).cloned() {
            let change = crate::plan::removal(&address, Some(resource.inputs.clone()), "replaced");
            watch(Step::Begins(&change));
            // What came back to an earlier content may have an earlier id: then the old one lives on as the new one.
            let is_current = self.state().resources.values().any(|it| it.remote_id == resource.remote_id);
            let act = match is_current {
                true => Act::Nothing,
                false => Act::Delete { address: address.clone(), resource: resource.clone() },
            };
            let known = Known::of(self.state());
            if let Err(source) = perform(&self.provider, act, known, &self.settings, new_token()).await {
                watch(Step::Failed(&change, source.to_string()));
                return Err(EngineError::Provider { address, source });
            }
            let remote_id = resource.remote_id.clone();
            self.book.append(Event::Retired { address, remote_id: remote_id.clone() }).await?;
            self.book.state.retire(&remote_id).await?;
            watch(Step::Done(&change));
        }
        Ok(())
    }

    /// What carries our tags, is in no record and was not left to itself: nobody else will ever remove it.
    pub async fn unknown(&self) -> Result<Vec<Owned>, ProviderError> {
        let state = self.state();
        let replaced = state.replaced.iter().map(|it| &it.resource.remote_id);
        let known = state.resources.values().map(|it| &it.remote_id).chain(replaced).chain(&state.forgotten);
        let known: Vec<&RemoteId> = known.collect();
        let mut found = self.provider.sweep().await?;
        // Another state of the same name has its own to look after; what lost its tag is somebody's all the same.
        let is_ours = |owned: &Owned| owned.lineage.as_ref().is_none_or(|lineage| *lineage == state.lineage);
        found.retain(|owned| is_ours(owned) && !known.contains(&&owned.remote_id));
        Ok(found)
    }

    /// Removes what carries our tags and lineage and is in no record, in the order that the provider gives it. Gives how many
    /// there were.
    pub async fn remove_unknown(&mut self) -> Result<usize, EngineError> {
        let address = Address::new("deployment", self.state().deployment.as_str());
        let unknown = self.unknown().await.map_err(|source| EngineError::Provider { address, source })?;
        let ours = unknown.into_iter().filter(|owned| owned.lineage.as_ref() == Some(&self.state().lineage));
        let ours: Vec<(Address, RemoteId)> = ours.filter_map(|owned| Some((owned.address?, owned.remote_id))).collect();
        for (address, remote_id) in &ours {
            let resource = Resource::unread(remote_id.clone());
            let act = Act::Delete { address: address.clone(), resource };
            let removed = perform(&self.provider, act, Known::of(self.state()), &self.settings, new_token()).await;
            removed.map_err(|source| EngineError::Provider { address: address.clone(), source })?;
        }
        Ok(ours.len())
    }

    /// How long something that nobody saw may yet show: zero if every intent's outcome is known.
    pub const fn may_yet_show(&self) -> Duration {
        if self.book.spare.is_empty() { Duration::ZERO } else { self.settings.visibility }
    }

    /// Leaves a resource out of the state without touching it; false if it is not there.
    pub async fn forget(&mut self, address: &Address) -> Result<bool, EngineError> {
        if !self.state().resources.contains_key(address) {
            return Ok(false);
        }
        self.book.append(Event::Forgotten { address: address.clone() }).await?;
        self.book.state.forget(address).await?;
        Ok(true)
    }

    /// A look at everything in the state, side by side.
    ///
    /// What stands on something that is gone is looked at once more without it, so that it does not seem to be in order.
    pub async fn refresh(&self) -> Result<ObservedAll, EngineError> {
        let resources = &self.state().resources;
        let known = Known::of(self.state());
        let mut seen = self.look_at(resources.iter(), &known).await?;
        let gone: BTreeSet<&Address> = resources.keys().filter(|address| !seen.contains_key(*address)).collect();
        if !gone.is_empty() {
            let stand_on_it = resources.iter().filter(|(address, resource)| {
                !gone.contains(address) && resource.depends_on.iter().any(|on| gone.contains(on))
            });
            seen.extend(self.look_at(stand_on_it, &known.without(&gone)).await?);
        }
        Ok(seen)
    }

    async fn look_at<'a>(
        &self,
        resources: impl Iterator<Item = (&'a Address, &'a Resource)>,
        known: &Known,
    ) -> Result<ObservedAll, EngineError> {
        let looks = resources.map(|(address, resource)| {
            let settings = &self.settings;
            async move {
                let seen = crate::act::read(&self.provider, address, resource, known, settings).await;
                let seen = seen.map_err(|source| EngineError::Provider { address: address.clone(), source })?;
                Ok(seen.map(|seen| (address.clone(), seen)))
            }
        });
        let looks: Vec<Result<_, EngineError>> =
            futures::stream::iter(looks).buffered(self.settings.parallelism.max(1)).collect().await;
        looks.into_iter().filter_map(Result::transpose).collect()
    }

    /// Brings the state up to what the journal says was begun.
    async fn settle(&mut self, pending: Pending, until: Instant) -> Result<(), EngineError> {
        let (address, token) = (pending.address.clone(), pending.token.clone());
        let is_making = matches!(pending.action, Action::Create | Action::Replace);
        let found = match (&pending.remote_id, is_making) {
            (Some(remote_id), _) => Some(remote_id.clone()),
            // Begun again by the next plan: updating or deleting twice does no harm.
            (None, false) => return Ok(()),
            (None, true) => {
                let known = Known::of(self.state());
                // A clock that was set back says that the intent is still to come: then it is waited for like a new one.
                let since = Duration::try_from(Timestamp::now().duration_since(pending.at)).unwrap_or_default();
                let left = if since > LONGEST_ACT { Duration::ZERO } else { until - Instant::now() };
                let found = look_for(&self.provider, &address, &token, &known, left).await;
                found.map_err(|source| EngineError::Provider { address: address.clone(), source })?
            }
        };
        let Some(remote_id) = found else {
            self.book.append(Event::Settled { address: address.clone(), token: token.clone() }).await?;
            self.book.spare.push(Spare { address, token, inputs: pending.inputs });
            return Ok(());
        };
        if pending.remote_id.is_none() {
            let remote_id = Some(remote_id.clone());
            self.book.append(Event::Done { address: address.clone(), token, remote_id }).await?;
        }
        let resource = pending.resource(remote_id);
        self.book.adopt(address, resource, pending.overtaken).await
    }
}

/// Dependents before what they stand on.
fn next_to_retire(replaced: &[Replaced]) -> Option<&Replaced> {
    let is_free = |it: &&Replaced| !replaced.iter().any(|other| other.resource.depends_on.contains(&it.address));
    replaced.iter().find(is_free).or(replaced.first())
}

/// One apply under way.
struct Run<'a, P> {
    provider: &'a P,
    book: &'a mut Book,
    settings: &'a Settings,
    watch: &'a mut Watch<'a>,
    plan: &'a Plan,
    graph: &'a Graph,
    schedule: Schedule,
    failure: Option<EngineError>,
    /// What was tried in vain, by change.
    attempts: BTreeMap<usize, Vec<String>>,
}

/// An act that came to an end.
struct Ended {
    at: usize,
    /// Index of the candidate that was tried.
    candidate: usize,
    token: Token,
    want: Option<Desired>,
    result: Result<Option<RemoteId>, ProviderError>,
}

impl<P: Provider> Run<'_, P> {
    async fn carry_out(&mut self, stop: &CancellationToken) -> Result<(), EngineError> {
        let mut running: FuturesUnordered<BoxFuture<'_, Ended>> = FuturesUnordered::new();
        let provider = self.provider;
        loop {
            while self.failure.is_none() && !stop.is_cancelled() && running.len() < self.settings.parallelism.max(1) {
                let Some(at) = self.schedule.take_ready() else { break };
                (self.watch)(Step::Begins(&self.plan.changes[at]));
                let first = self.plan.changes[at].candidate.unwrap_or_default();
                match self.begin(provider, at, first).await {
                    Ok(act) => running.push(act),
                    Err(error) => self.failure = Some(error),
                }
            }
            let Some(ended) = running.next().await else { break };
            match self.end(provider, ended).await {
                Ok(Some(next)) if self.failure.is_none() && !stop.is_cancelled() => running.push(next),
                Ok(None) => {}
                // Its intent is written and its call was never sent: the next run settles it.
                Ok(Some(_)) => {
                    self.failure.get_or_insert(EngineError::Interrupted);
                }
                Err(error) => {
                    self.failure.get_or_insert(error);
                }
            }
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if self.schedule.left() > 0 => Err(EngineError::Interrupted),
            None => Ok(()),
        }
    }

    /// Writes the intent down, and gives the act that follows it.
    async fn begin<'p>(
        &mut self,
        provider: &'p P,
        at: usize,
        candidate: usize,
    ) -> Result<BoxFuture<'p, Ended>, EngineError> {
        let change = &self.plan.changes[at];
        let want = self.graph.get(&change.address).map(|want| want.with_candidate(candidate));
        let inputs = want.as_ref().map(|want| want.inputs.clone());
        let token = self.book.token_for(&change.address, inputs.as_ref());
        let intent = Event::Intent {
            address: change.address.clone(),
            action: change.action,
            token: token.clone(),
            inputs,
            depends_on: want.iter().flat_map(|want| want.depends_on.iter().cloned()).collect(),
            monthly_usd: want.as_ref().and_then(|want| want.monthly_usd),
        };
        self.book.append(intent).await?;
        let existing = self.book.state.state().resources.get(&change.address).cloned();
        let act = Act::of(change, want.clone(), existing);
        let known = Known::of(self.book.state.state());
        let settings = *self.settings;
        Ok(Box::pin(async move {
            let result = perform(provider, act, known, &settings, token.clone()).await;
            Ended { at, candidate, token, want, result }
        }))
    }

    /// Writes the outcome down. Gives the next try, where there is one.
    async fn end<'p>(&mut self, provider: &'p P, ended: Ended) -> Result<Option<BoxFuture<'p, Ended>>, EngineError> {
        let Ended { at, candidate, token, want, result } = ended;
        let change = &self.plan.changes[at];
        match result {
            Ok(remote_id) => {
                self.record(change, token, remote_id, want.as_ref()).await?;
                (self.watch)(Step::Done(change));
                self.schedule.done(at);
                Ok(None)
            }
            Err(error) => {
                let failed = Event::Failed {
                    address: change.address.clone(),
                    token,
                    message: error.to_string(),
                    kind: Some(error.kind),
                };
                // A full disk fails both. The provider's error is the one to tell; an intent without outcome is settled.
                if let Err(error) = self.book.append(failed).await {
                    tracing::warn!(%error, address = %change.address, "the failure is not in the journal");
                }
                self.after_failure(provider, at, candidate, error).await
            }
        }
    }

    async fn after_failure<'p>(
        &mut self,
        provider: &'p P,
        at: usize,
        candidate: usize,
        error: ProviderError,
    ) -> Result<Option<BoxFuture<'p, Ended>>, EngineError> {
        let change = &self.plan.changes[at];
        let all = self.graph.get(&change.address).map_or(&[][..], |want| &want.candidates);
        let label = |at: usize| all.get(at).map_or_else(|| "the only candidate".to_owned(), |one| one.label.clone());
        let tries = self.attempts.entry(at).or_default();
        match error.kind {
            // A machine that can't be started again is not another machine.
            ErrorKind::Capacity if !all.is_empty() && change.action != Action::Update => {
                tries.push(format!("{}: {}", label(candidate), error.message));
                if candidate + 1 < all.len() {
                    let next = NextCandidate { from: label(candidate), why: error.message, to: label(candidate + 1) };
                    (self.watch)(Step::NextCandidate(change, next));
                    return self.begin(provider, at, candidate + 1).await.map(Some);
                }
                let attempts = std::mem::take(tries);
                (self.watch)(Step::Failed(change, "no capacity".to_owned()));
                Err(EngineError::NoCapacity { address: change.address.clone(), attempts })
            }
            // Once: a second refusal of a fresh token is something else.
            ErrorKind::TokenSpent if tries.last().is_none_or(|last| !last.starts_with("token")) => {
                tries.push("token spent".to_owned());
                self.begin(provider, at, candidate).await.map(Some)
            }
            _ => {
                (self.watch)(Step::Failed(change, error.to_string()));
                Err(EngineError::Provider { address: change.address.clone(), source: error })
            }
        }
    }

    async fn record(
        &mut self,
        change: &Change,
        token: Token,
        remote_id: Option<RemoteId>,
        want: Option<&Desired>,
    ) -> Result<(), EngineError> {
        let address = change.address.clone();
        self.book.append(Event::Done { address: address.clone(), token, remote_id: remote_id.clone() }).await?;
        let (Some(remote_id), Some(want)) = (remote_id, want) else {
            return Ok(self.book.state.remove(&address).await?);
        };
        let resource = Resource {
            remote_id,
            inputs: want.inputs.clone(),
            depends_on: want.depends_on.clone(),
            monthly_usd: want.monthly_usd,
        };
        match change.action {
            Action::Replace => self.book.adopt(address, resource, false).await,
            _ => Ok(self.book.state.put(address, resource).await?),
        }
    }
}
