//! The host spec's files: written when they differ, removed when nobody asks for them any more.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use engine::store::{create_private_folder, write_durably};
use spec::host::{FileSpec, HostSpec, Phase, PhaseState};

use super::phases::PhaseNow;
use crate::decide::Moment;
use crate::site::Site;

const RETRY_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct FilesWork {
    /// For this list of files; none while it is not done.
    done: Option<Vec<FileSpec>>,
    failure: Option<String>,
    retry_at: Moment,
}

impl FilesWork {
    pub fn is_done(&self, spec: &HostSpec) -> bool {
        self.done.as_ref() == Some(&spec.files)
    }

    pub fn converge(&mut self, site: &Site, spec: &HostSpec, now: Moment) {
        if self.is_done(spec) || now < self.retry_at {
            return;
        }
        match write_files(&site.host.files(), &spec.files) {
            Ok(()) => {
                self.done = Some(spec.files.clone());
                self.failure = None;
            }
            Err(message) => {
                tracing::error!(message, "can't write the files");
                self.failure = Some(message);
                self.retry_at = now + RETRY_EVERY;
            }
        }
    }

    /// The next try is made at once.
    pub fn forgive(&mut self) {
        self.failure = None;
        self.retry_at = Moment::ZERO;
    }

    pub fn phase(&self, spec: &HostSpec) -> PhaseNow {
        match &self.failure {
            Some(message) => {
                PhaseNow::failed(Phase::Files, message.clone(), Vec::new(), "free space or give access, then: dsctl up")
            }
            None if self.is_done(spec) => {
                PhaseNow::new(Phase::Files, PhaseState::Done, format!("{} written", spec.files.len()))
            }
            None => PhaseNow::new(Phase::Files, PhaseState::Running, "writing"),
        }
    }
}

fn write_files(folder: &Path, files: &[FileSpec]) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    create_private_folder(folder).map_err(|error| failed(folder, error))?;
    for file in files {
        let is_plain = !file.name.is_empty() && !file.name.contains('/') && !file.name.starts_with('.');
        if !is_plain {
            return Err(format!("\"{}\" is not a plain file name", file.name));
        }
        let path = folder.join(&file.name);
        if fs::read(&path).is_ok_and(|content| content == file.content.as_bytes()) {
            continue;
        }
        write_durably(&path, file.content.as_bytes()).map_err(|error| failed(&path, error))?;
    }
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))?.flatten() {
        let is_wanted = files.iter().any(|file| entry.file_name() == file.name.as_str());
        if !is_wanted {
            fs::remove_file(entry.path()).map_err(|error| failed(&entry.path(), error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> FileSpec {
        FileSpec { name: name.to_owned(), content: content.to_owned() }
    }

    #[test]
    fn the_folder_holds_what_is_asked_for_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("files");
        write_files(&files, &[file("a", "1"), file("b", "2")]).unwrap();
        write_files(&files, &[file("b", "3")]).unwrap();
        assert!(!files.join("a").exists());
        assert_eq!(fs::read_to_string(files.join("b")).unwrap(), "3");
        let error = write_files(&files, &[file("../x", "")]).unwrap_err();
        assert!(error.contains("not a plain file name"), "{error}");
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("blocked");
        fs::write(&blocked, "a file").unwrap();
        let error = write_files(&blocked.join("files"), &[]).unwrap_err();
        assert!(error.contains("blocked/files"), "{error}");
    }
}
