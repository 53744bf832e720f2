//! The graphics cards' driver stays as the image brought it: a new library beside a loaded driver of another version takes the
//! cards from every program until the next boot.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::install::{InstallError, write};

const UNATTENDED: &str = "/etc/apt/apt.conf.d/99-dsctl-driver";
/// As dpkg-query takes them, and as unattended-upgrades does.
const PACKAGES: [(&str, &str); 4] = [
    ("nvidia-*", "^nvidia-"),
    ("libnvidia-*", "^libnvidia-"),
    ("cuda-*", "^cuda-"),
    ("linux-image-*", "^linux-image-"),
];

/// Another package manager may have the lock for long.
const RETRY_EVERY: Duration = Duration::from_secs(60);

/// Until it is done: nobody waits for it, and a host whose packages can't be held just now serves all the same.
pub(crate) async fn keep_driver() {
    loop {
        match tokio::task::spawn_blocking(hold_driver).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(%error, "the driver's packages are not held yet; trying again"),
            Err(error) => tracing::warn!(%error, "the driver's packages are not held yet; trying again"),
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

/// Holds them back from everybody's upgrades. A host without apt has none of them.
fn hold_driver() -> Result<(), InstallError> {
    if !Path::new("/usr/bin/apt-mark").exists() {
        return Ok(());
    }
    write(Path::new(UNATTENDED), &unattended())?;
    let installed = installed_of(&listed()?);
    if installed.is_empty() {
        return Ok(());
    }
    let words: Vec<&str> = ["hold"].into_iter().chain(installed.iter().map(String::as_str)).collect();
    output("apt-mark", &words).map(|_| ())
}

fn unattended() -> String {
    let names = PACKAGES.iter().map(|(_, pattern)| format!("  \"{pattern}\";\n"));
    format!("// Made by dsctl's agent.\nUnattended-Upgrade::Package-Blacklist {{\n{}}};\n", names.collect::<String>())
}

/// One query a pattern: a pattern that nothing matches is an error of the whole query.
fn listed() -> Result<String, InstallError> {
    let of = |glob| match output("dpkg-query", &["--show", "--showformat=${db:Status-Status} ${Package}\n", glob]) {
        Err(InstallError::Command { said, .. }) if said.contains("no packages found") => Ok(String::new()),
        answer => answer,
    };
    PACKAGES.iter().map(|(glob, _)| of(glob)).collect()
}

/// Those that are whole on the disk, not those that are only known.
fn installed_of(listed: &str) -> Vec<String> {
    listed.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect()
}

fn output(program: &str, words: &[&str]) -> Result<String, InstallError> {
    let command = format!("{program} {}", words.join(" "));
    let output = Command::new(program).args(words).output();
    let output = output.map_err(|source: io::Error| InstallError::Io { what: command.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(InstallError::Command { command, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_is_held() {
        let listed = "installed nvidia-driver-580\nnot-installed nvidia-driver-535\ninstalled linux-image-6.1.0-41-cloud-amd64\n";
        assert_eq!(installed_of(listed), ["nvidia-driver-580", "linux-image-6.1.0-41-cloud-amd64"]);
        assert!(installed_of("").is_empty());
    }

    #[test]
    fn unattended_upgrades_pass_each_over() {
        let text = unattended();
        assert!(
            text.contains("Package-Blacklist {\n  \"^nvidia-\";\n") && text.ends_with("  \"^linux-image-\";\n};\n"),
            "{text}"
        );
    }
}
