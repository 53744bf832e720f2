//! Reading a unit's captured output: the last lines, over rotated files, and what comes after.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::Stream;
use futures::stream;
use spec::layout::HostLayout;

use crate::rotate::{KEPT, rotated};

const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("{unit} has no log: {} does not exist; next: dsctl status", .path.display())]
    NoLog { unit: String, path: PathBuf },
    #[error("reading {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The last `count` lines of a unit's log (`agent` is the agent's own).
pub fn tail(host: &HostLayout, unit: &str, count: usize) -> Result<Vec<String>, LogsError> {
    let log = host.log(unit);
    let mut lines: VecDeque<String> = VecDeque::new();
    let mut found = false;
    for path in (0..=KEPT).map(|number| if number == 0 { log.clone() } else { rotated(&log, number) }) {
        let missing = count - lines.len();
        if missing == 0 && found {
            break;
        }
        let Some(older) = last_lines(&path, missing).map_err(|source| LogsError::Io { path: path.clone(), source })?
        else {
            continue;
        };
        found = true;
        for line in older.into_iter().rev() {
            lines.push_front(line);
        }
    }
    if found { Ok(lines.into()) } else { Err(LogsError::NoLog { unit: unit.to_owned(), path: log }) }
}

/// None if there is no such file. Reads it once from the begin: logs are rotated at a few megabytes.
fn last_lines(path: &Path, count: usize) -> io::Result<Option<Vec<String>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lines = VecDeque::with_capacity(count.min(1024) + 1);
    for line in BufReader::new(file).split(b'\n') {
        lines.push_back(text(&line?));
        if lines.len() > count {
            lines.pop_front();
        }
    }
    Ok(Some(lines.into()))
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// Lines that are written from now on, across rotation; the stream ends only by being dropped.
pub fn follow(host: &HostLayout, unit: &str) -> impl Stream<Item = Result<String, LogsError>> + use<> {
    let follower = Follower::at_end(host.log(unit));
    stream::unfold((follower, VecDeque::new()), |(mut follower, mut ready)| async move {
        loop {
            if let Some(line) = ready.pop_front() {
                return Some((Ok(line), (follower, ready)));
            }
            match follower.poll() {
                Ok(lines) if lines.is_empty() => tokio::time::sleep(POLL).await,
                Ok(lines) => ready.extend(lines),
                Err(source) => {
                    let error = LogsError::Io { path: follower.path.clone(), source };
                    tokio::time::sleep(POLL).await;
                    return Some((Err(error), (follower, ready)));
                }
            }
        }
    })
}

/// Reads on where it stopped; a file that has become shorter was rotated, and its rest is in the first rotated one.
struct Follower {
    path: PathBuf,
    offset: u64,
    unfinished: Vec<u8>,
}

impl Follower {
    fn at_end(path: PathBuf) -> Self {
        let offset = path.metadata().map_or(0, |metadata| metadata.len());
        Self { path, offset, unfinished: Vec::new() }
    }

    fn poll(&mut self) -> io::Result<Vec<String>> {
        let length = match self.path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if length < self.offset {
            self.read_from(&rotated(&self.path, 1))?;
            self.offset = 0;
        }
        self.offset += self.read_from(&self.path.clone())?;
        Ok(self.take_lines())
    }

    fn read_from(&mut self, path: &Path) -> io::Result<u64> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.read_to_end(&mut self.unfinished)? as u64)
    }

    fn take_lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(end) = self.unfinished.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unfinished.drain(..=end).collect();
            lines.push(text(&line[..end]));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;
    use crate::rotate::rotate;

    fn host() -> (tempfile::TempDir, HostLayout) {
        let folder = tempfile::tempdir().unwrap();
        let host = HostLayout::new(folder.path());
        fs::create_dir_all(host.logs()).unwrap();
        (folder, host)
    }

    #[test]
    fn the_tail_goes_on_in_rotated_files() {
        let (_folder, host) = host();
        let log = host.log("unit");
        fs::write(rotated(&log, 2), "1\n2\n").unwrap();
        fs::write(rotated(&log, 1), "3\n4\n").unwrap();
        fs::write(&log, "5\nhalf").unwrap();
        assert_eq!(tail(&host, "unit", 4).unwrap(), ["3", "4", "5", "half"]);
        assert_eq!(tail(&host, "unit", 100).unwrap().len(), 6);
        assert_eq!(tail(&host, "unit", 0).unwrap(), Vec::<String>::new());
        assert!(tail(&host, "other", 4).unwrap_err().to_string().contains("other has no log"));
    }

    #[test]
    fn following_crosses_a_rotation_without_a_gap() {
        let (_folder, host) = host();
        let log = host.log("unit");
        let mut writer = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        writer.write_all(b"before\n").unwrap();
        let mut follower = Follower::at_end(log.clone());
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(follower.poll().unwrap(), ["one"]);
        writer.write_all(b"o\nthree\n").unwrap();
        rotate(&log, 1).unwrap();
        writer.write_all(b"four\n").unwrap();
        assert_eq!(follower.poll().unwrap(), ["two", "three", "four"]);
        assert!(follower.poll().unwrap().is_empty());
    }
}
