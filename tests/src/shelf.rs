//! A web server with one file, in ranges, and a brake: it stops in the middle for as long as a test wants it to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream;

use crate::http::runtime;

const PIECE: u64 = 256 << 10;
/// Ten tebibytes: more than any disk that tests run on has free.
const HUGE: u64 = 10 << 40;

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    size: u64,
    served: AtomicU64,
    brake_at: AtomicU64,
}

/// Lives until the process ends: its port is its own.
#[derive(Debug)]
pub struct Shelf {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Shelf {
    pub fn start(file: &Path) -> Self {
        let size = std::fs::metadata(file).expect("the file on the shelf").len();
        let (served, brake_at) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let shared = Arc::new(Shared { file: file.to_owned(), size, served, brake_at });
        let router = Router::new()
            .route("/model.gguf", get(file_piece))
            .route("/huge.gguf", get(async || first_byte_of(HUGE)))
            .with_state(Arc::clone(&shared));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener for the runtime");
        let address = listener.local_addr().expect("the shelf's address");
        runtime().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("the shelf serves");
        });
        Self { address, shared }
    }

    /// The whole file.
    pub fn url(&self) -> String {
        format!("http://{}/model.gguf", self.address)
    }

    /// A file that says it is larger than any disk.
    pub fn huge_url(&self) -> String {
        format!("http://{}/huge.gguf", self.address)
    }

    pub fn size(&self) -> u64 {
        self.shared.size
    }

    /// Bytes handed out so far.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::SeqCst)
    }

    /// No more than this in all, until it is set anew.
    pub fn brake_at(&self, bytes: u64) {
        self.shared.brake_at.store(bytes, Ordering::SeqCst);
    }
}

fn partial(from: u64, to: u64, size: u64, body: Body) -> Response {
    let range = format!("bytes {from}-{to}/{size}");
    let head = [
        (header::CONTENT_RANGE, range),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, "\"1\"".to_owned()),
    ];
    (StatusCode::PARTIAL_CONTENT, head, body).into_response()
}

fn first_byte_of(size: u64) -> Response {
    partial(0, 0, size, Body::from("G"))
}

async fn file_piece(State(shelf): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let range =
        headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(|text| text.strip_prefix("bytes="));
    let Some((from, to)) = range.and_then(|range| range.split_once('-')) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let from: u64 = from.parse().unwrap_or_default();
    let to = to.parse().unwrap_or(u64::MAX).min(shelf.size - 1);
    let size = shelf.size;
    let pieces = stream::unfold((shelf, from), move |(shelf, at)| async move {
        let piece = (to + 1).saturating_sub(at).min(PIECE);
        if piece == 0 {
            return None;
        }
        while shelf.served.load(Ordering::SeqCst) >= shelf.brake_at.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shelf.served.fetch_add(piece, Ordering::SeqCst);
        Some((read(&shelf.file, at, piece), (shelf, at + piece)))
    });
    partial(from, to, size, Body::from_stream(pieces))
}

fn read(file: &Path, at: u64, length: u64) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    std::os::unix::fs::FileExt::read_exact_at(&std::fs::File::open(file)?, &mut bytes, at)?;
    Ok(bytes.into())
}
