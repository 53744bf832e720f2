//! Carries a plan out: packages, files, services. The same again changes nothing that runs.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use engine::store::write_durably;

use super::packages;
use super::plan::{FOLDER, Origin, Plan, Service};
use crate::supervisor::number_of;

/// Debian's and Ubuntu's packages run all three services as this user.
const SERVICES_USER: &str = "prometheus";
const UNITS: &str = "/etc/systemd/system";
/// What each service was started with; private, since it tells a little of the keys in it.
const STARTED: &str = "/etc/dsctl/monitoring-started";
/// Prometheus reads its log of the last hours first.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What there is then, in a line.
pub(super) fn install(plan: &Plan) -> Result<String, String> {
    for file in &plan.files {
        write(&Path::new(FOLDER).join(&file.path), &file.content)?;
    }
    // What is dropped goes first, so that a repository out of reach keeps none of it.
    for service in plan.services.iter().filter(|service| !service.is_wanted) {
        drop_service(service)?;
    }
    let wanted: Vec<&Service> = plan.services.iter().filter(|service| service.is_wanted).collect();
    // The distribution's run before anybody else's repository is asked for anything.
    let own: Vec<&Service> = wanted.iter().copied().filter(|service| service.origin == Origin::Distribution).collect();
    begin(plan, &own, || packages::bring(&own.iter().map(|service| service.package).collect::<Vec<_>>()))?;
    for service in &wanted {
        if let Origin::Beside(repository) = &service.origin {
            begin(plan, &[service], || packages::bring_from(repository, service.package))?;
        }
    }
    let names: Vec<&str> = wanted.iter().map(|service| service.name).collect();
    Ok(if names.is_empty() {
        "nothing of ours runs; endpoints are there to be read".to_owned()
    } else {
        format!("{} answer", names.join(", "))
    })
}

/// Services from their packages to their answers. The same again changes nothing that runs.
fn begin(plan: &Plan, services: &[&Service], bring: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    // Before the packages: some start their services at once, and shall not listen to the outside even for a moment.
    for service in services {
        write(&drop_in_path(service), &service.drop_in())?;
    }
    bring()?;
    // After the packages, since they make the user who reads them.
    for file in plan.private.iter().filter(|file| services.iter().any(|service| service.reads(&file.path))) {
        write_private(&Path::new(FOLDER).join(&file.path), &file.content)?;
    }
    systemctl(&["daemon-reload"])?;
    services.iter().try_for_each(|service| run(service, &plan.fingerprint(service)))
}

/// What runs already with the same files goes on. With which it was started is on disk, since the power may go in between.
fn run(service: &Service, fingerprint: &str) -> Result<(), String> {
    let unit = format!("{}.service", service.name);
    let record = Path::new(STARTED).join(service.name);
    let is_the_same = fs::read_to_string(&record).is_ok_and(|there| there == fingerprint);
    systemctl(&["enable", "--quiet", &unit])?;
    systemctl(&[if is_the_same { "start" } else { "restart" }, &unit])?;
    answers(service)?;
    write_durably(&record, fingerprint.as_bytes()).map_err(|error| format!("writing {}: {error}", record.display()))
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
    if service.origin != Origin::Distribution {
        packages::forget_repository()?;
    }
    let path = drop_in_path(service);
    if !path.exists() {
        return Ok(());
    }
    systemctl(&["disable", "--quiet", "--now", &format!("{}.service", service.name)])?;
    remove(&path)?;
    remove(&Path::new(STARTED).join(service.name))?;
    systemctl(&["daemon-reload"])
}

fn drop_in_path(service: &Service) -> PathBuf {
    Path::new(UNITS).join(format!("{}.service.d/dsctl.conf", service.name))
}

/// Everybody may read it: services run as users of their own.
pub(super) fn write(path: &Path, content: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("writing {}: {error}", path.display());
    make_folder(path).map_err(failed)?;
    // One that was private before is not written into, whoever may read it now.
    fs::remove_file(path).or_else(absent).map_err(failed)?;
    fs::write(path, content).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(failed)
}

/// The absent is as good as removed.
pub(super) fn remove(path: &Path) -> Result<(), String> {
    fs::remove_file(path).or_else(absent).map_err(|error| format!("removing {}: {error}", path.display()))
}

/// The same for the services' user alone: at no moment may anybody else read it, and it is there whole or not at all.
fn write_private(path: &Path, content: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("writing {}: {error}", path.display());
    make_folder(path).map_err(failed)?;
    let part = path.with_extension("part");
    fs::remove_file(&part).or_else(absent).map_err(failed)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&part).map_err(failed)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let user = number_of("/etc/passwd", SERVICES_USER).map_err(failed)?;
    chown(&part, Some(user), Some(0)).map_err(failed)?;
    fs::rename(&part, path).map_err(failed)
}

pub(super) fn make_folder(path: &Path) -> std::io::Result<()> {
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

pub(super) fn ended(command: &mut Command) -> Result<(), String> {
    let line = format!("{command:?}").replace('"', "");
    let output = command.output().map_err(|error| format!("{line}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
    Err(format!("{line}: {}; {last}", output.status))
}
