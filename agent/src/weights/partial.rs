//! A running or cut download: a sparse file and the list of its finished pieces.
//!
//! `pieces` holds a header line (what is being fetched) and one line for each finished piece. A piece is synced before it
//! is listed; a torn last line counts for nothing. Bytes that may belong to another file are never built upon.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use engine::store::create_private_folder;
use serde::{Deserialize, Serialize};
use spec::id::Sha256;

use super::WeightsError;
use super::cache::size_of;

#[derive(Debug, Clone)]
pub(super) struct Partial {
    folder: PathBuf,
}

/// What the bytes are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub source: String,
    pub size: u64,
    pub piece_bytes: u64,
    pub validator: Option<String>,
    pub sha256: Option<Sha256>,
}

impl Identity {
    /// The same content by digest, whoever gave it; else the same answer of the same source.
    fn continues(&self, earlier: &Self) -> bool {
        let is_same_digest = self.sha256.is_some() && self.sha256 == earlier.sha256;
        let is_same_answer =
            self.source == earlier.source && self.validator.is_some() && self.validator == earlier.validator;
        self.size == earlier.size && self.piece_bytes == earlier.piece_bytes && (is_same_digest || is_same_answer)
    }
}

/// The open files of a ranged download.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    pub data: Arc<File>,
    pub finished: BTreeSet<u64>,
    journal: Arc<Mutex<File>>,
    path: PathBuf,
}

impl Partial {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn journal(&self) -> PathBuf {
        self.folder.join("pieces")
    }

    pub fn create_folder(&self) -> Result<(), WeightsError> {
        create_private_folder(&self.folder).map_err(|source| WeightsError::io("making", &self.folder, source))
    }

    pub fn discard(&self) -> Result<(), WeightsError> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(WeightsError::io("removing", &self.folder, error))
            }
            _ => Ok(()),
        }
    }

    /// An empty file for a download that can't be resumed.
    pub fn start_over(&self) -> Result<File, WeightsError> {
        self.discard()?;
        self.create_folder()?;
        let path = self.data();
        File::create(&path).map_err(|source| WeightsError::io("making", &path, source))
    }

    /// Goes on with what is there if it is of the same file, else starts over.
    pub fn resume(&self, identity: &Identity) -> Result<Pieces, WeightsError> {
        let earlier = self.finished_of(identity)?;
        if earlier.is_none() {
            self.start_over()?;
            self.write_header(identity)?;
        }
        let (data_path, journal_path) = (self.data(), self.journal());
        let data = OpenOptions::new()
            .write(true)
            .open(&data_path)
            .and_then(|file| file.set_len(identity.size).map(|()| file))
            .map_err(|source| WeightsError::io("opening", &data_path, source))?;
        let journal = OpenOptions::new()
            .append(true)
            .open(&journal_path)
            .map_err(|source| WeightsError::io("opening", &journal_path, source))?;
        Ok(Pieces {
            data: Arc::new(data),
            finished: earlier.unwrap_or_default(),
            journal: Arc::new(Mutex::new(journal)),
            path: self.folder.clone(),
        })
    }

    fn write_header(&self, identity: &Identity) -> Result<(), WeightsError> {
        let path = self.journal();
        let mut line =
            serde_json::to_vec(identity).map_err(|source| WeightsError::Record { path: path.clone(), source })?;
        line.push(b'\n');
        fs::write(&path, line).map_err(|source| WeightsError::io("writing", &path, source))
    }

    /// Pieces of an earlier download that this one continues.
    fn finished_of(&self, identity: &Identity) -> Result<Option<BTreeSet<u64>>, WeightsError> {
        if size_of(&self.data())? != Some(identity.size) {
            return Ok(None);
        }
        let path = self.journal();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(parse_journal(&text, identity)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
            Err(source) => Err(WeightsError::io("reading", &path, source)),
        }
    }
}

fn parse_journal(text: &str, identity: &Identity) -> Option<BTreeSet<u64>> {
    let (whole_lines, _torn) = text.rsplit_once('\n')?;
    let mut lines = whole_lines.lines();
    let earlier: Identity = serde_json::from_str(lines.next()?).ok()?;
    identity.continues(&earlier).then(|| lines.filter_map(|line| line.parse().ok()).collect())
}

impl Pieces {
    /// Makes a piece's bytes durable, then says that they are there. Blocking.
    pub fn finish(&self, piece: u64) -> Result<(), WeightsError> {
        let failed = |source| WeightsError::io("writing", &self.path, source);
        self.data.sync_data().map_err(failed)?;
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.write_all(format!("{piece}\n").as_bytes()).map_err(failed)
    }

    /// Blocking.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), WeightsError> {
        use std::os::unix::fs::FileExt;
        self.data.write_all_at(bytes, offset).map_err(|source| WeightsError::io("writing", &self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            source: "https://host/file".to_owned(),
            size: 100,
            piece_bytes: 10,
            validator: Some("\"a\"".to_owned()),
            sha256: None,
        }
    }

    #[test]
    fn only_the_same_file_is_continued() {
        let same = identity();
        assert!(identity().continues(&same));
        assert!(!identity().continues(&Identity { size: 101, ..same.clone() }));
        assert!(!identity().continues(&Identity { piece_bytes: 20, ..same.clone() }));
        assert!(!identity().continues(&Identity { validator: Some("\"b\"".to_owned()), ..same.clone() }));
        assert!(!identity().continues(&Identity { source: "https://other/file".to_owned(), ..same.clone() }));
        let unknown = Identity { validator: None, ..same };
        assert!(!unknown.continues(&unknown), "nothing vouches for it");
        let digest = Some("0".repeat(64).parse().unwrap());
        let known = Identity { sha256: digest, ..unknown };
        assert!(known.continues(&Identity { source: "s3://b/k".to_owned(), ..known.clone() }), "a digest does");
    }

    #[test]
    fn a_torn_line_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let partial = Partial::new(folder.path().join("key"));
        let pieces = partial.resume(&identity()).unwrap();
        pieces.write_at(b"0123456789", 10).unwrap();
        pieces.finish(1).unwrap();
        let mut journal = OpenOptions::new().append(true).open(partial.journal()).unwrap();
        journal.write_all(b"4").unwrap();
        assert_eq!(partial.resume(&identity()).unwrap().finished, BTreeSet::from([1]));
        let changed = Identity { validator: Some("\"b\"".to_owned()), ..identity() };
        assert_eq!(partial.resume(&changed).unwrap().finished, BTreeSet::new());
    }
}
