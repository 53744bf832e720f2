//! The agent's /metrics: how the host is, on a loopback address, for a Prometheus on the same host.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use spec::host::{HostStatus, PhaseLine, PhaseState};
use spec::metric::host;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::exposition::{Sample, render};
use crate::gpu::{self, Exporter, Gpus, exporter};

/// The text format's own type: Prometheus 3 refuses a page without one.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a page is made from.
#[derive(Debug, Clone)]
pub struct MetricSource {
    /// The last status that the agent wrote; none before the first.
    pub status: watch::Receiver<Option<HostStatus>>,
    pub gpus: Arc<dyn Gpus>,
    /// The label `Hostname` of the GPUs.
    pub host_name: String,
    /// [`gpu::DCGM_EXPORTER`], but for tests.
    pub dcgm_exporter: String,
    pub client: reqwest::Client,
}

/// Serves `GET /metrics` until `shutdown`. Whoever reaches it learns of the host: loopback only.
pub async fn serve_metrics(listener: TcpListener, source: MetricSource, shutdown: CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is not a loopback address")));
    }
    let router = Router::new().route("/metrics", get(metrics)).with_state(source);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn metrics(State(source): State<MetricSource>) -> Response {
    match source.page().await {
        Ok(page) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl MetricSource {
    async fn page(&self) -> io::Result<String> {
        let status = self.status.borrow().clone();
        let mut samples = of_status(status.as_ref(), Timestamp::now());
        let gpus = Arc::clone(&self.gpus);
        let readings = tokio::task::spawn_blocking(move || gpus.read()).await?;
        samples.push(gpu::count(&readings));
        if exporter(&self.client, &self.dcgm_exporter, &readings).await == Exporter::Agent {
            samples.extend(gpu::samples(&readings, &self.host_name));
        }
        render(&samples).map_err(io::Error::other)
    }
}

fn of_status(status: Option<&HostStatus>, now: Timestamp) -> Vec<Sample> {
    let is_ready = status.is_some_and(|status| status.ready_since.is_some());
    let mut samples = vec![Sample::new(&host::READY, Vec::new(), f64::from(u8::from(is_ready)))];
    let Some(status) = status else { return samples };
    samples.extend(status.phases.iter().filter_map(|line| {
        let seconds = seconds_of(line, now)?;
        Some(Sample::new(&host::PHASE_SECONDS, vec![line.phase.as_str().to_owned()], seconds))
    }));
    samples.extend(status.phases.iter().map(|line| {
        let failed = f64::from(u8::from(line.state == PhaseState::Failed));
        Sample::new(&host::PHASE_FAILED, vec![line.phase.as_str().to_owned()], failed)
    }));
    samples.extend(
        status
            .units
            .iter()
            .map(|unit| Sample::new(&host::UNIT_RESTARTS, vec![unit.name.to_string()], unit.restarts as f64)),
    );
    samples
}

/// A phase that runs has taken its time so far.
fn seconds_of(line: &PhaseLine, now: Timestamp) -> Option<f64> {
    let took = line.ended_at.unwrap_or(now).duration_since(line.started_at?);
    Some(took.as_secs_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gpu::{DCGM_EXPORTER, RecordedGpus};

    fn status() -> HostStatus {
        let phase = |phase: &str, started: Option<&str>, ended: Option<&str>| {
            json!({"phase": phase, "state": "done", "detail": "", "progress": null, "failure": null,
                   "started_at": started, "ended_at": ended})
        };
        let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:02.5Z");
        serde_json::from_value(json!({
            "deployment": "default", "host": "main", "generation": 1, "written_at": end,
            "agent": {"pid": 1, "version": "0", "started_at": start},
            "phases": [phase("files", Some(start), Some(end)), phase("weights", Some(end), None), phase("gateway", None, None)],
            "weights": [], "ready_since": end, "outcomes": [],
            "units": [{"name": "dsserve", "state": "ready", "process": null, "started_at": null, "restarts": 3,
                       "last_exit": null, "next_start_at": null}],
        }))
        .unwrap()
    }

    fn source(status: Option<HostStatus>, dcgm_exporter: &str) -> MetricSource {
        MetricSource {
            status: watch::channel(status).1,
            gpus: Arc::new(RecordedGpus::healthy(2)),
            host_name: "main".to_owned(),
            dcgm_exporter: dcgm_exporter.to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// Serves the source and reads its page.
    async fn scraped(source: MetricSource) -> (String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let (client, stop) = (source.client.clone(), CancellationToken::new());
        let serving = tokio::spawn(serve_metrics(listener, source, stop.clone()));
        let page = client.get(&url).send().await.unwrap().error_for_status().unwrap();
        assert_eq!(page.headers()["content-type"], TEXT_FORMAT);
        let page = page.text().await.unwrap();
        stop.cancel();
        drop(client);
        serving.await.unwrap().unwrap();
        (page, url)
    }

    #[tokio::test]
    async fn the_page_says_how_the_host_is_and_what_its_gpus_do() {
        let (page, _) = scraped(source(Some(status()), "http://127.0.0.1:1/metrics")).await;
        for line in
            ["dsctl_host_ready 1\n", "dsctl_agent_unit_restarts_total{unit=\"dsserve\"} 3\n", "dsctl_host_gpus 2\n"]
        {
            assert!(page.contains(line), "{line} in {page}");
        }
        assert!(page.contains("dsctl_host_phase_seconds{phase=\"files\"} 2.5\n"), "{page}");
        assert!(!page.contains("dsctl_host_phase_seconds{phase=\"gateway\""), "{page}");
        assert!(page.contains("dsctl_host_phase_failed{phase=\"gateway\"} 0\n"), "{page}");
        assert_eq!(page.matches("\nDCGM_FI_DEV_GPU_UTIL{").count(), 2, "{page}");
    }

    #[tokio::test]
    async fn where_dcgm_exporter_answers_the_gpus_are_its_to_show_and_are_counted_all_the_same() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", other.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(serve_metrics(other, source(None, "http://127.0.0.1:1/metrics"), stop.clone()));
        let (page, _) = scraped(source(None, &url)).await;
        assert!(!page.contains("DCGM_") && page.contains("dsctl_host_gpus 2\n"), "{page}");
        assert!(page.contains("dsctl_host_ready 0\n"), "{page}");
        stop.cancel();
    }

    #[tokio::test]
    async fn others_than_this_host_are_not_served() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let error = serve_metrics(listener, source(None, DCGM_EXPORTER), CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().contains("not a loopback address"), "{error}");
    }
}
