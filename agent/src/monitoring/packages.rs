//! Packages: of the distribution, and of a repository beside it whose signing key is pinned.

use std::fs;
use std::path::Path;
use std::process::Command;

use spec::monitoring::PackageRepository;

use super::install::{ended, make_folder, remove, write};

const SOURCES_FILE: &str = "/etc/apt/sources.list.d/dsctl-grafana.sources";
const KEY_FILE: &str = "/etc/apt/keyrings/dsctl-grafana.asc";
const DOWNLOADER: &str = "/usr/lib/apt/apt-helper";

/// Those that are missing.
pub(super) fn bring(packages: &[&str]) -> Result<(), String> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    tracing::info!(?missing, "installing packages");
    // What a power cut left half-way.
    ended(Command::new("dpkg").args(["--configure", "-a"]))?;
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"][..], &missing].concat())
}

/// The same, out of a repository that apt is told of first. One that is in the image already needs no repository.
pub(super) fn bring_from(repository: &PackageRepository, package: &str) -> Result<(), String> {
    if is_installed(package) {
        return Ok(());
    }
    // Fetched each time: its date of expiry is in it, and is put off now and then.
    let part = format!("{KEY_FILE}.part");
    make_folder(Path::new(KEY_FILE)).map_err(|error| format!("making a folder for {KEY_FILE}: {error}"))?;
    remove(Path::new(&part))?;
    let address = format!("{}/gpg.key", repository.url.trim_end_matches('/'));
    ended(Command::new(DOWNLOADER).args(["download-file", &address, &part]))?;
    let key = fs::read_to_string(&part).map_err(|error| format!("the key of {address}: {error}"))?;
    remove(Path::new(&part))?;
    write(Path::new(KEY_FILE), &key)?;
    write(Path::new(SOURCES_FILE), &sources(repository))?;
    bring(&[package])
}

/// Nothing comes from there any more; what was installed stays.
pub(super) fn forget_repository() -> Result<(), String> {
    remove(Path::new(SOURCES_FILE))?;
    remove(Path::new(KEY_FILE))
}

/// apt takes a signature for valid only if the key with that fingerprint made it, whatever else the fetched file holds.
fn sources(repository: &PackageRepository) -> String {
    let PackageRepository { url, fingerprint } = repository;
    format!(
        "# Made by dsctl's agent.\nTypes: deb\nURIs: {url}\nSuites: stable\nComponents: main\n\
         Signed-By: {KEY_FILE} {}\n",
        fingerprint.to_uppercase()
    )
}

/// Whole, and not in the middle of it.
fn is_installed(package: &str) -> bool {
    let asked = Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    asked.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

/// Another package manager's work is waited for. A repository that can't be read is an error only if what it has is missing:
/// an index that was read before goes on to serve.
fn apt(words: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]).args(words);
    ended(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_told_whose_signature_counts() {
        let repository = PackageRepository { fingerprint: "ab".repeat(20), ..PackageRepository::of_grafana_labs() };
        let text = sources(&repository);
        let line = format!("Signed-By: /etc/apt/keyrings/dsctl-grafana.asc {}", "AB".repeat(20));
        assert!(text.lines().any(|found| found == line), "{text}");
        assert!(text.lines().any(|found| found == "URIs: https://apt.grafana.com"), "{text}");
    }
}
