//! A deployment on this machine as a runbook sees it, and the remedies as what dsctl does anyway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent::weights::{Verdict, WeightsCache};
use agent::{AgentLife, ObservedState};
use async_trait::async_trait;
use engine::lease::HeldLease;
use engine::store::{DirectoryStore, Store};
use providers::local::host_name;
use runbooks::runbook::Unit;
use runbooks::{MetricSource, PhaseSeen, Probe, ProbeError, Remedy, Sample, StateSeen, StatusSeen, WeightsSeen};
use spec::action::{Act, Action};
use spec::host::HostSpec;
use spec::id::{DeploymentName, Variant};
use spec::layout::DeploymentLayout;
use spec::rollout::RolloutReport;
use spec::route::GatewayStatus;

use crate::commands::status;
use crate::context::{Context, holder, is_dead};
use crate::exit::Failure;
use crate::gateway::{Gateway, gateway_files, host_spec};
use crate::scrape;

#[derive(Debug)]
pub struct DeploymentProbe {
    context: Context,
    name: DeploymentName,
}

fn failed(what: &str) -> impl FnOnce(Failure) -> ProbeError + '_ {
    move |failure| ProbeError::new(format!("{what}: {}", failure.message))
}

impl DeploymentProbe {
    pub fn new(context: Context, name: DeploymentName) -> Self {
        Self { context, name }
    }

    fn gateway(&self) -> Result<Gateway, ProbeError> {
        Gateway::of(&self.context.home.deployment(&self.name)).map_err(failed("gateway"))
    }

    fn metrics_url(&self, source: MetricSource) -> Result<String, ProbeError> {
        let files = gateway_files(&self.context.home.deployment(&self.name)).map_err(failed("gateway"))?;
        match source {
            MetricSource::Gateway => Ok(files.metrics_url()),
            MetricSource::Daemon => files
                .config
                .variants
                .get(&Variant::Candidate)
                .and_then(|variant| variant.metrics_url.clone())
                .ok_or_else(|| ProbeError::new("the daemon has no metrics address")),
        }
    }

    /// Asks the agent for an act through the host spec.
    async fn ask_agent(&self, act: Act) -> Result<String, ProbeError> {
        let layout = self.context.home.deployment(&self.name);
        // Under the lease: an `up` or `down` beside it writes the same file.
        let store: Arc<dyn Store> = Arc::new(DirectoryStore::new(layout.state()));
        let lease = HeldLease::acquire(store, holder("dsctl runbook"), jiff::Timestamp::now(), is_dead);
        let lease = lease.await.map_err(|error| ProbeError::new(error.to_string()))?;
        let asked = Self::write_action(&layout, act);
        lease.release().await.map_err(|error| ProbeError::new(error.to_string()))?;
        asked
    }

    fn write_action(layout: &DeploymentLayout, act: Act) -> Result<String, ProbeError> {
        let mut spec: HostSpec = host_spec(layout).map_err(failed("host spec"))?;
        let id = format!("runbook-{}", jiff::Timestamp::now().as_millisecond());
        spec.actions.push(Action { id: id.clone(), act });
        spec.generation += 1;
        let bytes = serde_json::to_vec_pretty(&spec).map_err(|error| ProbeError::new(error.to_string()))?;
        let path = layout.bucket().desired(&host_name());
        engine::store::write_durably(&path, &bytes)
            .map_err(|error| ProbeError::new(format!("{}: {error}", path.display())))?;
        Ok(format!("asked the agent (action {id})"))
    }

    async fn up(&self) -> Result<String, ProbeError> {
        let provider = providers::local::LocalProvider::new(
            self.context.home.clone(),
            self.name.clone(),
            self.context.binaries().map_err(failed("binaries"))?,
        );
        provider.start_agent().await.map_err(|error| ProbeError::new(error.to_string()))?;
        Ok("started the agent from the deployment's own record".to_owned())
    }

    async fn refetch(&self) -> Result<String, ProbeError> {
        let layout = self.context.home.deployment(&self.name);
        let cache = WeightsCache::new(&self.context.home);
        let spec = host_spec(&layout).map_err(failed("host spec"))?;
        // What is damaged looks whole by its size: the check takes it out, so that it is fetched.
        let checked = cache.clone();
        let checked = tokio::task::spawn_blocking(move || agent::weights::verify(&checked, &|_, _| {})).await;
        checked
            .map_err(|error| ProbeError::new(error.to_string()))?
            .map_err(|error| ProbeError::new(error.to_string()))?;
        let mut fetched = Vec::new();
        for weights in &spec.weights {
            let cancel = tokio_util::sync::CancellationToken::new();
            let status = agent::weights::fetch(&cache, weights, |_| {}, &cancel).await;
            fetched.push(status.map_err(|error| ProbeError::new(error.to_string()))?.name.to_string());
        }
        Ok(format!("{} are in the cache", fetched.join(", ")))
    }
}

#[async_trait]
impl Probe for DeploymentProbe {
    async fn status(&self) -> Result<StatusSeen, ProbeError> {
        let report = status::look(&self.context, &self.name).await.map_err(failed("status"))?;
        let agent = match report.host.agent {
            AgentLife::Alive => StateSeen::Ready,
            AgentLife::Dead => StateSeen::Dead,
            AgentLife::NeverStarted => StateSeen::Waiting,
        };
        let mut units = BTreeMap::from([(Unit::Agent, agent)]);
        let known = [Unit::Dsserve, Unit::DsserveBaseline, Unit::Dsgate];
        for seen in &report.host.units {
            if let Some(unit) = known.iter().find(|unit| unit.as_str() == seen.name.as_str()) {
                units.insert(*unit, unit_state(seen.state));
            }
        }
        let phases = report
            .host
            .status
            .iter()
            .flat_map(|status| &status.phases)
            .map(|line| (line.phase, PhaseSeen { state: line.state, detail: line.detail.clone() }));
        Ok(StatusSeen { units, phases: phases.collect() })
    }

    async fn scrape(&self, source: MetricSource) -> Result<Vec<Sample>, ProbeError> {
        let url = self.metrics_url(source)?;
        let client = scrape::client().map_err(failed("client"))?;
        scrape::scrape(&client, &url).await.map_err(ProbeError::new)
    }

    async fn free_space(&self) -> Result<u64, ProbeError> {
        let root = self.context.home.root();
        let seen =
            rustix::fs::statvfs(root).map_err(|error| ProbeError::new(format!("{}: {error}", root.display())))?;
        Ok(seen.f_bavail * seen.f_frsize)
    }

    async fn rollout(&self) -> Result<Option<RolloutReport>, ProbeError> {
        let status: GatewayStatus = self.gateway()?.get("/admin/status").await.map_err(failed("gateway"))?;
        Ok(status.rollout)
    }

    async fn weights(&self) -> Result<WeightsSeen, ProbeError> {
        let cache = WeightsCache::new(&self.context.home);
        let spec = host_spec(&self.context.home.deployment(&self.name)).map_err(failed("host spec"))?;
        let wanted = spec.weights.clone();
        let verified = tokio::task::spawn_blocking(move || agent::weights::check(&cache, &wanted)).await;
        let verified = verified
            .map_err(|error| ProbeError::new(error.to_string()))?
            .map_err(|error| ProbeError::new(error.to_string()))?;
        for weights in &spec.weights {
            let Some(seen) = verified.iter().find(|seen| seen.names.contains(&weights.name)) else {
                return Ok(WeightsSeen::Missing(format!("{} is not in the cache", weights.name)));
            };
            match &seen.verdict {
                Verdict::Whole => {}
                Verdict::Missing => return Ok(WeightsSeen::Missing(format!("the file of {} is gone", weights.name))),
                Verdict::Corrupt { found } => {
                    return Ok(WeightsSeen::Damaged(format!(
                        "{} has sha256 {found}, not {}",
                        weights.name, seen.sha256
                    )));
                }
            }
        }
        Ok(WeightsSeen::Sound)
    }

    async fn act(&self, remedy: &Remedy) -> Result<String, ProbeError> {
        match remedy {
            Remedy::Restart(Unit::Agent) | Remedy::Up => self.up().await,
            Remedy::Restart(unit) => {
                let name = unit.as_str().parse().map_err(|error| ProbeError::new(format!("{error}")))?;
                self.ask_agent(Act::Restart(name)).await
            }
            Remedy::RolloutAbort => {
                let report: RolloutReport =
                    self.gateway()?.post("/admin/rollout/abort", None::<&()>).await.map_err(failed("abort"))?;
                Ok(format!("aborted rollout {}", report.id))
            }
            Remedy::RefetchWeights => self.refetch().await,
        }
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

fn unit_state(state: ObservedState) -> StateSeen {
    match state {
        ObservedState::Ready => StateSeen::Ready,
        ObservedState::NotReady => StateSeen::Starting,
        ObservedState::Dead => StateSeen::Dead,
        ObservedState::NeverStarted => StateSeen::Waiting,
        ObservedState::Drained => StateSeen::Stopped,
    }
}
