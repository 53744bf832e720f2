//! The agent's own /metrics, at the address that the host spec names.

use std::net::SocketAddr;
use std::time::Duration;

use spec::host::HostStatus;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::decide::Moment;
use crate::gpu::{self, DCGM_EXPORTER};
use crate::metrics::{MetricSource, serve_metrics};

const RETRY_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Page {
    status: watch::Sender<Option<HostStatus>>,
    /// Ends with the value, or when another address is wanted.
    serving: Option<(SocketAddr, DropGuard)>,
    retry_at: Moment,
}

impl Default for Page {
    fn default() -> Self {
        Self { status: watch::Sender::new(None), serving: None, retry_at: Moment::ZERO }
    }
}

impl Page {
    pub fn converge(&mut self, address: SocketAddr, (host, client): (&str, &reqwest::Client), now: Moment) {
        if self.serving.as_ref().is_some_and(|(serving, _)| *serving == address) || now < self.retry_at {
            return;
        }
        self.serving = None;
        let listener = std::net::TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .and_then(TcpListener::from_std);
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%address, %error, "the agent's metrics can't be shown");
                self.retry_at = now + RETRY_EVERY;
                return;
            }
        };
        let source = MetricSource {
            status: self.status.subscribe(),
            gpus: gpu::of_this_host(),
            host_name: host.to_owned(),
            dcgm_exporter: DCGM_EXPORTER.to_owned(),
            client: client.clone(),
        };
        let ended = CancellationToken::new();
        tokio::spawn(serve(listener, source, ended.clone()));
        self.serving = Some((address, ended.drop_guard()));
    }

    pub fn show(&self, status: &HostStatus) {
        self.status.send_replace(Some(status.clone()));
    }
}

async fn serve(listener: TcpListener, source: MetricSource, ended: CancellationToken) {
    if let Err(error) = serve_metrics(listener, source, ended).await {
        tracing::error!(%error, "the agent's metrics are no longer shown");
    }
}
