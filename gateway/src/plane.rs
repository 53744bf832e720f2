//! The data plane: what every request needs, and what the rollout controller sees and moves of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use engine::store::Store;
use rollout::ports::{Observation, Traffic, TrafficError};
use spec::amount::Weight;
use spec::id::Variant;
use spec::metric::gateway;
use spec::route::{RouteTable, RouteTableChange};

use crate::allowance::{Allowances, SpendingError};
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::pick::{Configured, bucket_of_key, bucket_of_turn};
use crate::recorder::Recorder;
use crate::table::{Table, TableError};
use crate::upstream::Upstream;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Spending(#[from] SpendingError),
}

#[derive(Debug)]
pub struct DataPlane {
    settings: ArcSwap<Settings>,
    table: Table,
    pub metrics: Arc<Metrics>,
    pub observer: Arc<Observer>,
    /// What keys may still use.
    pub allowances: Arc<Allowances>,
    /// Of the audit log; none if none is kept.
    pub recorder: Option<Arc<Recorder>>,
    /// Requests so far that named no session.
    turns: AtomicU64,
    is_draining: AtomicBool,
    /// A rollout is going on.
    is_judged: AtomicBool,
}

impl DataPlane {
    /// Takes up the route table that was in force, or the first one: all to the baseline. That counts from the moment
    /// there is one: also a baseline that comes later has the traffic until a rollout takes it away.
    pub async fn open(
        settings: Settings,
        store: Arc<dyn Store>,
        recorder: Option<Recorder>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let first = RouteTable { generation: 1, salt: settings.config.salt.clone(), candidate: Weight::NONE };
        let plane = Self {
            settings: ArcSwap::from_pointee(settings),
            table: Table::open(Arc::clone(&store), first).await?,
            observer: Arc::new(Observer::new(Arc::clone(&metrics))),
            allowances: Arc::new(Allowances::open(Arc::clone(&store), Arc::clone(&metrics)).await?),
            recorder: recorder.map(Arc::new),
            metrics,
            turns: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            is_judged: AtomicBool::new(false),
        };
        plane.show();
        Ok(plane)
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Puts other settings in force for new requests; those under way keep theirs.
    pub fn replace_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
        self.show();
    }

    pub fn table(&self) -> Arc<RouteTable> {
        self.table.load()
    }

    /// The table with the share that the candidate really has: all of it while there is nothing to choose.
    pub fn table_in_effect(&self) -> RouteTable {
        let table = self.table.load();
        RouteTable { candidate: self.settings().configured.candidate_share(table.candidate), ..(*table).clone() }
    }

    /// A change by hand.
    pub async fn change_table(&self, change: &RouteTableChange) -> Result<Arc<RouteTable>, TableError> {
        let changed = self.table.change(change).await;
        self.show();
        changed
    }

    pub async fn set_salt(&self, salt: &str) -> Result<(), TableError> {
        let changed = self.table.set_salt(salt).await;
        self.show();
        changed
    }

    /// The bucket of a request with this session, or without one.
    pub fn bucket(&self, table: &RouteTable, session: Option<&[u8]>) -> u16 {
        match session {
            Some(session) => bucket_of_key(&table.salt, session),
            None => bucket_of_turn(self.turns.fetch_add(1, Ordering::Relaxed)),
        }
    }

    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// While a rollout goes on, what its weight sends to a variant is asked of it, however often that failed: gates judge by
    /// what really came back.
    pub fn judge(&self, is_judged: bool) {
        self.is_judged.store(is_judged, Ordering::Relaxed);
    }

    pub fn is_judged(&self) -> bool {
        self.is_judged.load(Ordering::Relaxed)
    }

    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Why no rollout can be carried out: it needs two variants.
    pub fn lacks_variant(&self) -> Option<Variant> {
        match self.settings().configured {
            Configured::Only(variant) => Some(variant.other()),
            Configured::Both => None,
        }
    }

    fn candidate(&self) -> Result<Arc<Upstream>, TrafficError> {
        let candidate = self.settings().upstreams.get(&Variant::Candidate).and_then(|all| all.first()).cloned();
        candidate.ok_or_else(|| TrafficError::Unreachable("it is not configured".to_owned()))
    }

    fn show(&self) {
        let table = self.table.load();
        self.metrics.weights(self.settings().configured.candidate_share(table.candidate));
        self.metrics.set(&gateway::GENERATION, &[], table.generation as f64);
        crate::guard::show(&self.metrics, self.settings().guards.as_deref());
        crate::cost::show(&self.metrics, &self.settings().config);
    }
}

#[async_trait]
impl Traffic for DataPlane {
    fn route_table(&self) -> RouteTable {
        RouteTable::clone(&self.table.load())
    }

    async fn set_weight(&self, candidate: Weight, generation: u64) -> Result<(), TrafficError> {
        let set = self.table.set_weight(candidate, generation).await;
        self.show();
        set
    }

    async fn withdraw_candidate(&self) {
        self.table.withdraw_candidate().await;
        self.show();
    }

    fn take_observations(&self) -> Vec<Observation> {
        self.observer.take()
    }

    async fn probe_candidate(&self) -> Result<(), TrafficError> {
        self.candidate()?.probe().await.map_err(TrafficError::Unreachable)
    }

    async fn scrape_candidate(&self) -> Result<String, TrafficError> {
        self.candidate()?.scrape().await.map_err(TrafficError::Unreachable)
    }
}
