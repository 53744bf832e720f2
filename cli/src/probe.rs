//! A deployment on this machine as a runbook sees it, and the remedies as what dsctl does anyway.

use std::collections::BTreeMap;
use std::time::Duration;

use agent::weights::{Verdict, WeightsCache};
use agent::{AgentLife, Observed, ObservedState};
use async_trait::async_trait;
use providers::local::host_name;
use runbooks::runbook::Unit;
use runbooks::{MetricSource, PhaseSeen, Probe, ProbeError, Remedy, Sample, StateSeen, StatusSeen, WeightsSeen};
use spec::action::{Act, DaemonLimits, Standing};
use spec::id::{DeploymentName, UnitName, Variant};
use spec::rollout::RolloutReport;
use spec::route::GatewayStatus;

use crate::commands::status;
use crate::context::Context;
use crate::exit::Failure;
use crate::gateway::{Gateway, gateway_files, host_spec};
use crate::host_desk::HostDesk;
use crate::scrape;
use crate::site::Kept;

/// Of each unit, that a runbook looks into.
const LOG_LINES: usize = 50;
/// In the first line of each start of dsserve.
const START: &str = "daemon::run: starting";
/// Tokens; below this a prompt hardly fits.
const LEAST_CONTEXT: u32 = 256;

#[derive(Debug)]
pub struct DeploymentProbe {
    context: Context,
    pub name: DeploymentName,
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

    /// Asks the agent for an act through the host spec, under the lease.
    async fn ask_agent(&self, act: Act) -> Result<String, ProbeError> {
        let kept = Kept::named(&self.context, &self.name).map_err(failed("deployment"))?;
        let desk = HostDesk::of(&self.context, kept).await.map_err(failed("host"))?;
        let action = desk.ask(act).await.map_err(failed("host"))?;
        Ok(format!("asked the agent (action {})", action.id))
    }

    /// Half of the context length that is in force.
    async fn smaller_context(&self, unit: UnitName) -> Result<String, ProbeError> {
        let spec = host_spec(&self.context.home.deployment(&self.name)).map_err(failed("host spec"))?;
        let seen = agent::observe(&self.context.home, &self.name, &host_name()).await;
        let outcomes = seen.map_err(|error| ProbeError::new(error.to_string()))?.status.map(|status| status.outcomes);
        let in_force = Standing::of(&spec.actions, &outcomes.unwrap_or_default()).apply(&spec);
        let now = spec::action::context_of(&in_force, &unit)
            .ok_or_else(|| ProbeError::new(format!("{unit} has no context length")))?;
        let context = now / 2;
        if context < LEAST_CONTEXT {
            let message = format!("{unit} has a context of {now} tokens, and less than {LEAST_CONTEXT} serves nobody");
            return Err(ProbeError::new(message));
        }
        let asked =
            self.ask_agent(Act::Limit(DaemonLimits { unit, context: Some(context), max_sequences: None })).await?;
        Ok(format!("context {now} -> {context} tokens: {asked}"))
    }

    fn logs(&self) -> BTreeMap<Unit, Vec<String>> {
        let host = self.context.home.deployment(&self.name).host();
        let of = |unit: Unit| {
            let lines = agent::logs::tail(&host, unit.as_str(), LOG_LINES).ok()?;
            // What was said before the last two starts is of the past; the last may not have come to say anything yet.
            let mut starts = lines.iter().enumerate().rev().filter(|(_, line)| line.contains(START)).map(|(at, _)| at);
            let from = starts.nth(1).unwrap_or_default();
            Some((unit, lines[from..].to_vec()))
        };
        [Unit::Dsserve, Unit::DsserveBaseline, Unit::Dsgate].into_iter().filter_map(of).collect()
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
                units.insert(*unit, told_or_seen(&report.host, &seen.name, unit_state(seen.state)));
            }
        }
        let phases = report
            .host
            .status
            .iter()
            .flat_map(|status| &status.phases)
            .map(|line| (line.phase, PhaseSeen { state: line.state, detail: line.detail.clone() }));
        Ok(StatusSeen { units, phases: phases.collect(), logs: self.logs() })
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
            Remedy::Restart(unit) => self.ask_agent(Act::Restart(unit_name(*unit)?)).await,
            Remedy::Drain(unit) => self.ask_agent(Act::Drain(unit_name(*unit)?)).await,
            Remedy::SmallerContext(unit) => self.smaller_context(unit_name(*unit)?).await,
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

fn unit_name(unit: Unit) -> Result<UnitName, ProbeError> {
    unit.as_str().parse().map_err(|error| ProbeError::new(format!("{error}")))
}

/// Of a unit without a process a living agent knows why: it waits to be started again, or is not to run.
fn told_or_seen(host: &Observed, name: &UnitName, seen: StateSeen) -> StateSeen {
    if seen != StateSeen::Dead || host.agent != AgentLife::Alive {
        return seen;
    }
    let told = host.status.iter().flat_map(|status| &status.units).find(|unit| unit.name == *name);
    match told.map(|unit| StateSeen::from(unit.state)) {
        Some(told @ (StateSeen::Waiting | StateSeen::Backoff | StateSeen::Stopped | StateSeen::Failed)) => told,
        _ => seen,
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
