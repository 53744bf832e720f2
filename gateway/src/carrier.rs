//! Carrying the rollout: one controller, ticked while there is something to decide, and one owner of the weights.
//!
//! Nothing here can stop the data plane: a controller that fails, or that can't be opened because the last rollout's
//! journal can't be read, is logged and asked again, and the last route table stays in force meanwhile.

use std::sync::Arc;
use std::time::Duration;

use engine::store::Store;
use rollout::ports::Traffic;
use rollout::{Controller, ControllerError, SystemClock};
use spec::id::Variant;
use spec::metric::gateway;
use spec::rollout::{RolloutEvent, RolloutReport, RolloutSpec, Verdict};
use spec::route::{RouteTable, RouteTableChange};
use tokio::sync::{Mutex, Notify, OnceCell};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::plane::DataPlane;
use crate::table::TableError;

/// Between two ticks while no rollout is going on.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Between two tries to read a journal that could not be read.
const REOPEN_TICK: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    #[error("a rollout is going on and owns the weights: abort it first, or let it end")]
    Owned,
    #[error(
        "a rollout moves traffic from a baseline to a candidate, and no {0} is configured: \
         add variants.{0} to the configuration and reload"
    )]
    LacksVariant(Variant),
    #[error(
        "the last rollout can't be read, so the last weights stay in force: mend or remove its folder in rollouts/"
    )]
    Unopened(#[source] ControllerError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// What a person can ask of the last rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Pause,
    Resume,
    Approve,
    Abort,
    /// Takes back what the last rollout promoted, or begins anew what it took back.
    Undo,
}

#[derive(Debug)]
pub struct Carrier {
    store: Arc<dyn Store>,
    /// Empty while the last rollout's journal can't be read.
    controller: OnceCell<Arc<Controller>>,
    plane: Arc<DataPlane>,
    /// Held from seeing that no rollout goes on to acting on it.
    beginning: Mutex<()>,
    begun: Notify,
}

impl Carrier {
    /// Takes up the rollout that was going on, if one was. If its journal can't be read now, that is tried again.
    pub async fn open(store: Arc<dyn Store>, plane: Arc<DataPlane>) -> Self {
        let (controller, beginning, begun) = (OnceCell::new(), Mutex::default(), Notify::new());
        let this = Self { store, controller, plane, beginning, begun };
        this.open_or_log().await;
        this.show();
        this
    }

    async fn controller(&self) -> Result<&Arc<Controller>, CarrierError> {
        let open = async || {
            let (store, traffic) = (Arc::clone(&self.store), Arc::<DataPlane>::clone(&self.plane));
            Controller::open(store, traffic, Arc::new(SystemClock)).await.map(Arc::new)
        };
        self.controller.get_or_try_init(open).await.map_err(CarrierError::Unopened)
    }

    async fn open_or_log(&self) -> Option<&Arc<Controller>> {
        self.controller().await.inspect_err(|error| tracing::error!(error = crate::describe(error), "no rollout")).ok()
    }

    pub async fn start(&self, spec: RolloutSpec) -> Result<RolloutReport, CarrierError> {
        let _beginning = self.beginning.lock().await;
        let controller = self.controller().await?;
        if let Some(variant) = self.plane.lacks_variant() {
            return Err(CarrierError::LacksVariant(variant));
        }
        let started = controller.start(spec).await;
        self.show();
        self.begun.notify_one();
        Ok(started?)
    }

    pub async fn make(&self, asked: Move) -> Result<RolloutReport, CarrierError> {
        let controller = self.controller().await?;
        let made = match asked {
            Move::Pause => controller.pause().await,
            Move::Resume => controller.resume().await,
            Move::Approve => controller.approve().await,
            Move::Undo => return self.undo(controller).await,
            Move::Abort => controller.abort().await,
        };
        self.show();
        Ok(self.held(made?))
    }

    /// One that begins anew needs what every beginning needs.
    async fn undo(&self, controller: &Controller) -> Result<RolloutReport, CarrierError> {
        let _beginning = self.beginning.lock().await;
        if let Some(variant) = self.plane.lacks_variant() {
            return Err(CarrierError::LacksVariant(variant));
        }
        let undone = controller.undo().await;
        self.show();
        self.begun.notify_one();
        Ok(undone?)
    }

    /// Of the last rollout; none if there was none, or if it can't be read.
    pub fn report(&self) -> Option<RolloutReport> {
        self.controller.get()?.report().map(|report| self.held(report))
    }

    /// Of the last rollout, or why it can't be read.
    pub async fn last_report(&self) -> Result<Option<RolloutReport>, CarrierError> {
        Ok(self.controller().await?.report().map(|report| self.held(report)))
    }

    pub async fn history(&self) -> Result<Vec<RolloutEvent>, CarrierError> {
        Ok(self.controller().await?.history())
    }

    /// A change of weight by hand, if no rollout owns the weights. While nobody knows whether one does, the candidate's
    /// can only go down: that takes a bad one away, and what it takes from a good one the rollout gives back.
    pub async fn change_table(&self, change: &RouteTableChange) -> Result<RouteTable, CarrierError> {
        let _beginning = self.beginning.lock().await;
        match self.controller().await {
            Ok(controller) if controller.is_active() => return Err(CarrierError::Owned),
            Err(error) if change.candidate > self.plane.table().candidate => return Err(error),
            Ok(_) | Err(_) => {}
        }
        Ok(RouteTable::clone(&*self.plane.change_table(change).await?))
    }

    /// Another salt deals sessions anew, which a rollout's evidence would not survive.
    pub async fn set_salt(&self, salt: &str) -> Result<(), CarrierError> {
        let _beginning = self.beginning.lock().await;
        self.change_salt(salt).await
    }

    /// Puts other settings in force; the field in the error is the one that can't change now.
    pub async fn replace_settings(&self, settings: Settings) -> Result<(), (&'static str, CarrierError)> {
        let _beginning = self.beginning.lock().await;
        let is_active = self.controller.get().is_some_and(|controller| controller.is_active());
        if is_active && let Some(field) = self.plane.settings().steered_field_changed_in(&settings) {
            return Err((field, CarrierError::Owned));
        }
        self.change_salt(&settings.config.salt).await.map_err(|error| ("salt", error))?;
        self.plane.replace_settings(settings);
        Ok(())
    }

    async fn change_salt(&self, salt: &str) -> Result<(), CarrierError> {
        if self.plane.table().salt == salt {
            return Ok(());
        }
        if self.controller().await?.is_active() {
            return Err(CarrierError::Owned);
        }
        Ok(self.plane.set_salt(salt).await?)
    }

    /// Ticks until `stop`.
    pub async fn carry(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.begun.notified() => {}
                () = tokio::time::sleep(self.until_next_tick()) => {}
            }
            self.tick().await;
            self.show();
        }
    }

    async fn tick(&self) {
        let Some(controller) = self.open_or_log().await.map(Arc::clone) else { return };
        if self.plane.lacks_variant().is_some() && controller.is_active() {
            // All traffic goes to the one variant there is, whatever the weight: that is no evidence for a stage.
            self.plane.take_observations();
            return self.plane.metrics.count(&gateway::DECISIONS, &[Verdict::Hold.as_str()], 1);
        }
        match tokio::spawn(async move { controller.tick().await }).await {
            Ok(Some(report)) => self.plane.metrics.count(&gateway::DECISIONS, &[report.verdict.as_str()], 1),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the rollout controller failed; the weights stay, it is asked again"),
        }
    }

    /// A rollout whose baseline or candidate is gone from the configuration is not judged, and its report says so.
    fn held(&self, report: RolloutReport) -> RolloutReport {
        match self.plane.lacks_variant() {
            Some(variant) if !report.phase.is_over() => {
                let reason = format!("holds: no {variant} is configured; before that: {}", report.reason);
                RolloutReport { verdict: Verdict::Hold, reason, ..report }
            }
            Some(_) | None => report,
        }
    }

    fn until_next_tick(&self) -> Duration {
        if !self.controller.initialized() {
            return REOPEN_TICK;
        }
        self.report().filter(|report| !report.phase.is_over()).map_or(IDLE_TICK, |report| report.spec.tick.0)
    }

    fn show(&self) {
        let stage = self.report().filter(|report| !report.phase.is_over()).map_or(0, |report| report.stage + 1);
        self.plane.judge(stage > 0);
        self.plane.metrics.set(&gateway::STAGE, &[], stage as f64);
    }
}
