//! Programs of this machine that watch a deployment on it, where they are installed: Prometheus, Alertmanager, node exporter.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use spec::host::Arg;
use spec::host_monitoring::{ALERTMANAGER_UNIT, NODE_EXPORTER_UNIT, PROMETHEUS_UNIT};
use spec::monitoring::{Monitoring, Part};

/// How long measurements are kept.
const RETENTION: &str = "15d";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watcher {
    pub unit: &'static str,
    pub program: PathBuf,
    /// On loopback.
    pub listen: SocketAddr,
}

impl Watcher {
    /// Its command line; it reads what the agent renders.
    pub fn args(&self) -> Vec<Arg> {
        let text = |word: &str| Arg::Text(word.to_owned());
        let listen = text(&format!("--web.listen-address={}", self.listen));
        let file = |path: &str| [text("--config.file"), Arg::Monitoring(path.to_owned())];
        let (own, data) = match self.unit {
            PROMETHEUS_UNIT => (file("prometheus/prometheus.yml").to_vec(), Some("--storage.tsdb.path")),
            ALERTMANAGER_UNIT => (file("alertmanager/alertmanager.yml").to_vec(), Some("--storage.path")),
            _ => (Vec::new(), None),
        };
        let more = match self.unit {
            PROMETHEUS_UNIT => vec![text(&format!("--storage.tsdb.retention.time={RETENTION}"))],
            // One alone needs no others to agree with.
            ALERTMANAGER_UNIT => vec![text("--cluster.listen-address=")],
            _ => Vec::new(),
        };
        let data = data.into_iter().flat_map(|flag| [text(flag), Arg::DataFolder]);
        [listen].into_iter().chain(own).chain(data).chain(more).collect()
    }

    pub fn ready_url(&self) -> String {
        let path = if self.unit == NODE_EXPORTER_UNIT { "" } else { "-/ready" };
        format!("http://{}/{path}", self.listen)
    }
}

/// Those that are wished for and installed, by unit; without Prometheus none, since nobody would read them.
pub fn installed(wanted: &Monitoring) -> Vec<(&'static str, PathBuf)> {
    let folders: Vec<PathBuf> = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    installed_in(&folders, wanted)
}

fn installed_in(folders: &[PathBuf], wanted: &Monitoring) -> Vec<(&'static str, PathBuf)> {
    // As Debian calls them, and as their makers do.
    let programs: [(&str, Part, &[&str]); 3] = [
        (PROMETHEUS_UNIT, wanted.prometheus, &["prometheus"]),
        (ALERTMANAGER_UNIT, wanted.alertmanager, &["prometheus-alertmanager", "alertmanager"]),
        (NODE_EXPORTER_UNIT, wanted.node_exporter, &["prometheus-node-exporter", "node_exporter"]),
    ];
    let wished = programs.into_iter().filter(|(_, part, _)| *part == Part::Enabled);
    let found: Vec<_> = wished.filter_map(|(unit, _, names)| Some((unit, find(folders, names)?))).collect();
    if found.iter().any(|(unit, _)| *unit == PROMETHEUS_UNIT) { found } else { Vec::new() }
}

fn find(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let places = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.into_iter().find(|path| path.is_absolute() && is_program(path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use spec::monitoring::MonitoringWish;

    use super::*;

    fn folder(programs: &[(&str, u32)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in programs {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        folder
    }

    fn units(folder: &tempfile::TempDir, wanted: &Monitoring) -> Vec<&'static str> {
        installed_in(&[folder.path().to_owned()], wanted).into_iter().map(|(unit, _)| unit).collect()
    }

    #[test]
    fn what_is_installed_and_wished_for_watches() {
        let all = MonitoringWish::default().resolve().unwrap();
        let whole = folder(&[("prometheus", 0o755), ("alertmanager", 0o755), ("prometheus-node-exporter", 0o755)]);
        assert_eq!(units(&whole, &all), [PROMETHEUS_UNIT, ALERTMANAGER_UNIT, NODE_EXPORTER_UNIT]);
        let none = MonitoringWish { prometheus: Some(Part::None), ..MonitoringWish::default() }.resolve().unwrap();
        assert_eq!(units(&whole, &none), [] as [&str; 0]);
        let alone = folder(&[("prometheus", 0o755), ("alertmanager", 0o644)]);
        assert_eq!(units(&alone, &all), [PROMETHEUS_UNIT], "the other can't be run");
        assert_eq!(units(&folder(&[("alertmanager", 0o755)]), &all), [] as [&str; 0], "nothing would tell it anything");
    }
}
