//! Incidents on this machine's disk: a file each, which is only ever appended to.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use engine::store::create_private_folder;
use jiff::Timestamp;
use runbooks::{Event, Incident, Opening, Record, Report, Runbook, Witness};
use spec::id::DeploymentName;

use crate::context::{Context, user_at_machine};
use crate::exit::Failure;
use crate::talk::say;

const ENDING: &str = "jsonl";

/// One that is being written.
#[derive(Debug)]
pub struct OpenIncident {
    pub id: String,
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl OpenIncident {
    /// A disk that takes no record keeps nobody from healing: then it is said, and the run goes on.
    pub fn open(context: &Context, name: &DeploymentName, runbook: &Runbook, alert: Option<&str>) -> Self {
        let now = Timestamp::now();
        let id = format!("{}-{}", now.strftime("%Y%m%dT%H%M%S.%3fZ"), runbook.name);
        let path = context.home.incidents(name).join(format!("{id}.{ENDING}"));
        let made = create_private_folder(&context.home.incidents(name))
            .and_then(|()| fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path));
        let file = made.map_err(|error| say(format!("this run is not kept: {}: {error}", path.display()))).ok();
        let incident = Self { id: id.clone(), path, file: Mutex::new(file) };
        incident.note(Event::Opened(Opening {
            id,
            deployment: name.to_string(),
            runbook: runbook.name.clone(),
            symptom: runbook.symptom.clone(),
            alert: alert.map(str::to_owned),
            by: user_at_machine(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }));
        incident
    }

    pub fn close(&self, report: &Report) {
        self.note(Event::Closed { outcome: report.outcome(), call: report.call.clone() });
    }

    fn append(&self, file: &mut File, event: Event) -> std::io::Result<()> {
        let line = Record { at: Timestamp::now(), event }.line()?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }
}

impl Witness for OpenIncident {
    fn note(&self, event: Event) {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(open) = file.as_mut() else { return };
        if let Err(error) = self.append(open, event) {
            say(format!("the rest of this run is not kept: {}: {error}", self.path.display()));
            *file = None;
        }
    }
}

/// Those of a deployment, the last first. What can't be read is said, and keeps none of the others back.
pub fn all(context: &Context, name: &DeploymentName) -> Result<Vec<Incident>, Failure> {
    let folder = context.home.incidents(name);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| Failure::failed(format!("{}: {error}", folder.display())))?,
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    paths.sort_by(|a, b| b.cmp(a));
    Ok(paths.iter().filter_map(|path| read(path).map_err(|failure| say(failure.message)).ok()).collect())
}

fn read(path: &Path) -> Result<Incident, Failure> {
    let failed = |error: String| Failure::failed(format!("{}: {error}", path.display()));
    // A crash may have cut a letter in half.
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    Incident::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| failed(error.to_string()))
}

/// One by its id; the last without.
pub fn find(context: &Context, name: &DeploymentName, id: Option<&str>) -> Result<Incident, Failure> {
    let all = all(context, name)?;
    let ids: Vec<String> = all.iter().map(|incident| incident.opening.id.clone()).collect();
    let found = match id {
        None => all.into_iter().next(),
        Some(id) => all.into_iter().find(|incident| incident.opening.id == id),
    };
    found.ok_or_else(|| {
        let message = match id {
            None => format!("no runbook was run on {name}: there is no incident"),
            Some(id) => {
                let near =
                    spec::yaml::closest(id, &ids).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                format!("{name} has no incident {id}{near}")
            }
        };
        Failure::usage(message).next("dsctl incident list")
    })
}
