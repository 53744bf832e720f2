//! What can be asked of a running gateway: its status, and to read its files again.

use std::path::PathBuf;
use std::sync::Arc;

use spec::metric::gateway;
use spec::route::GatewayStatus;
use tokio::sync::Mutex;

use crate::carrier::{Carrier, CarrierError};
use crate::config::{ConfigError, Settings};
use crate::plane::DataPlane;
use crate::trail::Trail;

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("the configuration is refused, the one before stays in force")]
    Config(#[from] ConfigError),
    #[error("{field}: it can't change now, the configuration before stays in force")]
    Field { field: &'static str, source: CarrierError },
}

#[derive(Debug)]
pub struct Control {
    pub plane: Arc<DataPlane>,
    pub carrier: Carrier,
    pub trail: Trail,
    config: PathBuf,
    reloading: Mutex<()>,
}

impl Control {
    pub fn new(plane: Arc<DataPlane>, carrier: Carrier, config: PathBuf) -> Self {
        Self { plane, carrier, trail: Trail::default(), config, reloading: Mutex::default() }
    }

    pub fn status(&self) -> GatewayStatus {
        let settings = self.plane.settings();
        let variants = settings.config.variants.iter();
        let variants =
            variants.map(|(variant, given)| (*variant, self.plane.observer.status(*variant, &given.base_url)));
        GatewayStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            variants: variants.collect(),
            rollout: self.carrier.report(),
            route_table: self.plane.table_in_effect(),
        }
    }

    /// Reads the configuration and the key files again. A bad one leaves all as it was.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let _reloading = self.reloading.lock().await;
        let result = self.replace_settings().await;
        self.plane.metrics.set(&gateway::CONFIG_RELOADED, &[], if result.is_ok() { 1.0 } else { 0.0 });
        match &result {
            Ok(()) => tracing::info!(config = %self.config.display(), "configuration read again, now in force"),
            Err(error) => tracing::error!(error = crate::describe(error), "configuration refused"),
        }
        result
    }

    async fn replace_settings(&self) -> Result<(), ReloadError> {
        let settings = Settings::load(&self.config, Some(&self.plane.settings()))?;
        let replaced = self.carrier.replace_settings(settings).await;
        replaced.map_err(|(field, source)| ReloadError::Field { field, source })
    }
}
