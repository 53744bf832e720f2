//! The audit log of a deployment that goes. It outlives the deployment, with the key that it is checked with.
//!
//! ```text
//! begin: key and log into audit/.NAME (the gateway writes on into the files that it has open) -> everything goes -> finish: NAME-TIME
//!                                                                                            -> failed: back
//! ```
//! Cut off in between, it lies in `audit/.NAME` until the next `down`.

use std::fs;
use std::path::{Path, PathBuf};

use engine::store::{create_private_folder, write_durably};
use providers::host_plan::GATEWAY_UNIT;
use spec::audit::{AUDIT_FOLDER, AUDIT_KEY};
use spec::id::{DeploymentName, SecretName, UnitName};

use crate::context::Context;
use crate::exit::Failure;

const LOG: &str = "log";

#[derive(Debug)]
pub struct KeptAudit {
    log: PathBuf,
    aside: PathBuf,
    end: PathBuf,
}

/// None where there is nothing to keep. What the gateway can't record from then on it refuses, as its policy says.
pub fn begin(context: &Context, name: &DeploymentName) -> Result<Option<KeptAudit>, Failure> {
    let layout = context.home.deployment(name);
    let gateway: UnitName = GATEWAY_UNIT.parse().map_err(Failure::failed)?;
    let secret: SecretName = AUDIT_KEY.parse().map_err(Failure::failed)?;
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ");
    let logs = context.home.audit_logs();
    let kept = KeptAudit {
        log: layout.host().data(&gateway).join(AUDIT_FOLDER),
        aside: logs.join(format!(".{name}")),
        end: logs.join(format!("{name}-{now}")),
    };
    kept.end_earlier(&logs.join(format!("{name}-{now}-earlier")))?;
    if !has_records(&kept.log)? {
        return Ok(None);
    }
    let key = layout.bucket().secret(&secret);
    match fs::read(&key) {
        Ok(bytes) => write_durably(&kept.aside.join(AUDIT_KEY), &bytes).map_err(|error| failed(&kept.aside, &error))?,
        // Taken away by somebody: the log is worth keeping all the same.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            create_private_folder(&kept.aside).map_err(|error| failed(&kept.aside, &error))?;
        }
        Err(error) => return Err(failed(&key, &error)),
    }
    fs::rename(&kept.log, kept.aside.join(LOG)).map_err(|error| failed(&kept.log, &error))?;
    Ok(Some(kept))
}

fn has_records(folder: &Path) -> Result<bool, Failure> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(folder, &error)),
        Ok(entries) => {
            Ok(entries.flatten().any(|entry| entry.metadata().is_ok_and(|file| file.is_file() && file.len() > 0)))
        }
    }
}

impl KeptAudit {
    /// What a `down` that was cut off has left aside.
    fn end_earlier(&self, end: &Path) -> Result<(), Failure> {
        if self.aside.join(LOG).is_dir() {
            fs::rename(&self.aside, end).map_err(|error| failed(&self.aside, &error))?;
        }
        Ok(())
    }

    /// Once everything else is gone. How to read it, for the person.
    pub fn finish(&self) -> Result<String, Failure> {
        fs::rename(&self.aside, &self.end).map_err(|error| failed(&self.aside, &error))?;
        let (log, key) = (self.end.join(LOG), self.end.join(AUDIT_KEY));
        Ok(format!(
            "Note: the audit log is kept: dsctl audit verify --folder {} --key-file {}",
            log.display(),
            key.display()
        ))
    }

    /// The deployment stays, and so does its log.
    pub fn put_back(&self) -> Result<(), Failure> {
        fs::rename(self.aside.join(LOG), &self.log).map_err(|error| failed(&self.log, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}
