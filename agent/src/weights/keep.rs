//! Housekeeping of the cache: list, verify, remove, collect.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use spec::host::Progress;
use spec::id::{Sha256, WeightsName};

use super::admit::digest_of;
use super::cache::{files_in, remove_file, size_of};
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
    /// The bytes are not those of the digest: removed, so that the next pull fetches them again.
    Corrupt {
        found: Sha256,
    },
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
        let verdict = verify_one(&sha256, &path, progress)?;
        verified.push(Verified { sha256, names, path, verdict });
    }
    Ok(verified)
}

fn verify_one(sha256: &Sha256, path: &Path, progress: &dyn Fn(&Sha256, Progress)) -> Result<Verdict, WeightsError> {
    if size_of(path)?.is_none() {
        return Ok(Verdict::Missing);
    }
    let found = digest_of(path, &mut |so_far| {
        progress(sha256, so_far);
        Ok(())
    })?;
    if found == *sha256 {
        return Ok(Verdict::Whole);
    }
    remove_file(path)?;
    Ok(Verdict::Corrupt { found })
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

/// Removes every blob that is not kept, the names that meant them, and partial downloads that nobody works on.
pub fn gc(cache: &WeightsCache, keep: &BTreeSet<Sha256>) -> Result<Collected, WeightsError> {
    let mut collected = Collected::default();
    for record in cache.records()? {
        let is_gone = cache.wholeness(&record.sha256, record.size)? == Wholeness::Missing;
        if is_gone || !keep.contains(&record.sha256) {
            cache.remove_record(&record.name)?;
            collected.names.push(record.name);
        }
    }
    for sha256 in blobs_of(cache)? {
        if !keep.contains(&sha256) {
            collected.bytes += remove_file(&cache.blob(&sha256))?;
            collected.blobs.push(sha256);
        }
    }
    for partial in files_in(&cache.partials())? {
        collected.bytes += collect_partial(cache, &partial)?;
    }
    Ok(collected)
}

fn collect_partial(cache: &WeightsCache, partial: &Path) -> Result<u64, WeightsError> {
    let Some(key) = partial.file_name().and_then(|name| name.to_str()) else {
        return Ok(0);
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
