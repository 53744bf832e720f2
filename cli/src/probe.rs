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
use spec::host::{Act, Action, HostSpec};
use spec::id::{DeploymentName, Variant};
use spec::layout::DeploymentLayout;
use spec::rollout::RolloutReport;
use spec::route::GatewayStatus;

use crate::commands::status;
use crate::context::{Context, holder, is_dead};
use crate::exit::Failure;
use crate::gateway::{Gateway, gateway_files, host_spec};

/// No /metrics page takes longer.
const SCRAPE_LIMIT: Duration = Duration::from_secs(5);

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
            // Where nobody needs a certificate for them.
            MetricSource::Gateway => Ok(format!("http://{}/metrics", files.config.admin_listen)),
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
        let text = async {
            let client = reqwest::Client::builder().no_proxy().timeout(SCRAPE_LIMIT).build()?;
            client.get(&url).send().await?.error_for_status()?.text().await
        };
        let text =
            text.await.map_err(|error| ProbeError::new(format!("{url}: {}", crate::gateway::root_cause(&error))))?;
        samples(&text).map_err(|error| ProbeError::new(format!("{url}: {error}")))
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
    }
}

/// A letter to the parser, which does not take the colon of names like `vllm:num_requests_waiting` for part of a name;
/// it can't be in a metric's name, so no two names become one.
const COLON: &str = "\u{2d0}";

fn samples(text: &str) -> std::io::Result<Vec<Sample>> {
    use prometheus_parse::Value;
    let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(without_colons(line))))?;
    let mut samples = Vec::new();
    for mut sample in scrape.samples {
        sample.metric = sample.metric.replace(COLON, ":");
        let labels: BTreeMap<String, String> =
            sample.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => {
                samples.push(Sample { name: sample.metric, labels, value });
            }
            Value::Histogram(buckets) => samples.extend(buckets.iter().map(|bucket| {
                let mut labels = labels.clone();
                labels.insert("le".to_owned(), bucket.less_than.to_string());
                Sample { name: format!("{}_bucket", sample.metric), labels, value: bucket.count }
            })),
            Value::Summary(_) => {}
        }
    }
    Ok(samples)
}

/// Only the name is touched: up to the labels or the value, or the third word of a comment.
fn without_colons(line: &str) -> String {
    let end = match line.strip_prefix("# ") {
        Some(comment) => 2 + comment.splitn(3, ' ').take(2).map(str::len).sum::<usize>() + 1,
        None => line.find(['{', ' ']).unwrap_or(line.len()),
    };
    let (name, rest) = line.split_at_checked(end).unwrap_or((line, ""));
    format!("{}{rest}", name.replace(':', COLON))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_gauges_and_buckets_are_read() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 5\nh_count 4\n";
        let read = samples(text).unwrap();
        let find = |name: &str, le: Option<&str>| {
            read.iter().find(|s| s.name == name && s.labels.get("le").map(String::as_str) == le).map(|s| s.value)
        };
        assert_eq!(find("a_total", None), Some(2.0));
        let text = "# HELP vllm:x Requests: all.\n# TYPE vllm:x gauge\nvllm:x{model_name=\"a:b\"} 7\n";
        let read = samples(text).unwrap();
        assert_eq!(
            (read[0].name.as_str(), read[0].labels["model_name"].as_str(), read[0].value),
            ("vllm:x", "a:b", 7.0)
        );
        assert_eq!(find("h_bucket", Some("1")), Some(3.0));
    }
}
