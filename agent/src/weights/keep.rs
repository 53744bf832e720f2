//! Housekeeping of the cache: list, verify, remove, collect.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use spec::host::Progress;
use spec::id::{Sha256, WeightsName};
use spec::weights::WeightsSpec;

use super::admit::digest_of;
use super::cache::{Record, WHEEL_MARK, files_in, key_of, remove_file, size_of};
use super::{CachedWeights, WeightsCache, WeightsError, Wholeness};

/// What `verify` found of one blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub sha256: Sha256,
    pub names: Vec<WeightsName>,
    pub path: PathBuf,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    Whole,
    /// A name is recorded, its file is gone.
    Missing,
    /// The bytes are not those of the digest: `verify` removes them, so that the next pull fetches them again.
    Corrupt {
        found: Sha256,
    },
}

/// What `gc` keeps: what somebody wants, by digest where that is known, by name in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed {
    pub digests: BTreeSet<Sha256>,
    pub names: BTreeSet<WeightsName>,
}

impl Needed {
    /// Of these names' records too: a blob that a needed name means is needed.
    fn with_recorded(&self, records: &[Record]) -> Self {
        let recorded = records.iter().filter(|record| self.names.contains(&record.name));
        let digests = self.digests.iter().cloned().chain(recorded.map(|record| record.sha256.clone())).collect();
        Self { digests, names: self.names.clone() }
    }

    /// Of a partial download.
    fn has_key(&self, key: &str) -> bool {
        self.digests.iter().any(|digest| digest.as_str() == key)
            || self.names.iter().any(|name| key_of(name, None) == key)
    }
}

/// What `gc` removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    pub blobs: Vec<Sha256>,
    pub names: Vec<WeightsName>,
    pub bytes: u64,
}

/// Every name in the cache.
pub fn list(cache: &WeightsCache) -> Result<Vec<CachedWeights>, WeightsError> {
    cache
        .records()?
        .iter()
        .map(|record| {
            Ok(CachedWeights {
                status: cache.status_of(record),
                fetched_at: record.fetched_at,
                wholeness: cache.wholeness(&record.sha256, record.size)?,
            })
        })
        .collect()
}

/// Reads every blob and compares its digest. Blocking: seconds to minutes of disk and processor time.
pub fn verify(cache: &WeightsCache, progress: &dyn Fn(&Sha256, Progress)) -> Result<Vec<Verified>, WeightsError> {
    let records = cache.records()?;
    let mut digests: BTreeSet<Sha256> = records.iter().map(|record| record.sha256.clone()).collect();
    digests.extend(blobs_of(cache)?);
    let mut verified = Vec::new();
    for sha256 in digests {
        let path = cache.blob(&sha256);
        let names = records.iter().filter(|record| record.sha256 == sha256).map(|record| record.name.clone()).collect();
        let verdict = look_at(&sha256, &path, progress)?;
        if matches!(verdict, Verdict::Corrupt { .. }) {
            remove_file(&path)?;
        }
        verified.push(Verified { sha256, names, path, verdict });
    }
    Ok(verified)
}

/// Reads the blobs of these specs, compares their digests, and changes nothing. A spec without a digest whose name was never
/// fetched has no entry. Blocking: seconds to minutes of disk and processor time.
pub fn check(cache: &WeightsCache, specs: &[WeightsSpec]) -> Result<Vec<Verified>, WeightsError> {
    let mut names_of: BTreeMap<Sha256, Vec<WeightsName>> = BTreeMap::new();
    for spec in specs {
        let sha256 = match &spec.sha256 {
            Some(sha256) => Some(sha256.clone()),
            None => cache.record(&spec.name)?.map(|record| record.sha256),
        };
        if let Some(sha256) = sha256 {
            names_of.entry(sha256).or_default().push(spec.name.clone());
        }
    }
    let look = |(sha256, names)| {
        let path = cache.blob(&sha256);
        let verdict = look_at(&sha256, &path, &|_, _| {})?;
        Ok(Verified { sha256, names, path, verdict })
    };
    names_of.into_iter().map(look).collect()
}

fn look_at(sha256: &Sha256, path: &Path, progress: &dyn Fn(&Sha256, Progress)) -> Result<Verdict, WeightsError> {
    if size_of(path)?.is_none() {
        return Ok(Verdict::Missing);
    }
    let found = digest_of(path, &mut |so_far| {
        progress(sha256, so_far);
        Ok(())
    })?;
    Ok(if found == *sha256 { Verdict::Whole } else { Verdict::Corrupt { found } })
}

fn blobs_of(cache: &WeightsCache) -> Result<Vec<Sha256>, WeightsError> {
    let digest_in = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
    Ok(files_in(&cache.blobs())?.iter().filter_map(digest_in).collect())
}

/// Forgets a name; its blob goes too when no other name means it. Returns the bytes freed.
pub fn remove(cache: &WeightsCache, name: &WeightsName) -> Result<u64, WeightsError> {
    let record = cache.record(name)?.ok_or_else(|| WeightsError::NotCached { name: name.clone() })?;
    cache.remove_record(name)?;
    if cache.records()?.iter().any(|other| other.sha256 == record.sha256) {
        return Ok(0);
    }
    remove_file(&cache.blob(&record.sha256))
}

/// Removes every blob that is not needed, the names that meant them, and partial downloads that are not needed and that
/// nobody works on.
pub fn gc(cache: &WeightsCache, needed: &Needed) -> Result<Collected, WeightsError> {
    let mut collected = Collected::default();
    let records = cache.records()?;
    let needed = needed.with_recorded(&records);
    for record in records {
        let is_gone = cache.wholeness(&record.sha256, record.size)? == Wholeness::Missing;
        if is_gone || !needed.digests.contains(&record.sha256) {
            cache.remove_record(&record.name)?;
            collected.names.push(record.name);
        }
    }
    for sha256 in blobs_of(cache)? {
        if !needed.digests.contains(&sha256) {
            collected.bytes += remove_file(&cache.blob(&sha256))?;
            collected.blobs.push(sha256);
        }
    }
    for partial in files_in(&cache.partials())? {
        collected.bytes += collect_partial(cache, &needed, &partial)?;
    }
    Ok(collected)
}

/// What pip left of a wheel helps nobody: only the one who works on it may have it.
fn collect_partial(cache: &WeightsCache, needed: &Needed, partial: &Path) -> Result<u64, WeightsError> {
    let Some(name) = partial.file_name().and_then(|name| name.to_str()) else {
        return Ok(0);
    };
    let key = match name.split_once(WHEEL_MARK) {
        Some((key, _)) => key,
        None if needed.has_key(name) => return Ok(0),
        None => name,
    };
    let Some(_lock) = cache.try_lock(key)? else {
        return Ok(0);
    };
    let bytes = allocated_bytes(partial)?;
    fs::remove_dir_all(partial).map_err(|source| WeightsError::io("removing", partial, source))?;
    Ok(bytes)
}

/// On disk, which for a sparse file is less than its length.
fn allocated_bytes(folder: &Path) -> Result<u64, WeightsError> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for path in files_in(folder)? {
        let metadata = fs::symlink_metadata(&path).map_err(|source| WeightsError::io("reading", &path, source))?;
        bytes += if metadata.is_dir() { allocated_bytes(&path)? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
