//! Whom clients of a gateway may trust: the certificate of the deployment's authority, as its host tells it, kept where
//! `curl --cacert` finds it. So every operator who can read the deployment's status has it.

use std::path::PathBuf;

use spec::host::HostStatus;
use spec::layout::DeploymentLayout;

use crate::exit::Failure;

/// Keeps it beside the deployment and says where. None if clients need none: the gateway has no certificate, one of the
/// user's, or has not told of it yet.
pub fn keep_authority(layout: &DeploymentLayout, status: Option<&HostStatus>) -> Result<Option<PathBuf>, Failure> {
    let path = layout.certificate_authority();
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
    use spec::layout::HomeLayout;

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
        let layout = HomeLayout::new(folder.path()).deployment(&"default".parse().unwrap());
        let path = layout.certificate_authority();
        assert_eq!(keep_authority(&layout, None).unwrap(), None);
        for told in ["one", "two"] {
            assert_eq!(keep_authority(&layout, Some(&status(Some(told)))).unwrap().as_ref(), Some(&path));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), told);
        }
        assert_eq!(
            keep_authority(&layout, None).unwrap(),
            Some(path.clone()),
            "a host that is silent now told it before"
        );
        assert_eq!(keep_authority(&layout, Some(&status(None))).unwrap(), None);
        assert!(!path.exists());
    }
}
