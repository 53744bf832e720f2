//! Carries a plan out: packages, files, services. The same again changes nothing that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::plan::{FOLDER, Plan, Service};

const UNITS: &str = "/etc/systemd/system";

/// What there is then, in a line.
pub(super) fn install(plan: &Plan) -> Result<String, String> {
    let wanted: Vec<&Service> = plan.services.iter().filter(|service| service.is_wanted).collect();
    bring_packages(&wanted)?;
    let mut changed: Vec<PathBuf> = Vec::new();
    for file in &plan.files {
        if write(&Path::new(FOLDER).join(&file.path), &file.content)? {
            changed.push(file.path.clone());
        }
    }
    for service in &plan.services {
        let has_new_files = changed.iter().any(|path| path.starts_with(service.files));
        if service.is_wanted { run(service, has_new_files)? } else { drop_service(service)? }
    }
    let names: Vec<&str> = wanted.iter().map(|service| service.name).collect();
    Ok(if names.is_empty() {
        "nothing of ours runs; endpoints are there to be read".to_owned()
    } else {
        format!("{} run", names.join(", "))
    })
}

fn bring_packages(wanted: &[&Service]) -> Result<(), String> {
    let missing: Vec<&str> =
        wanted.iter().filter(|service| !Path::new(service.program).exists()).map(|service| service.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    tracing::info!(?missing, "installing packages");
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"][..], &missing].concat())
}

/// Another package manager's work is waited for.
fn apt(words: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]).args(words);
    ended(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn run(service: &Service, has_new_files: bool) -> Result<(), String> {
    let is_new = write(&drop_in_path(service), &service.drop_in())?;
    if is_new {
        systemctl(&["daemon-reload"])?;
    }
    let unit = format!("{}.service", service.name);
    systemctl(&["enable", "--quiet", &unit])?;
    // What runs already with the same files goes on.
    systemctl(&[if is_new || has_new_files { "restart" } else { "start" }, &unit])
}

/// What we made of it; one that somebody else set up stays.
fn drop_service(service: &Service) -> Result<(), String> {
    let path = drop_in_path(service);
    if !path.exists() {
        return Ok(());
    }
    systemctl(&["disable", "--quiet", "--now", &format!("{}.service", service.name)])?;
    fs::remove_file(&path).map_err(|error| format!("removing {}: {error}", path.display()))?;
    systemctl(&["daemon-reload"])
}

fn drop_in_path(service: &Service) -> PathBuf {
    Path::new(UNITS).join(format!("{}.service.d/dsctl.conf", service.name))
}

/// Whether it was another before. Everybody may read it: services run as users of their own.
fn write(path: &Path, content: &str) -> Result<bool, String> {
    if fs::read_to_string(path).is_ok_and(|there| there == content) {
        return Ok(false);
    }
    let failed = |error: std::io::Error| format!("writing {}: {error}", path.display());
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(failed)?;
    for folder in folder.ancestors().take_while(|folder| folder.starts_with("/etc") && *folder != Path::new("/etc")) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    fs::write(path, content).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(failed)?;
    Ok(true)
}

fn systemctl(words: &[&str]) -> Result<(), String> {
    ended(Command::new("systemctl").args(words))
}

fn ended(command: &mut Command) -> Result<(), String> {
    let line = format!("{command:?}").replace('"', "");
    let output = command.output().map_err(|error| format!("{line}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
    Err(format!("{line}: {}; {last}", output.status))
}
