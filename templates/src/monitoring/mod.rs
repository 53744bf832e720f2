//! Monitoring as files: what Prometheus, Alertmanager, node exporter and Grafana read on a host.
//!
//! ```text
//! MonitoringInputs -> prometheus/prometheus.yml, prometheus/rules/*.yaml   promtool check config
//!                  -> alertmanager/alertmanager.yml                        amtool check-config
//!                  -> grafana/provisioning/**, grafana/dashboards/*.json
//!                  -> node-exporter/default                                /etc/default/prometheus-node-exporter
//! ```
//!
//! Pure: the same inputs give the same files. No file holds a secret; where one is needed stands the path of its file.

pub mod alertmanager;
pub mod dashboards;
pub mod grafana;
pub mod prometheus;

use std::path::PathBuf;

use spec::amount::Usd;
use spec::monitoring::Receivers;
use spec::yaml::YamlError;

/// What is watched and who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoringInputs {
    pub targets: Vec<Target>,
    /// Where dsgate speaks TLS.
    pub gateway_tls: Option<GatewayTls>,
    pub budget_per_day: Usd,
    pub receivers: Receivers,
    /// Folder of the receivers' secrets, one file each, named by [`spec::monitoring::ReceiverKind::secret`].
    pub secrets: PathBuf,
    /// Folder that the files will lie in, as the host sees it.
    pub folder: PathBuf,
}

/// One endpoint with metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub job: Job,
    /// The machine's name: the label `host`, by which a host that is down silences what runs on it.
    pub host: String,
    /// `address:port`.
    pub address: String,
}

/// What a target is. The rules know jobs by these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    Dsgate,
    Dsserve,
    Agent,
    Node,
    Prometheus,
    Alertmanager,
}

impl Job {
    pub const ALL: [Self; 6] =
        [Self::Dsgate, Self::Dsserve, Self::Agent, Self::Node, Self::Prometheus, Self::Alertmanager];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dsgate => "dsgate",
            Self::Dsserve => "dsserve",
            Self::Agent => "agent",
            Self::Node => "node",
            Self::Prometheus => "prometheus",
            Self::Alertmanager => "alertmanager",
        }
    }
}

/// How the gateway's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayTls {
    pub ca_file: PathBuf,
    /// The certificate's name where the address is another.
    pub server_name: Option<String>,
}

/// One file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoringFile {
    /// Below [`MonitoringInputs::folder`].
    pub path: PathBuf,
    pub content: String,
}

/// All files, in the order of their paths' first mention above.
pub fn render(inputs: &MonitoringInputs) -> Result<Vec<MonitoringFile>, YamlError> {
    let mut files = vec![file("prometheus/prometheus.yml", prometheus::configuration(inputs)?)];
    files.extend(prometheus::rule_files(inputs.budget_per_day));
    files.push(file("alertmanager/alertmanager.yml", alertmanager::configuration(inputs)?));
    files.extend(grafana::files(inputs)?);
    files.push(file("node-exporter/default", prometheus::NODE_EXPORTER_DEFAULT.to_owned()));
    Ok(files)
}

/// For a monitoring of one's own: one host whose programs listen at the ports of a cloud's machine, on loopback, and nobody to
/// tell. To be completed by hand; `folder` is where it will lie.
pub fn starter(folder: PathBuf) -> Result<Vec<MonitoringFile>, YamlError> {
    const PORTS: [u16; 6] = [8081, 8082, 8084, 9100, 9090, 9093];
    let at = |(job, port)| Target { job, host: "main".to_owned(), address: format!("127.0.0.1:{port}") };
    render(&MonitoringInputs {
        targets: Job::ALL.into_iter().zip(PORTS).map(at).collect(),
        gateway_tls: None,
        budget_per_day: Usd::from_millionths(150_000_000),
        receivers: Receivers::default(),
        secrets: folder.join("secrets"),
        folder,
    })
}

fn file(path: &str, content: String) -> MonitoringFile {
    MonitoringFile { path: path.into(), content }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn target(job: Job, port: u16) -> Target {
        Target { job, host: "m1".to_owned(), address: format!("127.0.0.1:{port}") }
    }

    /// Everything that can be asked for.
    pub(crate) fn full() -> MonitoringInputs {
        let receivers = "
slack: {channel: '#on-call', key_env: SLACK}
pagerduty: {key_file: pagerduty.key}
email: {to: a@example.org, from: b@example.org, smarthost: 'smtp.example.org:587', username: u, key_env: P}
webhook: {url: 'https://example.org/alerts', key_env: T, severities: [page, ticket, none]}
";
        MonitoringInputs {
            targets: Job::ALL
                .into_iter()
                .zip([8080, 8081, 9101, 9100, 9090, 9093])
                .map(|(job, port)| target(job, port))
                .collect(),
            gateway_tls: Some(GatewayTls {
                ca_file: "/etc/dsctl/ca.pem".into(),
                server_name: Some("dsgate.example.org".to_owned()),
            }),
            budget_per_day: "12.5".parse().unwrap(),
            receivers: spec::yaml::parse(receivers, "receivers").unwrap(),
            secrets: "/etc/dsctl/secrets".into(),
            folder: "/etc/dsctl/monitoring".into(),
        }
    }

    /// The least: gateway and daemon, nobody to tell.
    pub(crate) fn plain() -> MonitoringInputs {
        MonitoringInputs {
            targets: vec![target(Job::Dsgate, 8080), target(Job::Dsserve, 8081)],
            gateway_tls: None,
            receivers: Receivers::default(),
            ..full()
        }
    }

    #[test]
    fn all_files_are_there_once_and_the_same_every_time() {
        let files = render(&full()).unwrap();
        let paths: Vec<&str> = files.iter().map(|file| file.path.to_str().unwrap()).collect();
        for wanted in [
            "prometheus/prometheus.yml",
            "prometheus/rules/slo.yaml",
            "alertmanager/alertmanager.yml",
            "grafana/provisioning/datasources/dsctl.yaml",
            "grafana/provisioning/dashboards/dsctl.yaml",
            "grafana/dashboards/dsctl-cost.json",
            "node-exporter/default",
        ] {
            assert_eq!(paths.iter().filter(|path| **path == wanted).count(), 1, "{wanted}: {paths:?}");
        }
        assert_eq!(render(&full()).unwrap(), files);
    }
}
