//! The life of the server: bound, loading, ready, draining, gone.
//!
//! ```text
//! Loading --model loaded--> Ready --first stop--> Draining --idle, timeout or second stop--> closed
//! ```
//! The listener is open from the first moment, so that probes can tell "loading" from "dead".

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::auth::ApiKeys;
use crate::engine::EngineHandle;
use crate::http;
use crate::metrics::Metrics;
use crate::prompt::Language;

/// What clients that read slowly get for the rest of their answers once nothing is generated any more.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ServeError<E: std::error::Error + 'static> {
    #[error(transparent)]
    Load(E),
    #[error("the thread of the model died: the lines above say why")]
    EngineDied,
    #[error("the server failed")]
    Server(#[source] std::io::Error),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// What a loaded model offers.
#[derive(Debug)]
pub struct Service {
    pub engine: EngineHandle,
    pub language: Language,
}

/// A service, and the signal that its engine is gone.
#[derive(Debug)]
pub struct Loaded {
    pub service: Service,
    pub engine_ended: oneshot::Receiver<()>,
}

#[derive(Debug, Clone)]
pub enum Phase {
    Loading,
    Ready(Arc<Service>),
    Draining,
}

impl Phase {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready(_) => "ready",
            Self::Draining => "draining",
        }
    }
}

/// What every request handler sees.
#[derive(Debug)]
pub struct App {
    pub model_name: String,
    /// Seconds since 1970.
    pub created: i64,
    pub keys: Option<ApiKeys>,
    pub metrics: Arc<Metrics>,
    phase: watch::Sender<Phase>,
}

impl App {
    pub fn new(model_name: &str, keys: Option<ApiKeys>, metrics: Arc<Metrics>) -> Self {
        let created = jiff::Timestamp::now().as_second();
        Self { model_name: model_name.to_owned(), created, keys, metrics, phase: watch::Sender::new(Phase::Loading) }
    }

    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Tells of every change of phase.
    #[cfg(test)]
    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    fn enter(&self, phase: Phase) {
        tracing::info!(phase = phase.name(), "phase");
        self.phase.send_replace(phase);
    }
}

/// Serves until stopped. The first message on `stop` drains, the second ends at once.
pub async fn serve<E: std::error::Error + Send + 'static>(
    listener: TcpListener,
    app: Arc<App>,
    load: impl FnOnce() -> Result<Loaded, E> + Send + 'static,
    mut stop: mpsc::Receiver<()>,
    shutdown_timeout: Duration,
) -> Result<(), ServeError<E>> {
    let (close, closed) = oneshot::channel::<()>();
    let server = axum::serve(listener, http::router(app.clone())).with_graceful_shutdown(async {
        // A dropped sender closes too.
        let _ = closed.await;
    });
    let mut server = tokio::spawn(async { server.await });
    let loading = spawn_load(load).map_err(ServeError::Thread)?;
    let loaded = tokio::select! {
        loaded = loading => match loaded {
            Ok(loaded) => loaded.map_err(ServeError::Load)?,
            Err(_) => return Err(ServeError::EngineDied),
        },
        _ = stop.recv() => return Ok(()),
    };
    let engine = loaded.service.engine.clone();
    app.enter(Phase::Ready(Arc::new(loaded.service)));
    tokio::select! {
        _ = loaded.engine_ended => return Err(ServeError::EngineDied),
        _ = stop.recv() => {}
    }
    app.enter(Phase::Draining);
    drain(&engine, &mut stop, shutdown_timeout).await;
    drop(close);
    match tokio::time::timeout(FLUSH_TIMEOUT, &mut server).await {
        Ok(Ok(outcome)) => outcome.map_err(ServeError::Server),
        Ok(Err(panic)) => Err(ServeError::Server(std::io::Error::other(panic))),
        Err(_) => {
            server.abort();
            Ok(())
        }
    }
}

/// A thread of its own: a load can't be interrupted, and must not keep the process from exiting.
fn spawn_load<T: Send + 'static>(load: impl FnOnce() -> T + Send + 'static) -> std::io::Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        // Nobody listens any more if the server was stopped while loading.
        let _ = sender.send(load());
    })?;
    Ok(receiver)
}

async fn drain(engine: &EngineHandle, stop: &mut mpsc::Receiver<()>, shutdown_timeout: Duration) {
    let mut in_flight = engine.in_flight();
    let is_idle = tokio::select! {
        idle = tokio::time::timeout(shutdown_timeout, in_flight.wait_for(|count| *count == 0)) => idle.is_ok(),
        Some(()) = stop.recv() => false,
    };
    if !is_idle {
        tracing::warn!(requests = *engine.in_flight().borrow(), "ending requests that did not finish in time");
        engine.abort_all();
    }
}
