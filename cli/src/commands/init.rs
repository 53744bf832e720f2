//! `dsctl init`: a commented spec to begin from, or a folder of rules and dashboards. Never over what exists.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::args::InitArgs;
use crate::exit::Failure;
use crate::talk::print;

pub fn run(args: &InitArgs) -> Result<(), Failure> {
    if args.starter == templates::MONITORING_FOLDER {
        return folder(args.output.as_deref().unwrap_or(Path::new(templates::MONITORING_FOLDER)));
    }
    let starter = templates::find(&args.starter).map_err(Failure::usage)?;
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(starter.file_name));
    let place = path.display();
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::usage(format!("{place} exists and stays as it is")).next("dsctl init --output FILE"));
        }
        Err(error) => return Err(Failure::failed(format!("{place}: {error}"))),
    };
    file.write_all(starter.content.as_bytes()).map_err(|error| Failure::failed(format!("{place}: {error}")))?;
    print(format!("wrote {place}; next: {}", starter.next.replace("FILE", &place.to_string())))
}

/// Prometheus' configuration and rules, Alertmanager's, Grafana's provisioning and dashboards.
fn folder(path: &Path) -> Result<(), Failure> {
    let place = path.display();
    let failed = |error: std::io::Error| Failure::failed(format!("{place}: {error}"));
    let files = templates::monitoring::starter(std::path::absolute(path)?)
        .map_err(|error| Failure::failed(format!("{place}: {error}")))?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::usage(format!("{place} exists and stays as it is"))
                .next("dsctl init monitoring --output FOLDER"));
        }
        other => other.map_err(failed)?,
    }
    for file in &files {
        let path = path.join(&file.path);
        fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(failed)?;
        fs::write(&path, &file.content).map_err(failed)?;
    }
    let count = files.len();
    print(format!("wrote {count} files below {place}; next: promtool check config {place}/prometheus/prometheus.yml"))
}
