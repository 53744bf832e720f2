//! The cache's door: size, magic and digest are looked at here, for every source alike. Blocking.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use engine::store::create_private_folder;
use jiff::Timestamp;
use sha2::Digest;
use spec::host::{Progress, WeightsStatus};
use spec::id::{Sha256, WeightsName};
use spec::weights::WeightsSource;

use super::cache::{Record, query_digest, size_of};
use super::meter::RateWindow;
use super::partial::Partial;
use super::{SourceError, WeightsCache, WeightsError};

const CHUNK_BYTES: usize = 4 << 20;
const MAGIC: &[u8; 4] = b"GGUF";

/// What the bytes must be; the source and the spec may each know a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub size: Option<u64>,
    pub sha256: Option<Sha256>,
}

/// A fetched file that asks to be let in.
pub(super) struct Arrival {
    pub name: WeightsName,
    pub source: WeightsSource,
    pub partial: Partial,
    pub expected: Expected,
}

/// Called between chunks with what is read so far; an error ends the reading.
pub(super) type Watch<'a> = &'a mut dyn FnMut(Progress) -> Result<(), WeightsError>;

/// Moves the file into the cache and records it, or removes it: bad bytes stay nowhere.
pub(super) fn admit(cache: &WeightsCache, arrival: &Arrival, watch: Watch<'_>) -> Result<WeightsStatus, SourceError> {
    let (size, sha256) = match check(arrival, watch) {
        Ok(checked) => checked,
        Err(error @ SourceError::Local(_)) => return Err(error),
        Err(error) => {
            arrival.partial.discard()?;
            return Err(error);
        }
    };
    move_in(cache, &arrival.partial, &sha256)?;
    let record = Record {
        name: arrival.name.clone(),
        sha256,
        size,
        source: arrival.source.without_query(),
        query_sha256: query_digest(&arrival.source),
        fetched_at: Timestamp::now(),
    };
    cache.write_record(&record)?;
    arrival.partial.discard()?;
    Ok(cache.status_of(&record))
}

fn check(arrival: &Arrival, watch: Watch<'_>) -> Result<(u64, Sha256), SourceError> {
    let path = arrival.partial.data();
    let size = size_of(&path)?.unwrap_or(0);
    if let Some(expected) = arrival.expected.size.filter(|expected| *expected != size) {
        return Err(SourceError::Size { expected, found: size });
    }
    check_magic(&path)?;
    let found = digest_of(&path, watch)?;
    match &arrival.expected.sha256 {
        Some(expected) if *expected != found => Err(SourceError::Digest { expected: expected.clone(), found }),
        _ => Ok((size, found)),
    }
}

fn check_magic(path: &Path) -> Result<(), SourceError> {
    let mut begin = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut begin))
        .map_err(|source| WeightsError::io("reading", path, source))?;
    if begin == MAGIC {
        return Ok(());
    }
    Err(SourceError::NotGguf { found: String::from_utf8_lossy(&begin).into_owned() })
}

fn move_in(cache: &WeightsCache, partial: &Partial, sha256: &Sha256) -> Result<(), WeightsError> {
    let (from, to) = (partial.data(), cache.blob(sha256));
    let moved = || -> io::Result<()> {
        create_private_folder(&cache.blobs())?;
        fs::set_permissions(&from, Permissions::from_mode(0o444))?;
        File::open(&from)?.sync_all()?;
        fs::rename(&from, &to)?;
        File::open(cache.blobs())?.sync_all()
    };
    moved().map_err(|source| WeightsError::io("moving into the cache", &to, source))
}

/// The SHA-256 of a file's bytes.
pub(crate) fn digest_of(path: &Path, watch: Watch<'_>) -> Result<Sha256, WeightsError> {
    let failed = |source| WeightsError::io("reading", path, source);
    let mut file = File::open(path).map_err(failed)?;
    let total = file.metadata().map_err(failed)?.len();
    let mut rate = RateWindow::new(0, total, std::time::Instant::now());
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        hasher.update(&buffer[..count]);
        let now = std::time::Instant::now();
        rate.add(count as u64, now);
        watch(rate.progress(now))?;
    }
    hex::encode(hasher.finalize())
        .parse()
        .map_err(|error| WeightsError::Io { what: "hashing".to_owned(), source: io::Error::other(error) })
}
