//! What watches a deployment on somebody's own machine: programs that are installed there, run as units like any other. Here their
//! configuration is written; nothing is installed, and nothing of the machine's own is touched.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use engine::store::{create_private_folder, write_durably};
use spec::host::{HostSpec, Phase};
use spec::host_monitoring::HostMonitoring;
use templates::monitoring::{Job, MonitoringFile, render};

use super::plan::{ALERTMANAGER_FILE, inputs};
use super::receivers::{keys, with_keys};
use crate::converge::PhaseNow;
use crate::site::Site;

#[derive(Debug, Default)]
pub(crate) struct LocalMonitoring {
    /// Of the host spec that it was written for.
    done: Option<u64>,
    failure: Option<String>,
}

impl LocalMonitoring {
    /// Once a host spec; tried again at each tick while it fails.
    pub fn converge(&mut self, site: &Site, spec: &HostSpec) {
        let Some(wanted) = &spec.monitoring else { return };
        if self.done == Some(spec.generation) {
            return;
        }
        match write(site, spec, wanted) {
            Ok(()) => {
                self.done = Some(spec.generation);
                self.failure = None;
            }
            Err(message) if self.failure.as_ref() != Some(&message) => {
                tracing::error!(message, "what watches the deployment has no configuration");
                self.failure = Some(message);
            }
            Err(_) => {}
        }
    }

    pub fn is_rendered(&self, spec: &HostSpec) -> bool {
        self.done == Some(spec.generation)
    }

    pub fn phase(&self) -> Option<PhaseNow> {
        let message = self.failure.clone()?;
        Some(PhaseNow::failed(Phase::Monitoring, message, Vec::new(), "dsctl up; the endpoint serves without it"))
    }
}

fn write(site: &Site, spec: &HostSpec, wanted: &HostMonitoring) -> Result<(), String> {
    let folder = site.host.monitoring();
    let keys = keys(site, wanted)?;
    let rendered = render(&inputs(wanted, site.name.as_str(), watchers(spec), &folder));
    for mut file in rendered.map_err(|error| format!("rendering the configuration: {error}"))? {
        if file.path == Path::new(ALERTMANAGER_FILE) {
            file.content = with_keys(&file.content, &keys)?;
        }
        keep(&folder, &file).map_err(|error| format!("{}: {error}", file.path.display()))?;
    }
    Ok(())
}

/// For its owner alone, since keys may stand in it.
fn keep(folder: &Path, file: &MonitoringFile) -> std::io::Result<()> {
    let path = folder.join(&file.path);
    create_private_folder(path.parent().unwrap_or(folder))?;
    write_durably(&path, file.content.as_bytes())
}

/// Units that watch, and where each listens.
fn watchers(spec: &HostSpec) -> Vec<(Job, SocketAddr)> {
    let units = spec.units.iter().filter(|unit| unit.phase == Phase::Monitoring);
    let at = |job: Job| {
        let unit = units.clone().find(|unit| unit.name.as_str() == unit_of(job))?;
        Some((job, SocketAddr::from((Ipv4Addr::LOCALHOST, *unit.ports.first()?))))
    };
    [Job::Node, Job::Prometheus, Job::Alertmanager].into_iter().filter_map(at).collect()
}

fn unit_of(job: Job) -> &'static str {
    match job {
        Job::Node => spec::host_monitoring::NODE_EXPORTER_UNIT,
        Job::Prometheus => spec::host_monitoring::PROMETHEUS_UNIT,
        Job::Alertmanager => spec::host_monitoring::ALERTMANAGER_UNIT,
        Job::Dsgate | Job::Dsserve | Job::Agent => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spec::layout::HomeLayout;

    use super::super::plan;
    use super::*;

    fn host(units: serde_json::Value) -> HostSpec {
        let host = json!({"deployment": "demo", "host": "local", "generation": 3, "run": "running",
            "weights": [], "files": [], "units": units, "first_token": [], "monitoring": plan::tests::wanted()});
        serde_json::from_value(host).unwrap()
    }

    fn unit(name: &str, port: u16) -> serde_json::Value {
        json!({"name": name, "program": {"installed": "/usr/bin/x"}, "args": [], "ports": [port],
            "ready_url": "http://127.0.0.1:1/", "stop_grace": "1s", "phase": "monitoring"})
    }

    #[test]
    fn the_configuration_names_what_runs_here_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::new(&HomeLayout::new(folder.path()), &"demo".parse().unwrap(), &"local".parse().unwrap());
        let spec = host(json!([unit("prometheus", 45001), unit("alertmanager", 45002)]));
        let mut work = LocalMonitoring::default();
        assert!(!work.is_rendered(&spec));
        work.converge(&site, &spec);
        assert!(work.is_rendered(&spec) && work.phase().is_none());
        let text = std::fs::read_to_string(site.host.monitoring().join("prometheus/prometheus.yml")).unwrap();
        assert!(text.contains("127.0.0.1:45001") && text.contains("127.0.0.1:45002"), "{text}");
        assert!(!text.contains(":9090") && !text.contains("job_name: node"), "{text}");
        assert!(site.host.monitoring().join("prometheus/rules/rules.yaml").is_file());
        let later = HostSpec { generation: 4, ..spec };
        assert!(!work.is_rendered(&later), "it may say something else");
    }
}
