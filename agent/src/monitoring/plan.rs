//! What the host's monitoring consists of. Pure.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use sha2::{Digest, Sha256};
use spec::host_monitoring::HostMonitoring;
use spec::monitoring::{Monitoring, PackageRepository, Part};
use templates::monitoring::{Job, MonitoringFile, MonitoringInputs, Target, render};

use super::receivers::{Keys, with_keys};

/// The configuration's folder; readable by the services, but for what is private.
pub(super) const FOLDER: &str = "/etc/dsctl/monitoring";
/// Below it.
pub(super) const ALERTMANAGER_FILE: &str = "alertmanager/alertmanager.yml";
const PROMETHEUS_PORT: u16 = 9090;
const ALERTMANAGER_PORT: u16 = 9093;
const NODE_EXPORTER_PORT: u16 = 9100;
const GRAFANA_PORT: u16 = 3000;
/// How long measurements are kept.
const RETENTION: &str = "30d";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub files: Vec<MonitoringFile>,
    /// With keys in them: for the services' own user alone.
    pub private: Vec<MonitoringFile>,
    pub services: Vec<Service>,
}

/// A service that a package brings, run with our configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// Of systemd, without its ending.
    pub name: &'static str,
    pub package: &'static str,
    pub origin: Origin,
    pub settings: Settings,
    /// Where it answers on loopback once it runs.
    pub port: u16,
    /// Whether it shall run; if not, what we made of it goes.
    pub is_wanted: bool,
    /// Beginning of the paths below [`FOLDER`] whose change asks for a restart.
    pub files: &'static str,
}

/// Where its package is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Distribution,
    /// A repository beside it.
    Beside(PackageRepository),
}

/// How it is told what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settings {
    /// In place of its unit's own command.
    Command { program: &'static str, args: Vec<String> },
    /// Beside its unit's own.
    Environment(Vec<(&'static str, String)>),
}

pub(super) fn plan(wanted: &HostMonitoring, host: &str, keys: &Keys) -> Result<Plan, String> {
    let inputs = inputs(wanted, host, services_at(&wanted.wanted), Path::new(FOLDER));
    let files = render(&inputs).map_err(|error| format!("rendering the configuration: {error}"))?;
    let has_keys = |file: &MonitoringFile| !keys.is_empty() && file.path == Path::new(ALERTMANAGER_FILE);
    let (mut private, files): (Vec<_>, Vec<_>) = files.into_iter().partition(has_keys);
    for file in &mut private {
        file.content = with_keys(&file.content, keys)?;
    }
    Ok(Plan { files, private, services: services(&wanted.wanted) })
}

/// Where services of the distribution listen, those that shall run.
fn services_at(wanted: &Monitoring) -> Vec<(Job, SocketAddr)> {
    let own = [
        (Job::Node, NODE_EXPORTER_PORT, wanted.node_exporter),
        (Job::Prometheus, PROMETHEUS_PORT, wanted.prometheus),
        (Job::Alertmanager, ALERTMANAGER_PORT, wanted.alertmanager),
    ];
    let own = own.into_iter().filter(|(.., part)| *part == Part::Enabled);
    own.map(|(job, port, _)| (job, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))).collect()
}

/// What the configuration is made of; `own` is what watches, and where it listens.
pub(super) fn inputs(
    monitoring: &HostMonitoring,
    host: &str,
    own: Vec<(Job, SocketAddr)>,
    folder: &Path,
) -> MonitoringInputs {
    let HostMonitoring { wanted, gateway, daemons, agent, receiver_keys: _ } = monitoring;
    let daemons = daemons.iter().map(|daemon| (Job::Dsserve, daemon.listen));
    let all = [(Job::Dsgate, *gateway), (Job::Agent, *agent)].into_iter().chain(daemons).chain(own);
    MonitoringInputs {
        targets: all
            .map(|(job, address)| Target { job, host: host.to_owned(), address: address.to_string() })
            .collect(),
        // By the gateway's loopback address, where it encrypts nothing.
        gateway_tls: None,
        budget_per_day: wanted.budget_per_day,
        receivers: wanted.receivers.clone(),
        secrets: folder.join("secrets"),
        folder: folder.to_owned(),
    }
}

fn services(wanted: &Monitoring) -> Vec<Service> {
    let mut services = of_the_distribution(wanted);
    services.push(grafana(wanted));
    services
}

/// It shows what anybody on the machine may read anyway, and changes nothing: there is no user, and so no password.
fn grafana(wanted: &Monitoring) -> Service {
    let off = || "false".to_owned();
    let on = || "true".to_owned();
    let settings = vec![
        ("GF_SERVER_HTTP_ADDR", Ipv4Addr::LOCALHOST.to_string()),
        ("GF_SERVER_HTTP_PORT", GRAFANA_PORT.to_string()),
        ("GF_PATHS_PROVISIONING", format!("{FOLDER}/grafana/provisioning")),
        ("GF_AUTH_ANONYMOUS_ENABLED", on()),
        ("GF_AUTH_ANONYMOUS_ORG_ROLE", "Viewer".to_owned()),
        ("GF_AUTH_BASIC_ENABLED", off()),
        ("GF_AUTH_DISABLE_LOGIN_FORM", on()),
        ("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION", on()),
        ("GF_USERS_ALLOW_SIGN_UP", off()),
        // Nothing leaves the machine.
        ("GF_ANALYTICS_REPORTING_ENABLED", off()),
        ("GF_ANALYTICS_CHECK_FOR_UPDATES", off()),
        ("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", off()),
        ("GF_NEWS_NEWS_FEED_ENABLED", off()),
        ("GF_SECURITY_DISABLE_GRAVATAR", on()),
        ("GF_PLUGINS_PREINSTALL_DISABLED", on()),
    ];
    let repository = wanted.grafana_repository.clone().unwrap_or_else(PackageRepository::of_grafana_labs);
    Service {
        name: "grafana-server",
        package: "grafana",
        origin: Origin::Beside(repository),
        settings: Settings::Environment(settings),
        port: GRAFANA_PORT,
        is_wanted: wanted.grafana == Part::Enabled,
        // Dashboards it reads again by itself.
        files: "grafana/provisioning",
    }
}

fn of_the_distribution(wanted: &Monitoring) -> Vec<Service> {
    let listen = |port: u16| format!("--web.listen-address=127.0.0.1:{port}");
    let prometheus = vec![
        format!("--config.file={FOLDER}/prometheus/prometheus.yml"),
        listen(PROMETHEUS_PORT),
        "--storage.tsdb.path=/var/lib/prometheus/metrics2".to_owned(),
        format!("--storage.tsdb.retention.time={RETENTION}"),
    ];
    let alertmanager = vec![
        format!("--config.file={FOLDER}/{ALERTMANAGER_FILE}"),
        listen(ALERTMANAGER_PORT),
        "--storage.path=/var/lib/prometheus/alertmanager".to_owned(),
        // One alone needs no others to agree with.
        "--cluster.listen-address=".to_owned(),
    ];
    let exporter = vec![
        listen(NODE_EXPORTER_PORT),
        "--collector.systemd".to_owned(),
        "--collector.systemd.enable-restarts-metrics".to_owned(),
    ];
    let service = |name, program, args, (part, port), files| Service {
        name,
        package: name,
        origin: Origin::Distribution,
        settings: Settings::Command { program, args },
        port,
        is_wanted: part == Part::Enabled,
        files,
    };
    vec![
        service(
            "prometheus-node-exporter",
            "/usr/bin/prometheus-node-exporter",
            exporter,
            (wanted.node_exporter, NODE_EXPORTER_PORT),
            "node-exporter",
        ),
        service(
            "prometheus-alertmanager",
            "/usr/bin/prometheus-alertmanager",
            alertmanager,
            (wanted.alertmanager, ALERTMANAGER_PORT),
            "alertmanager",
        ),
        service("prometheus", "/usr/bin/prometheus", prometheus, (wanted.prometheus, PROMETHEUS_PORT), "prometheus"),
    ]
}

impl Plan {
    /// Of all that a service reads when it starts.
    pub fn fingerprint(&self, service: &Service) -> String {
        let files = self.files.iter().chain(&self.private).filter(|file| service.reads(&file.path));
        let read: Vec<(&Path, &str)> = files.map(|file| (file.path.as_path(), file.content.as_str())).collect();
        hex::encode(Sha256::digest(format!("{}{read:?}", service.drop_in())))
    }
}

impl Service {
    pub fn reads(&self, path: &Path) -> bool {
        path.starts_with(self.files)
    }

    /// Over the package's own unit.
    pub fn drop_in(&self) -> String {
        let settings = match &self.settings {
            Settings::Command { program, args } => {
                format!("ExecStart=\nExecStart={program} {}\n", args.join(" ").replace('%', "%%"))
            }
            Settings::Environment(all) => all
                .iter()
                .map(|(name, value)| format!("Environment=\"{name}={}\"\n", value.replace('%', "%%")))
                .collect(),
        };
        format!(
            "# Made by dsctl's agent.\n[Service]\n{settings}Restart=always\nRestartSec=5\n\
             NoNewPrivileges=yes\nProtectSystem=full\nProtectHome=yes\nPrivateTmp=yes\n"
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub fn wanted() -> Value {
        json!({"wanted": {"prometheus": "enabled", "node_exporter": "enabled", "alertmanager": "enabled", "grafana": "none",
                          "budget_per_day": 150},
            "gateway": "127.0.0.1:8081", "agent": "127.0.0.1:8084",
            "daemons": [{"unit": "dsserve", "listen": "127.0.0.1:8082"}]})
    }

    fn monitoring() -> HostMonitoring {
        serde_json::from_value(wanted()).unwrap()
    }

    fn content<'a>(plan: &'a Plan, path: &str) -> &'a str {
        &plan.files.iter().find(|file| file.path == Path::new(path)).unwrap().content
    }

    #[test]
    fn everything_on_the_host_is_read_from_loopback_under_the_hosts_name() {
        let plan = plan(&monitoring(), "main", &Keys::new()).unwrap();
        let text = content(&plan, "prometheus/prometheus.yml");
        for address in ["8081", "8082", "8084", "9090", "9093", "9100"] {
            assert!(text.contains(&format!("127.0.0.1:{address}")), "{address} in\n{text}");
        }
        assert!(text.contains("host: main"), "{text}");
        let wanted: Vec<&Service> = plan.services.iter().filter(|service| service.is_wanted).collect();
        assert_eq!(wanted.len(), 3);
        assert!(wanted.iter().all(|service| service.drop_in().contains("--web.listen-address=127.0.0.1:")));
    }

    #[test]
    fn what_is_switched_off_is_neither_run_nor_read() {
        let mut monitoring = monitoring();
        monitoring.wanted.alertmanager = Part::None;
        monitoring.wanted.node_exporter = Part::ScrapeOnly;
        let plan = plan(&monitoring, "main", &Keys::new()).unwrap();
        let wanted: Vec<&str> = plan.services.iter().filter(|it| it.is_wanted).map(|it| it.name).collect();
        assert_eq!(wanted, ["prometheus"]);
        assert!(!content(&plan, "prometheus/prometheus.yml").contains("9093"));
    }

    #[test]
    fn a_configuration_with_keys_is_private_and_the_only_one_that_holds_them() {
        let mut monitoring = monitoring();
        let slack = json!({"channel": "#c", "key_env": "K", "severities": ["page"]});
        monitoring.wanted.receivers = serde_json::from_value(json!({"slack": slack})).unwrap();
        let keys = [("alerts-slack-url".to_owned(), "https://hooks.example.org/T0".to_owned())].into();
        let plan = plan(&monitoring, "main", &keys).unwrap();
        let paths: Vec<&Path> = plan.private.iter().map(|file| file.path.as_path()).collect();
        assert_eq!(paths, [Path::new("alertmanager/alertmanager.yml")]);
        assert!(plan.private[0].content.contains("hooks.example.org"));
        assert!(plan.files.iter().all(|file| !file.content.contains("hooks.example.org")));
        assert!(plan.files.iter().all(|file| file.path != plan.private[0].path));
    }

    #[test]
    fn grafana_listens_on_loopback_knows_no_user_and_is_from_its_own_repository() {
        let mut monitoring = monitoring();
        assert!(!plan(&monitoring, "main", &Keys::new()).unwrap().services[3].is_wanted);
        monitoring.wanted.grafana = Part::Enabled;
        let plan = plan(&monitoring, "main", &Keys::new()).unwrap();
        let grafana = &plan.services[3];
        assert!(grafana.is_wanted && grafana.origin == Origin::Beside(PackageRepository::of_grafana_labs()));
        let text = grafana.drop_in();
        for line in [
            "GF_SERVER_HTTP_ADDR=127.0.0.1",
            "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION=true",
            "GF_PATHS_PROVISIONING=/etc/dsctl/monitoring/grafana/provisioning",
        ] {
            assert!(text.contains(&format!("\nEnvironment=\"{line}\"\n")), "{line} in\n{text}");
        }
        assert!(!text.contains("ExecStart"), "{text}");
    }

    #[test]
    fn a_service_starts_anew_for_what_it_reads_and_for_nothing_else() {
        let (before, mut after) = (monitoring(), monitoring());
        after.wanted.budget_per_day = "7".parse().unwrap();
        let [before, after] = [before, after].map(|it| plan(&it, "main", &Keys::new()).unwrap());
        let changed = before
            .services
            .iter()
            .zip(&after.services)
            .filter(|(old, new)| before.fingerprint(old) != after.fingerprint(new));
        assert_eq!(changed.map(|(service, _)| service.name).collect::<Vec<_>>(), ["prometheus"]);
    }

    #[test]
    fn a_drop_in_replaces_the_command_of_the_distribution() {
        let plan = plan(&monitoring(), "main", &Keys::new()).unwrap();
        let text = plan.services[2].drop_in();
        assert!(
            text.contains("ExecStart=\nExecStart=/usr/bin/prometheus --config.file=/etc/dsctl/monitoring/"),
            "{text}"
        );
    }
}
