//! Writing the log: groups of records, each on disk before anybody is told so.
//!
//! ```text
//! open: last file -> half a line at its end is cut, and a record says so
//! write: drafts -> sealed lines -> one write -> fdatasync;  an error leaves file and chain as they were
//! ```

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::keys::Keys;
use crate::people::People;
use crate::record::{Draft, Event, Record, RequestRecord, Who};
use crate::seal::{self, NO_HASH};

const PREFIX: &str = "records-";
const SUFFIX: &str = ".jsonl";

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the audit log in {}", folder.display())]
    Io { folder: PathBuf, source: io::Error },
    #[error(
        "{}: its last record was not written with this deployment's key, or was changed: `dsctl audit verify` says more",
        path.display()
    )]
    Foreign { path: PathBuf },
}

/// When a new file is begun.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    pub bytes: u64,
}

/// The end of the log, open for more. Only one may be open at a time.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    keys: Arc<Keys>,
    people: People,
    rotation: Rotation,
    /// Number and hash of the last record.
    last: (u64, String),
    current: Option<Current>,
    /// Bytes that a crash had left of a record, until a record says so.
    cut_bytes: u64,
}

/// The file that is written to.
#[derive(Debug)]
struct Current {
    path: PathBuf,
    /// None after an error: what stands behind `len` is not known then.
    file: Option<File>,
    len: u64,
    day: Date,
}

impl Journal {
    pub fn open(folder: &Path, keys: Arc<Keys>, rotation: Rotation) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io { folder: folder.to_owned(), source };
        let people = People::of(folder);
        people.make_folder().map_err(failed)?;
        let last = (0, NO_HASH.to_owned());
        let mut journal = Self { folder: folder.to_owned(), keys, people, rotation, last, current: None, cut_bytes: 0 };
        for path in files(folder).map_err(failed)?.into_iter().rev() {
            if journal.take_up(&path)? {
                break;
            }
        }
        Ok(journal)
    }

    /// Finds the last record of a file; false if there is none, since a crash came right after the file.
    fn take_up(&mut self, path: &Path) -> Result<bool, JournalError> {
        let failed = |source| JournalError::Io { folder: self.folder.clone(), source };
        let bytes = fs::read(path).map_err(failed)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.cut_bytes += (bytes.len() - whole) as u64;
        let is_newest = self.current.is_none();
        let end = bytes[..whole].trim_ascii_end();
        let start = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let opened = std::str::from_utf8(&end[start..]).ok().and_then(|line| seal::open(&self.keys, line));
        let day = match &opened {
            Some((record, _)) => day(record.at),
            None if end.is_empty() => day(Timestamp::now()),
            None => return Err(JournalError::Foreign { path: path.to_owned() }),
        };
        if is_newest {
            self.current = Some(Current { path: path.to_owned(), file: None, len: whole as u64, day });
        }
        let Some((record, hash)) = opened else { return Ok(false) };
        self.last = (record.number, hash);
        Ok(true)
    }

    /// Number of the last record.
    pub const fn last_number(&self) -> u64 {
        self.last.0
    }

    /// Writes all or none: after an error the same may be given again.
    pub fn write(&mut self, at: Timestamp, lost: u64, drafts: &[Draft]) -> io::Result<()> {
        let mut events = Vec::with_capacity(drafts.len() + 2);
        if self.cut_bytes > 0 {
            events.push((at, Event::Repaired { cut_bytes: self.cut_bytes }));
        }
        if lost > 0 {
            events.push((at, Event::Lost { records: lost }));
        }
        for draft in drafts {
            events.push((draft.at, Event::Request(Box::new(self.sealed(draft)?))));
        }
        let (mut text, mut last) = (String::new(), self.last.clone());
        for (at, event) in events {
            let record = Record { number: last.0 + 1, before: last.1, at, event };
            let (line, hash) = seal::seal(&self.keys, &record)?;
            text.extend([line.as_str(), "\n"]);
            last = (record.number, hash);
        }
        self.append(at, text.as_bytes())?;
        self.last = last;
        self.cut_bytes = 0;
        Ok(())
    }

    fn sealed(&self, draft: &Draft) -> io::Result<RequestRecord> {
        let mut record = draft.record.clone();
        let person = match &draft.user {
            None => None,
            Some(user) => Some((user, self.people.person(&self.keys, user)?)),
        };
        let key = person.as_ref().map(|(_, person)| &person.0);
        record.prompt = draft.prompt.map(|text| self.keys.digest(&text, key));
        record.answer = draft.answer.map(|text| self.keys.digest(&text, key));
        match &person {
            None => record.client = draft.client.clone(),
            Some((user, person)) => {
                let who = Who { user: (*user).clone(), client: draft.client.clone() };
                record.user = Some(person.tag());
                record.who = Some(person.seal(&who)?);
            }
        }
        Ok(record)
    }

    fn append(&mut self, at: Timestamp, bytes: &[u8]) -> io::Result<()> {
        let is_full =
            |current: &Current| current.len > 0 && (current.len >= self.rotation.bytes || current.day != day(at));
        if self.current.as_ref().is_none_or(is_full) {
            // What a crash or a full disk left of a group at its end goes before another file follows.
            if let Some(last) = self.current.as_mut().filter(|last| last.file.is_none()) {
                last.open(&self.folder)?.sync_all()?;
            }
            let path = self.folder.join(format!("{PREFIX}{:012}{SUFFIX}", self.last.0 + 1));
            self.current = Some(Current { path, file: None, len: 0, day: day(at) });
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        let mut file = current.open(&self.folder)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        current.len += bytes.len() as u64;
        current.file = Some(file);
        Ok(())
    }
}

impl Current {
    /// The file, ending where the last whole group did. It is given back only after what comes next worked.
    fn open(&mut self, folder: &Path) -> io::Result<File> {
        if let Some(file) = self.file.take() {
            return Ok(file);
        }
        let mut file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        file.set_len(self.len)?;
        file.seek(SeekFrom::Start(self.len))?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    }
}

fn day(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

/// In the order of their records.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
