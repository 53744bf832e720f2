//! Carrying the rollout: one controller, ticked while there is something to decide, and one owner of the weights.
//!
//! Nothing here can stop the data plane: a controller that fails is logged and asked again, and the last route table
//! stays in force meanwhile.

use std::sync::Arc;
use std::time::Duration;

use engine::store::Store;
use rollout::{Controller, ControllerError, SystemClock};
use spec::id::Variant;
use spec::metric::gateway;
use spec::rollout::{RolloutEvent, RolloutReport, RolloutSpec};
use spec::route::{RouteTable, RouteTableChange};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::plane::DataPlane;
use crate::table::TableError;

/// Between two ticks while no rollout is going on.
const IDLE_TICK: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    #[error("a rollout is going on and owns the weights: abort it first, or let it end")]
    Owned,
    #[error(
        "a rollout moves traffic from a baseline to a candidate, and no {0} is configured: \
         add variants.{0} to the configuration and reload"
    )]
    LacksVariant(Variant),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// What a person can ask of a rollout that is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Pause,
    Resume,
    Abort,
}

#[derive(Debug)]
pub struct Carrier {
    controller: Arc<Controller>,
    plane: Arc<DataPlane>,
    /// Held from seeing that no rollout goes on to acting on it.
    beginning: Mutex<()>,
    begun: Notify,
}

impl Carrier {
    /// Takes up the rollout that was going on, if one was.
    pub async fn open(store: Arc<dyn Store>, plane: Arc<DataPlane>) -> Result<Self, CarrierError> {
        let controller = Controller::open(store, Arc::<DataPlane>::clone(&plane), Arc::new(SystemClock)).await?;
        let this = Self { controller: Arc::new(controller), plane, beginning: Mutex::default(), begun: Notify::new() };
        this.show();
        Ok(this)
    }

    pub async fn start(&self, spec: RolloutSpec) -> Result<RolloutReport, CarrierError> {
        let _beginning = self.beginning.lock().await;
        if let Some(variant) = self.plane.lacks_variant() {
            return Err(CarrierError::LacksVariant(variant));
        }
        let started = self.controller.start(spec).await;
        self.show();
        self.begun.notify_one();
        Ok(started?)
    }

    pub async fn make(&self, asked: Move) -> Result<RolloutReport, CarrierError> {
        let made = match asked {
            Move::Pause => self.controller.pause().await,
            Move::Resume => self.controller.resume().await,
            Move::Abort => self.controller.abort().await,
        };
        self.show();
        Ok(made?)
    }

    pub fn report(&self) -> Option<RolloutReport> {
        self.controller.report()
    }

    pub fn history(&self) -> Vec<RolloutEvent> {
        self.controller.history()
    }

    /// A change of weight by hand, if no rollout owns the weights.
    pub async fn change_table(&self, change: &RouteTableChange) -> Result<RouteTable, CarrierError> {
        let _beginning = self.beginning.lock().await;
        if self.controller.is_active() {
            return Err(CarrierError::Owned);
        }
        Ok(RouteTable::clone(&*self.plane.change_table(change).await?))
    }

    /// Another salt deals sessions anew, which a rollout's evidence would not survive.
    pub async fn set_salt(&self, salt: &str) -> Result<(), CarrierError> {
        let _beginning = self.beginning.lock().await;
        if self.plane.table().salt == salt {
            return Ok(());
        }
        if self.controller.is_active() {
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
            let controller = Arc::clone(&self.controller);
            match tokio::spawn(async move { controller.tick().await }).await {
                Ok(Some(report)) => self.plane.metrics.count(&gateway::DECISIONS, &[report.verdict.as_str()], 1),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the rollout controller failed; the weights stay, it is asked again")
                }
            }
            self.show();
        }
    }

    fn until_next_tick(&self) -> Duration {
        self.report().filter(|report| !report.phase.is_over()).map_or(IDLE_TICK, |report| report.spec.tick.0)
    }

    fn show(&self) {
        let stage = self.report().filter(|report| !report.phase.is_over()).map_or(0, |report| report.stage + 1);
        self.plane.metrics.set(&gateway::STAGE, &[], stage as f64);
    }
}
