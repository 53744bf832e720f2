//! A deployment under our lease: open, plan, apply, release.

use std::sync::Arc;
use std::time::Duration;

use engine::apply::{Engine, EngineError, Step};
use engine::graph::Graph;
use engine::lease::{HeldLease, LIFETIME, LeaseError};
use engine::plan::Plan;
use engine::provider::Provider;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::context::{holder, is_dead};
use crate::exit::{Failure, Kind};
use crate::site::Site;
use crate::talk::say;

/// An engine that nobody else writes beside.
pub struct Session {
    pub engine: Engine<Arc<dyn Provider>>,
    lease: HeldLease,
}

impl Session {
    /// Takes the lease and settles what an interrupted run left.
    pub async fn open(site: Site, command: &str) -> Result<Self, Failure> {
        let lease = HeldLease::acquire(site.store.clone(), holder(command), Timestamp::now(), is_dead).await?;
        let mut lease = lease;
        let taken_from = lease.taken_from().map(ToString::to_string);
        // Settling may take as long as the cloud may not show what was made.
        let opened = tokio::select! {
            opened = open_fenced(site, taken_from) => opened.map_err(Failure::from),
            lost = beat(&mut lease) => Err(lost.into()),
        };
        match opened {
            Ok(engine) => Ok(Self { engine, lease }),
            Err(failure) => {
                lease.release().await?;
                Err(failure)
            }
        }
    }

    /// Carries a plan out with a beating heart. The first Ctrl-C lets what is under way end, the second leaves it to the
    /// next `up` or `down`.
    pub async fn apply(
        &mut self,
        plan: &Plan,
        graph: &Graph,
        watch: &mut (dyn FnMut(Step<'_>) + Send),
    ) -> Result<(), Failure> {
        let stop = self.engine.stop_token();
        tokio::select! {
            applied = self.engine.apply(plan, graph, watch) => Ok(applied?),
            lost = beat(&mut self.lease) => Err(lost.into()),
            () = stopped(&stop) => Err(interrupted()),
        }
    }

    /// Removes what was replaced, now that the new ones serve.
    pub async fn retire(&mut self, watch: &mut (dyn FnMut(Step<'_>) + Send)) -> Result<(), Failure> {
        let stop = self.engine.stop_token();
        tokio::select! {
            retired = self.engine.retire(watch) => Ok(retired?),
            lost = beat(&mut self.lease) => Err(lost.into()),
            () = stopped(&stop) => Err(interrupted()),
        }
    }

    /// Looks for what carries the deployment's tags and is in no record, and removes it. Gives how many there were.
    pub async fn remove_unknown(&mut self) -> Result<usize, Failure> {
        let stop = self.engine.stop_token();
        tokio::select! {
            removed = self.engine.remove_unknown() => Ok(removed?),
            lost = beat(&mut self.lease) => Err(lost.into()),
            () = stopped(&stop) => Err(interrupted()),
        }
    }

    /// Lets time pass without losing the lease.
    pub async fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            lost = beat(&mut self.lease) => Err(lost.into()),
            _ = tokio::signal::ctrl_c() => Err(interrupted()),
        }
    }

    /// Gives the lease back. What was done under it is told first, whatever becomes of the lease.
    pub async fn release_after<T>(self, done: Result<T, Failure>) -> Result<T, Failure> {
        let released = self.lease.release().await;
        let done = done?;
        released?;
        Ok(done)
    }
}

pub fn interrupted() -> Failure {
    Failure::new(Kind::Interrupted, "interrupted; the next `dsctl up` goes on from here, `dsctl down` takes it back")
        .next("dsctl status")
}

/// Whoever held the lease before and never gave it back may wake up: it must find that it is too late.
async fn open_fenced(site: Site, taken_from: Option<String>) -> Result<Engine<Arc<dyn Provider>>, EngineError> {
    let mut engine = Engine::open_with(site.store, &site.name, site.provider, site.settings).await?;
    if let Some(before) = taken_from {
        engine.fence(&before).await?;
    }
    Ok(engine)
}

/// Ends with the second Ctrl-C; the first one asks for a stop.
async fn stopped(stop: &CancellationToken) {
    let heard = tokio::signal::ctrl_c().await;
    stop.cancel();
    match heard {
        Ok(()) => {
            say("Stopping: what is under way is finished first; Ctrl-C again leaves it to the next `dsctl up`.");
            // A failure to listen ends it too: better than to be deaf.
            let _ = tokio::signal::ctrl_c().await;
        }
        Err(error) => say(format!("Ctrl-C can't be listened for: {error}")),
    }
}

/// Ends only when the lease is lost.
async fn beat(lease: &mut HeldLease) -> LeaseError {
    let every = Duration::from_secs(LIFETIME.as_secs() / 3);
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = lease.heartbeat(Timestamp::now()).await {
            return error;
        }
    }
}

/// A look without a lease: settles nothing, writes nothing.
pub async fn look(site: Site) -> Result<Engine<Arc<dyn Provider>>, Failure> {
    Ok(Engine::look(site.store, &site.name, site.provider, site.settings).await?)
}
