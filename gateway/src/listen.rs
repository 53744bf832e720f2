//! Connections: accepted until told to stop, then given time to finish what they are at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::public::Peer;
use crate::tls::{HandshakeError, Tls};

/// A client that sends half a request line must not hold its connection for ever.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// After a failure to accept (usually: no file descriptor is left), some connection has to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A client over HTTP/2 that is gone without a word must not hold its connection for ever.
const PING_EVERY: Duration = Duration::from_secs(30);

/// How bytes travel.
#[derive(Debug, Clone)]
pub enum Transport {
    Plain,
    Encrypted(Arc<Tls>),
}

/// When a listener, and its connections, end.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// No new connections; those that there are end once their requests are answered.
    pub stop: CancellationToken,
    /// Connections end wherever they are.
    pub cut: CancellationToken,
}

/// Serves a router until it ends; `tracker` has its connections.
pub async fn serve(listener: TcpListener, transport: Transport, router: Router, ends: Ends, tracker: TaskTracker) {
    let Ends { stop, cut } = ends;
    let service = TowerToHyperService::new(router);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let service = WithPeer { service: service.clone(), peer: Peer(peer) };
                let connection = serve_connection(stream, transport.clone(), service, stop.clone());
                tracker.spawn(cut.clone().run_until_cancelled_owned(connection));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, transport: Transport, service: WithPeer, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let peer: SocketAddr = service.peer.0;
    let ended = match transport {
        Transport::Plain => serve_http1(stream, service, stop).await,
        Transport::Encrypted(tls) => {
            let Some(agreed) = stop.run_until_cancelled(tls.accept(stream)).await else { return };
            match agreed {
                Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    serve_http2(stream, service, stop).await
                }
                Ok(stream) => serve_http1(stream, service, stop).await,
                Err(error) => return tell_of(peer, &error),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// Whoever set a client up wrongly should find it here; the rest is the noise of a port that others can reach.
fn tell_of(peer: SocketAddr, error: &HandshakeError) {
    match error {
        HandshakeError::NoTls => tracing::warn!(%peer, %error, "a connection was refused"),
        // Somebody looked whether the port is open.
        HandshakeError::Failed(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            tracing::debug!(%peer, %error, "a connection ended before it began");
        }
        HandshakeError::Slow | HandshakeError::Failed(_) => tracing::info!(%peer, %error, "a connection was refused"),
    }
}

async fn serve_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: WithPeer,
    stop: CancellationToken,
) -> hyper::Result<()> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

async fn serve_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: WithPeer,
    stop: CancellationToken,
) -> hyper::Result<()> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Tells each request who is at the other end.
#[derive(Debug, Clone)]
struct WithPeer {
    service: TowerToHyperService<Router>,
    peer: Peer,
}

impl Service<Request<Incoming>> for WithPeer {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.service.call(request)
    }
}
