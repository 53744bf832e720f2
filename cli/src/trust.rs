//! Whom clients of a gateway may trust: the certificate of the deployment's authority, as its host tells it, kept where
//! `curl --cacert` finds it. So every operator who can read the deployment's status has it.

use std::path::PathBuf;

use spec::host::HostStatus;
use spec::id::DeploymentName;
use spec::layout::HomeLayout;

use crate::exit::Failure;

/// Where it is kept: beside the deployment, or apart for one that somebody else of the team made, since whatever has a
/// folder here counts as made here.
pub fn place(home: &HomeLayout, name: &DeploymentName) -> PathBuf {
    let deployment = home.deployment(name);
    if deployment.root().is_dir() { deployment.certificate_authority() } else { home.trusted(name) }
}

/// Keeps it and says where. None if clients need none: the gateway has no certificate, one of the
/// user's, or has not told of it yet.
pub fn keep_authority(path: PathBuf, status: Option<&HostStatus>) -> Result<Option<PathBuf>, Failure> {
    let Some(status) = status else { return Ok(path.is_file().then_some(path)) };
    let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
    match &status.certificate_authority {
        Some(told) => {
            if std::fs::read(&path).ok().as_deref() != Some(told.as_bytes()) {
                engine::store::write_durably(&path, told.as_bytes()).map_err(failed)?;
            }
            Ok(Some(path))
        }
        None => match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(authority: Option<&str>) -> HostStatus {
        serde_json::from_value(serde_json::json!({
            "deployment": "default", "host": "main", "generation": 1, "written_at": "2026-11-27T00:00:00Z",
            "agent": {"pid": 1, "version": "", "started_at": "2026-11-27T00:00:00Z"},
            "phases": [], "weights": [], "units": [], "ready_since": null, "outcomes": [],
            "certificate_authority": authority,
        }))
        .unwrap()
    }

    #[test]
    fn it_is_kept_as_the_host_told_it_last() {
        let folder = tempfile::tempdir().unwrap();
        let (home, name) = (HomeLayout::new(folder.path()), "default".parse().unwrap());
        let path = place(&home, &name);
        let keep = |status: Option<&HostStatus>| keep_authority(path.clone(), status).unwrap();
        assert_eq!(keep(None), None);
        for told in ["one", "two"] {
            assert_eq!(keep(Some(&status(Some(told)))).as_ref(), Some(&path));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), told);
        }
        assert_eq!(keep(None), Some(path.clone()), "a host that is silent now told it before");
        assert!(!home.deployment(&name).root().exists(), "it was not made here");
        assert_eq!(keep(Some(&status(None))), None);
        assert!(!path.exists());
        std::fs::create_dir_all(home.deployment(&name).root()).unwrap();
        assert_eq!(place(&home, &name), home.deployment(&name).certificate_authority());
    }
}
