//! Carries a plan out: packages, files, services. The same again changes nothing that runs.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::plan::{FOLDER, Plan, Service};
use crate::supervisor::number_of;

/// Debian's and Ubuntu's packages run all three services as this user.
const SERVICES_USER: &str = "prometheus";
const UNITS: &str = "/etc/systemd/system";
/// Prometheus reads its log of the last hours first.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What there is then, in a line. `again`: what an earlier try left is not known, so everything is started anew.
pub(super) fn install(plan: &Plan, again: bool) -> Result<String, String> {
    let wanted: Vec<&Service> = plan.services.iter().filter(|service| service.is_wanted).collect();
    let mut changed: Vec<PathBuf> = Vec::new();
    for file in &plan.files {
        if write(&Path::new(FOLDER).join(&file.path), &file.content)? {
            changed.push(file.path.clone());
        }
    }
    // Before the packages: they start their services at once, and shall not listen to the outside even for a moment.
    let mut anew: Vec<&str> = Vec::new();
    for service in &wanted {
        let has_new_files = changed.iter().any(|path| path.starts_with(service.files));
        if write(&drop_in_path(service), &service.drop_in())? || has_new_files || again {
            anew.push(service.name);
        }
    }
    bring_packages(&wanted)?;
    // After the packages, since they make the user who reads them.
    for file in &plan.private {
        if write_private(&Path::new(FOLDER).join(&file.path), &file.content)? {
            anew.extend(
                wanted.iter().map(|it| (it.name, it.files)).filter(|it| file.path.starts_with(it.1)).map(|it| it.0),
            );
        }
    }
    systemctl(&["daemon-reload"])?;
    for service in &plan.services {
        if service.is_wanted { run(service, anew.contains(&service.name))? } else { drop_service(service)? }
    }
    let names: Vec<&str> = wanted.iter().map(|service| service.name).collect();
    Ok(if names.is_empty() {
        "nothing of ours runs; endpoints are there to be read".to_owned()
    } else {
        format!("{} answer", names.join(", "))
    })
}

fn bring_packages(wanted: &[&Service]) -> Result<(), String> {
    let missing: Vec<&str> =
        wanted.iter().map(|service| service.package).filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    tracing::info!(?missing, "installing packages");
    // What a power cut left half-way.
    ended(Command::new("dpkg").args(["--configure", "-a"]))?;
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"][..], &missing].concat())
}

/// Whole, and not in the middle of it.
fn is_installed(package: &str) -> bool {
    let asked = Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    asked.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

/// Another package manager's work is waited for.
fn apt(words: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]).args(words);
    ended(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn run(service: &Service, anew: bool) -> Result<(), String> {
    let unit = format!("{}.service", service.name);
    systemctl(&["enable", "--quiet", &unit])?;
    // What runs already with the same files goes on.
    systemctl(&[if anew { "restart" } else { "start" }, &unit])?;
    answers(service)
}

/// A service that ends at once over its configuration counts as started all the same.
fn answers(service: &Service) -> Result<(), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, service.port));
    let deadline = Instant::now() + ANSWER_PATIENCE;
    while TcpStream::connect_timeout(&address, LOOK_EVERY).is_err() {
        if Instant::now() > deadline {
            return Err(format!("{} does not answer at {address}: {}", service.name, last_words(service)));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The last line of its journal.
fn last_words(service: &Service) -> String {
    let unit = format!("--unit={}.service", service.name);
    let output = Command::new("journalctl").args(["--no-pager", "--output=cat", "--lines=1", &unit]).output();
    output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
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
    make_folder(path).map_err(failed)?;
    // One that was private before is not written into, whoever may read it now.
    fs::remove_file(path).or_else(absent).map_err(failed)?;
    fs::write(path, content).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(failed)?;
    Ok(true)
}

/// The same for the services' user alone: at no moment may anybody else read it, and it is there whole or not at all.
fn write_private(path: &Path, content: &str) -> Result<bool, String> {
    if fs::read_to_string(path).is_ok_and(|there| there == content) {
        return Ok(false);
    }
    let failed = |error: std::io::Error| format!("writing {}: {error}", path.display());
    make_folder(path).map_err(failed)?;
    let part = path.with_extension("part");
    fs::remove_file(&part).or_else(absent).map_err(failed)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&part).map_err(failed)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let user = number_of("/etc/passwd", SERVICES_USER).map_err(failed)?;
    chown(&part, Some(user), Some(0)).map_err(failed)?;
    fs::rename(&part, path).map_err(failed)?;
    Ok(true)
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    for folder in folder.ancestors().take_while(|folder| folder.starts_with("/etc") && *folder != Path::new("/etc")) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
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
