//! Log rotation by copy and truncate: a unit keeps the descriptor it was started with, and may outlive the agent, so the
//! file it writes to must stay the same file. It is open for appending, so after the truncation it goes on at the begin.
//! The price: lines written between the copy and the truncation are lost.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) const MOST_BYTES: u64 = 10 << 20;
pub(crate) const KEPT: u32 = 5;

/// `NAME.log` -> `NAME.log.1`
pub(crate) fn rotated(log: &Path, number: u32) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Rotates a log that has outgrown `most_bytes`.
pub(crate) fn rotate(log: &Path, most_bytes: u64) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(metadata) if metadata.len() <= most_bytes => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for number in (1..KEPT).rev() {
        match fs::rename(rotated(log, number), rotated(log, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::copy(log, rotated(log, 1))?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_writer_that_keeps_its_descriptor_goes_on_in_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("unit.log");
        let mut writer = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        for number in 0..8 {
            writer.write_all(format!("{number}{}", "x".repeat(20)).as_bytes()).unwrap();
            rotate(&log, 10).unwrap();
        }
        writer.write_all(b"end").unwrap();
        rotate(&log, 10).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "end");
        assert!(fs::read_to_string(rotated(&log, 1)).unwrap().starts_with('7'));
        assert!(fs::read_to_string(rotated(&log, KEPT)).unwrap().starts_with('3'));
        assert!(!rotated(&log, KEPT + 1).exists());
    }
}
