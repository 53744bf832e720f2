//! Is there room? Asked before the first byte.

use std::path::Path;

use super::WeightsError;

/// Left over for logs, state and everybody else.
const RESERVE_BYTES: u64 = 64 << 20;

/// Fails if `needed` bytes, and a little for everybody else, do not fit beside what the folder's file system holds.
pub(super) fn check_free(folder: &Path, needed: u64) -> Result<(), WeightsError> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| WeightsError::io("asking the free space of", folder, error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if needed.saturating_add(RESERVE_BYTES) > free {
        return Err(WeightsError::Space { folder: folder.to_owned(), needed, free });
    }
    Ok(())
}
