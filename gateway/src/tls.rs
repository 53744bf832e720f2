//! TLS for clients: version 1.3 and nothing older, with a certificate that is exchanged while connections go on.
//!
//! The files are looked at every second: whoever renews a certificate writes it, and need not know of this process. A
//! new connection is shown the new one; those that are open keep what they agreed on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// A client that agrees on nothing must not hold its connection for ever.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// RFC 8446, section 5.1: the type of a record that carries a handshake, the first byte of every connection.
const HANDSHAKE_RECORD: u8 = 22;

/// For a client that speaks plain HTTP; its key is out already, so that saying why costs nothing.
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\
    content-length: 47\r\n\r\nthis port speaks TLS 1.3 only: ask by https://\n";

/// Where the certificate lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM; the gateway's own first, then those that lead to an authority.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("can't read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: no {what} in PEM", path.display())]
    Pem { path: PathBuf, what: &'static str, source: pem::Error },
    #[error("{}: holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("the certificate {} and the key {} can't be used", files.certificate.display(), files.key.display())]
    Pair { files: CertificateFiles, source: rustls::Error },
    #[error("TLS can't be set up")]
    Setup(#[from] rustls::Error),
}

/// Why a connection did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("it did not agree on TLS within {HANDSHAKE_TIMEOUT:?}")]
    Slow,
    #[error("it speaks plain HTTP or something else, and this port TLS only: use https://")]
    NoTls,
    #[error(transparent)]
    Failed(#[from] std::io::Error),
}

/// Encrypts what clients and gateway say.
pub struct Tls {
    files: CertificateFiles,
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
    /// What the files held at the last look.
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// SHA-256 of both files.
    Content([u8; 32]),
    /// They could not be read.
    Nothing,
}

impl Tls {
    pub fn load(files: CertificateFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (seen, certified) = Pair::read(&files)?.certified(&files, &provider)?;
        let shown = Arc::new(Shown(ArcSwap::from_pointee(certified)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&shown) as _;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { files, shown, acceptor: TlsAcceptor::from(Arc::new(config)), seen: Mutex::new(seen) })
    }

    /// Agrees with a client, or says why not.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let agreed = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE_RECORD] {
                return Err(refuse_plain(stream).await);
            }
            Ok(self.acceptor.accept(stream).await?)
        };
        tokio::time::timeout(HANDSHAKE_TIMEOUT, agreed).await.map_err(|_| HandshakeError::Slow)?
    }

    /// Takes up each certificate that is written, until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            self.look();
        }
    }

    /// A bad certificate, or half of a new one, leaves the last good one in force; it is told of once.
    pub(crate) fn look(&self) {
        let pair = Pair::read(&self.files);
        let now = pair.as_ref().map_or(Seen::Nothing, Pair::seen);
        let before = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        if before == now {
            return;
        }
        let provider = aws_lc_rs::default_provider();
        match pair.and_then(|pair| pair.certified(&self.files, &provider)) {
            Ok((_, certified)) => {
                self.shown.0.store(Arc::new(certified));
                tracing::info!(certificate = %self.files.certificate.display(), "certificate read again, now in force");
            }
            Err(error) => {
                tracing::error!(error = crate::describe(&error), "certificate refused, the one before stays in force");
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The certificate in force.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// What both files hold.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    fn read(files: &CertificateFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn seen(&self) -> Seen {
        Seen::Content(Sha256::new().chain_update(&self.certificate).chain_update(&self.key).finalize().into())
    }

    /// Whether the key is the certificate's own is looked at here.
    fn certified(&self, files: &CertificateFiles, provider: &CryptoProvider) -> Result<(Seen, CertifiedKey), TlsError> {
        let pem = |path: &Path, what, source| TlsError::Pem { path: path.to_owned(), what, source };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|source| pem(&files.certificate, "certificate", source))?;
        if chain.is_empty() {
            return Err(TlsError::Empty { path: files.certificate.clone() });
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| pem(&files.key, "key", source))?;
        let certified = CertifiedKey::from_der(chain, key, provider)
            .map_err(|source| TlsError::Pair { files: files.clone(), source })?;
        Ok((self.seen(), certified))
    }
}

/// What was sent is read first: a socket that is closed over unread bytes is reset, and the answer with it.
async fn refuse_plain(mut stream: TcpStream) -> HandshakeError {
    let mut unread = [0; 4096];
    match stream.try_read(&mut unread) {
        Ok(_) | Err(_) => {}
    }
    match stream.write_all(PLAIN_HTTP_ANSWER).await {
        Ok(()) => HandshakeError::NoTls,
        Err(error) => error.into(),
    }
}
