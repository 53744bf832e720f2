//! What stands in the way of a unit's start, looked at before each one: binary, folder, ports.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use engine::store::create_private_folder;
use spec::host::{ArtifactSpec, Phase, Program, UnitSpec};

use crate::ports::{holder_of, is_free, next_free};
use crate::site::Site;
use crate::weights::digest_of;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub message: String,
    /// The next command to run.
    pub next: String,
}

impl Obstacle {
    pub fn new(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { message: message.into(), next: next.into() }
    }
}

/// Binaries whose digest was found right, with the time of their last change.
#[derive(Debug, Clone, Default)]
pub(crate) struct VerifiedArtifacts {
    verified: HashMap<PathBuf, SystemTime>,
}

/// None if nothing stands in the way.
pub(crate) async fn find_obstacle(site: &Site, unit: &UnitSpec, verified: &mut VerifiedArtifacts) -> Option<Obstacle> {
    let checked = match &unit.program {
        Program::Artifact(artifact) => check_artifact(site, artifact, verified).await,
        Program::Installed(path) if path.is_file() => Ok(()),
        Program::Installed(path) => {
            Err(Obstacle::new(format!("{} is not installed any more", path.display()), "dsctl up"))
        }
    };
    if let Err(obstacle) = checked {
        return Some(obstacle);
    }
    let data = site.host.data(&unit.name);
    if let Err(error) = create_private_folder(&data) {
        return Some(Obstacle::new(format!("unit {}: making {}: {error}", unit.name, data.display()), "dsctl up"));
    }
    unit.ports.iter().find(|port| !is_free(**port)).map(|port| busy(unit, *port))
}

fn busy(unit: &UnitSpec, port: u16) -> Obstacle {
    let holder = match holder_of(port) {
        Some(holder) => format!("{} (pid {})", holder.name, holder.pid),
        None => "an unknown process".to_owned(),
    };
    let next = match (unit.phase, next_free(port)) {
        (Phase::Gateway, Some(free)) => format!("dsctl up --port {free}"),
        _ => "end that process; the agent then goes on by itself, or: dsctl up".to_owned(),
    };
    Obstacle::new(format!("port {port} on 127.0.0.1 is in use by {holder}"), next)
}

async fn check_artifact(
    site: &Site,
    artifact: &ArtifactSpec,
    verified: &mut VerifiedArtifacts,
) -> Result<(), Obstacle> {
    let path = site.home.artifact(&artifact.sha256, &artifact.name);
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    let modified = modified.map_err(|error| {
        Obstacle::new(format!("artifact {} is missing at {}: {error}", artifact.name, path.display()), "dsctl up")
    })?;
    if verified.verified.get(&path) == Some(&modified) {
        return Ok(());
    }
    let found = digest(&path).await.map_err(|message| Obstacle::new(message, "dsctl up"))?;
    if found != artifact.sha256.as_str() {
        let message = format!("artifact {} at {} has digest {found}, not its own", artifact.name, path.display());
        return Err(Obstacle::new(message, "remove it, then: dsctl up"));
    }
    verified.verified.insert(path, modified);
    Ok(())
}

async fn digest(path: &Path) -> Result<String, String> {
    let path = path.to_owned();
    match tokio::task::spawn_blocking(move || digest_of(&path, &mut |_| Ok(()))).await {
        Ok(Ok(digest)) => Ok(digest.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
