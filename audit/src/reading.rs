//! Reading the log: whether it is whole, and what it says of whom.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::journal::files;
use crate::keys::Keys;
use crate::people::{People, Person};
use crate::record::{Event, Record, Who};
use crate::seal::{self, NO_HASH};

/// More faults than this say no more than the first of them.
const MOST_FAULTS: usize = 20;

/// What a check of the whole log found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub files: usize,
    pub records: u64,
    /// Number of the first record there is: over 1 where older files were taken away.
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// Hash of the last record: kept elsewhere, it shows later that nothing was cut off the end.
    pub head: Option<String>,
    /// Times that half a line was cut after a crash.
    pub repairs: u64,
    /// Requests that have no record, and are said to have none.
    pub lost: u64,
    pub faults: Vec<Fault>,
    /// Whether the hash that was asked about is in the chain; none if none was.
    pub has_expected: Option<bool>,
}

/// A place where the log is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub file: PathBuf,
    pub line: u64,
    pub what: &'static str,
}

impl Summary {
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty() && self.has_expected != Some(false)
    }

    fn count(&mut self, record: &Record) {
        self.records += 1;
        self.first.get_or_insert(record.number);
        self.last = Some(record.number);
        match record.event {
            Event::Repaired { .. } => self.repairs += 1,
            Event::Lost { records } => self.lost += records,
            Event::Request(_) => {}
        }
    }
}

/// Goes through all of the log. While it is written to, half a line at its very end is no fault.
pub fn verify(folder: &Path, keys: &Keys, expected: Option<&str>) -> io::Result<Summary> {
    let paths = files(folder)?;
    let mut summary = Summary { files: paths.len(), has_expected: expected.map(|_| false), ..Summary::default() };
    let mut before: Option<(u64, String)> = None;
    for line in lines(paths) {
        let line = line?;
        let mut fault = |what| summary.faults.push(Fault { file: line.file.clone(), line: line.number, what });
        let Some((record, hash)) = seal::open(keys, line.text.trim_end()) else {
            if !line.is_torn_end {
                fault("it was changed, or not written with this deployment's key");
            }
            before = None;
            if summary.faults.len() >= MOST_FAULTS { break } else { continue }
        };
        if let Some(what) = break_between(before.as_ref(), &record, summary.records == 0) {
            fault(what);
        }
        if expected.is_some_and(|expected| expected == hash) {
            summary.has_expected = Some(true);
        }
        summary.count(&record);
        summary.head = Some(hash.clone());
        before = Some((record.number, hash));
        if summary.faults.len() >= MOST_FAULTS {
            break;
        }
    }
    Ok(summary)
}

/// After a line that can't be read the chain is taken up anew: the fault before says it.
fn break_between(before: Option<&(u64, String)>, record: &Record, is_first: bool) -> Option<&'static str> {
    match before {
        Some((number, _)) if record.number != number + 1 => Some("records before it are missing, or stand elsewhere"),
        Some((_, hash)) if record.before != *hash => Some("the record before it is not the one that it follows"),
        None if is_first && record.number == 1 && record.before != NO_HASH => Some("it is not the first record"),
        _ => None,
    }
}

struct Line {
    file: PathBuf,
    number: u64,
    text: String,
    /// It has no line end, and nothing comes after it.
    is_torn_end: bool,
}

/// One file open at a time: six years of a busy log are thousands.
fn lines(paths: Vec<PathBuf>) -> impl Iterator<Item = io::Result<Line>> {
    let last = paths.last().cloned();
    paths.into_iter().flat_map(move |file| {
        let is_last = last.as_ref() == Some(&file);
        let mut reader = Some(File::open(&file).map(BufReader::new));
        let mut number = 0;
        std::iter::from_fn(move || {
            let mut bytes = Vec::new();
            let read = match reader.as_mut()? {
                Ok(reader) => reader.read_until(b'\n', &mut bytes),
                Err(_) => reader.take()?.map(|_| 0),
            };
            match read {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
            number += 1;
            let is_torn_end = is_last && !bytes.ends_with(b"\n");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(Ok(Line { file: file.clone(), number, text, is_torn_end }))
        })
    })
}

/// Gives the records with whom they are of, where that is known still.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    people: HashMap<String, Person>,
}

/// A record, and who it is of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Identified {
    #[serde(flatten)]
    pub record: Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Who>,
}

impl Reader {
    pub fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self { folder: folder.to_owned(), people: People::of(folder).all()? })
    }

    /// All records; a line that is none is passed over, since `verify` is what tells of it.
    pub fn records(&self) -> io::Result<impl Iterator<Item = io::Result<Identified>>> {
        let lines = lines(files(&self.folder)?);
        Ok(lines.filter_map(|line| match line {
            Err(error) => Some(Err(error)),
            Ok(line) => serde_json::from_str(&line.text).ok().map(|record| Ok(self.identify(record))),
        }))
    }

    fn identify(&self, record: Record) -> Identified {
        let person = match &record.event {
            Event::Request(request) => request.user.as_ref().zip(request.who.as_ref()),
            Event::Repaired { .. } | Event::Lost { .. } => None,
        };
        let person = person.and_then(|(tag, who)| self.people.get(tag)?.open(who));
        Identified { record, person }
    }
}
