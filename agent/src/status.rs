//! Writes status.json: every change at once and durably; mere progress at most four times a second and not synced, since
//! a sync beside a running download can take seconds, and a lost progress number costs nothing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::store::{create_private_folder, write_durably};
use jiff::Timestamp;
use spec::host::HostStatus;

use crate::decide::Moment;

const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// After a failed write.
const RETRY_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct StatusWriter {
    path: PathBuf,
    written: Option<HostStatus>,
    not_before: Moment,
    /// Said once, not at every tick.
    complained: bool,
}

impl StatusWriter {
    pub fn new(path: PathBuf) -> Self {
        Self { path, written: None, not_before: Moment::ZERO, complained: false }
    }

    /// Writes if there is something new to say. A failure is logged and tried again: the agent does not end of it.
    pub fn offer(&mut self, status: HostStatus, now: Moment) {
        let status = match &self.written {
            Some(written) => HostStatus { written_at: written.written_at, ..status },
            None => status,
        };
        if self.written.as_ref() == Some(&status) {
            return;
        }
        let is_progress =
            self.written.as_ref().is_some_and(|written| without_progress(written) == without_progress(&status));
        if now < self.not_before && (is_progress || self.complained) {
            return;
        }
        let status = HostStatus { written_at: Timestamp::now(), ..status };
        self.not_before = now + PROGRESS_EVERY;
        match write(&self.path, &status, is_progress) {
            Ok(()) => {
                self.written = Some(status);
                self.complained = false;
            }
            Err(error) => {
                self.not_before = now + RETRY_EVERY;
                if !self.complained {
                    tracing::error!(path = %self.path.display(), %error, "can't write the status; trying again");
                }
                self.complained = true;
            }
        }
    }
}

/// What is left is a change when it differs.
fn without_progress(status: &HostStatus) -> HostStatus {
    let mut status = status.clone();
    for line in &mut status.phases {
        if line.progress.is_some() {
            line.progress = None;
            line.detail.clear();
        }
    }
    status
}

fn write(path: &Path, status: &HostStatus, is_progress: bool) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(status)?;
    if !is_progress {
        return write_durably(path, &bytes);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    create_private_folder(folder)?;
    let mut beside = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    beside.write_all(&bytes)?;
    beside.persist(path)?;
    Ok(())
}

/// The status that is there; none if there is none or it can't be read as one.
pub(crate) fn read(path: &Path) -> Option<HostStatus> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
