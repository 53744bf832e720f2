//! A deployment under our lease: open, plan, apply, release.

use std::sync::Arc;
use std::time::Duration;

use engine::apply::{Engine, Step};
use engine::graph::Graph;
use engine::lease::{HeldLease, LIFETIME, LeaseError};
use engine::plan::Plan;
use engine::store::{DirectoryStore, Store};
use jiff::Timestamp;
use providers::local::LocalProvider;
use spec::id::DeploymentName;
use spec::layout::HomeLayout;

use crate::context::{holder, is_dead};
use crate::exit::{Failure, Kind};

/// An engine that nobody else writes beside.
#[derive(Debug)]
pub struct Session {
    pub engine: Engine<LocalProvider>,
    lease: HeldLease,
}

impl Session {
    /// Takes the lease and settles what an interrupted run left.
    pub async fn open(
        home: &HomeLayout,
        name: &DeploymentName,
        provider: LocalProvider,
        command: &str,
    ) -> Result<Self, Failure> {
        let store: Arc<dyn Store> = Arc::new(DirectoryStore::new(home.deployment(name).state()));
        let lease = HeldLease::acquire(store.clone(), holder(command), Timestamp::now(), is_dead).await?;
        match Engine::open(store, name, provider).await {
            Ok(engine) => Ok(Self { engine, lease }),
            Err(error) => {
                lease.release().await?;
                Err(error.into())
            }
        }
    }

    /// Carries a plan out with a beating heart; Ctrl-C leaves the rest to the next `up` or `down`.
    pub async fn apply(
        &mut self,
        plan: &Plan,
        graph: &Graph,
        watch: &mut (dyn FnMut(Step<'_>) + Send),
    ) -> Result<(), Failure> {
        tokio::select! {
            applied = self.engine.apply(plan, graph, watch) => Ok(applied?),
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

/// A look without a lease, for a deployment that does not exist yet: there is nothing to settle.
pub async fn plan_fresh(
    home: &HomeLayout,
    name: &DeploymentName,
    provider: LocalProvider,
    graph: &Graph,
) -> Result<Plan, Failure> {
    let store: Arc<dyn Store> = Arc::new(DirectoryStore::new(home.deployment(name).state()));
    Ok(Engine::open(store, name, provider).await?.plan(graph).await?)
}
