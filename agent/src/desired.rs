//! The host spec, read anew whenever its file changes. A tick of its own, so that a bucket can take the folder's place.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

use spec::host::HostSpec;

/// Changes with every atomic replacement of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

#[derive(Debug)]
pub(crate) struct DesiredFile {
    path: PathBuf,
    seen: Option<Stamp>,
}

impl DesiredFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// What the file says now, if it changed since the last look. A file that is not there (yet, or any more) is no
    /// change.
    pub fn poll(&mut self) -> Option<Result<HostSpec, String>> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Err(format!("{}: {error}", self.path.display()))),
        };
        let stamp = Stamp { inode: metadata.ino(), size: metadata.len(), modified: metadata.modified().ok() };
        if self.seen.as_ref() == Some(&stamp) {
            return None;
        }
        let read =
            fs::read(&self.path).map_err(|error| format!("{}: {error}", self.path.display())).and_then(|bytes| {
                serde_json::from_slice(&bytes)
                    .map_err(|error| format!("{}: not a host spec: {error}", self.path.display()))
            });
        self.seen = Some(stamp);
        Some(read)
    }
}
