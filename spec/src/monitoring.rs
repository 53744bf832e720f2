//! What watches a deployment, and who hears of it: the section `monitoring` of `dsctl.yaml`.
//!
//! ```yaml
//! monitoring:
//!   prometheus: enabled        # enabled, scrape-only (one of yours reads the endpoints), none
//!   node_exporter: enabled     # the same
//!   alertmanager: enabled      # enabled, none
//!   grafana: none              # enabled, none
//!   grafana_repository: {url: https://apt.grafana.com, fingerprint: B53A…8545}  # or a mirror of yours; its key is at URL/gpg.key
//!   budget_per_day: 150        # US dollars; an alert says when serving costs more
//!   receivers:                 # secrets come from an environment variable (key_env) or a file (key_file), never inline
//!     slack: {channel: "#on-call", key_env: SLACK_WEBHOOK_URL}
//!     pagerduty: {key_file: pagerduty.key}
//!     email: {to: on-call@example.org, from: dsctl@example.org, smarthost: smtp.example.org:587, username: dsctl, key_env: SMTP_PASSWORD}
//!     webhook: {url: https://example.org/alerts, key_env: WEBHOOK_TOKEN, severities: [page, ticket, none]}
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::amount::Usd;
use crate::resolved::KeySource;

/// The section as it was written; [`MonitoringWish::resolve`] is the complete form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitoringWish {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_exporter: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grafana: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grafana_repository: Option<PackageRepository>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_per_day: Option<Usd>,
    #[serde(skip_serializing_if = "Receivers::is_empty")]
    pub receivers: Receivers,
}

/// How much of one program there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Installed and configured by us.
    Enabled,
    /// Its endpoints are there to be read; what reads them is the user's.
    ScrapeOnly,
    None,
}

/// Packages that the distribution does not have. What its index is signed with is pinned: the key itself is fetched from
/// `URL/gpg.key`, and another one than that of the fingerprint signs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageRepository {
    /// Of the suite `stable`, component `main`.
    pub url: String,
    /// Of the OpenPGP key, in 40 hexadecimal digits.
    pub fingerprint: String,
}

impl PackageRepository {
    /// Grafana Labs' own, and the key that they say signs it.
    pub fn of_grafana_labs() -> Self {
        Self {
            url: "https://apt.grafana.com".to_owned(),
            fingerprint: "B53AE77BADB630A683046005963FA27710458545".to_owned(),
        }
    }
}

/// Who is told. Each is told of some severities: see `severities` of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receivers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pagerduty: Option<PagerDuty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// How bad an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Users are hurt now.
    Page,
    /// Look at it today.
    Ticket,
    /// Only the Watchdog, which always fires: for whoever notices that it stops.
    None,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Page, Self::Ticket, Self::None];

    /// The value of the label `severity`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The key is the URL of an incoming webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    pub channel: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    #[serde(default = "page_and_ticket")]
    pub severities: Vec<Severity>,
}

/// The key is the integration key of a service (Events API v2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDuty {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    #[serde(default = "page")]
    pub severities: Vec<Severity>,
}

/// The key is the user's password at the mail server; without a user name none is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    pub to: String,
    pub from: String,
    /// `host:port`; TLS is demanded of it.
    pub smarthost: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    #[serde(default = "page_and_ticket")]
    pub severities: Vec<Severity>,
}

/// The key is sent as a bearer token; it may be left out. The URL itself is no place for a secret: it is written in the open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    #[serde(default = "page_and_ticket")]
    pub severities: Vec<Severity>,
}

fn page() -> Vec<Severity> {
    vec![Severity::Page]
}

fn page_and_ticket() -> Vec<Severity> {
    vec![Severity::Page, Severity::Ticket]
}

/// What all receivers have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver<'a> {
    pub kind: ReceiverKind,
    pub severities: &'a [Severity],
    pub key_env: Option<&'a str>,
    pub key_file: Option<&'a Path>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverKind {
    Slack,
    PagerDuty,
    Email,
    Webhook,
}

impl Receiver<'_> {
    /// Where its key is read from at `up`.
    pub fn key_source(&self) -> KeySource {
        match (self.key_env, self.key_file) {
            (Some(name), _) => KeySource::Environment(name.to_owned()),
            (None, Some(path)) => KeySource::File(path.to_owned()),
            (None, None) => KeySource::None,
        }
    }
}

impl ReceiverKind {
    pub const ALL: [Self; 4] = [Self::Slack, Self::PagerDuty, Self::Email, Self::Webhook];

    /// The key in the section `receivers`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::PagerDuty => "pagerduty",
            Self::Email => "email",
            Self::Webhook => "webhook",
        }
    }

    /// Name of the file with its secret, in the deployment's bucket and in the folder that Alertmanager reads.
    pub const fn secret(self) -> &'static str {
        match self {
            Self::Slack => "alerts-slack-url",
            Self::PagerDuty => "alerts-pagerduty-key",
            Self::Email => "alerts-email-password",
            Self::Webhook => "alerts-webhook-token",
        }
    }
}

impl Receivers {
    pub fn is_empty(&self) -> bool {
        self.each().is_empty()
    }

    /// The files that keys are read from.
    pub fn key_files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { slack, pagerduty, email, webhook } = self;
        let all = [
            slack.as_mut().and_then(|slack| slack.key_file.as_mut()),
            pagerduty.as_mut().and_then(|pagerduty| pagerduty.key_file.as_mut()),
            email.as_mut().and_then(|email| email.key_file.as_mut()),
            webhook.as_mut().and_then(|webhook| webhook.key_file.as_mut()),
        ];
        all.into_iter().flatten()
    }

    /// Those that there are.
    pub fn each(&self) -> Vec<Receiver<'_>> {
        macro_rules! receiver {
            ($kind:ident, $given:expr) => {
                $given.as_ref().map(|given| Receiver {
                    kind: ReceiverKind::$kind,
                    severities: &given.severities,
                    key_env: given.key_env.as_deref(),
                    key_file: given.key_file.as_deref(),
                })
            };
        }
        let all = [
            receiver!(Slack, self.slack),
            receiver!(PagerDuty, self.pagerduty),
            receiver!(Email, self.email),
            receiver!(Webhook, self.webhook),
        ];
        all.into_iter().flatten().collect()
    }
}

/// The section, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitoring {
    pub prometheus: Part,
    pub node_exporter: Part,
    pub alertmanager: Part,
    pub grafana: Part,
    /// Where Grafana is installed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grafana_repository: Option<PackageRepository>,
    pub budget_per_day: Usd,
    #[serde(default, skip_serializing_if = "Receivers::is_empty")]
    pub receivers: Receivers,
}

/// Why a section is refused; the path is below `monitoring`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("monitoring.{path}: {message}")]
pub struct InvalidMonitoring {
    pub path: String,
    pub message: String,
}

fn invalid(path: impl Into<String>, message: impl Into<String>) -> InvalidMonitoring {
    InvalidMonitoring { path: path.into(), message: message.into() }
}

impl MonitoringWish {
    /// What `top` says wins; what it leaves out stays.
    #[must_use]
    pub fn overlaid_by(self, top: Self) -> Self {
        Self {
            prometheus: top.prometheus.or(self.prometheus),
            node_exporter: top.node_exporter.or(self.node_exporter),
            alertmanager: top.alertmanager.or(self.alertmanager),
            grafana: top.grafana.or(self.grafana),
            grafana_repository: top.grafana_repository.or(self.grafana_repository),
            budget_per_day: top.budget_per_day.or(self.budget_per_day),
            receivers: Receivers {
                slack: top.receivers.slack.or(self.receivers.slack),
                pagerduty: top.receivers.pagerduty.or(self.receivers.pagerduty),
                email: top.receivers.email.or(self.receivers.email),
                webhook: top.receivers.webhook.or(self.receivers.webhook),
            },
        }
    }

    /// With what is left out filled in: Prometheus, node exporter and Alertmanager, no Grafana, $150 a day. Alertmanager
    /// follows Prometheus if nothing is said of it.
    pub fn resolve(self) -> Result<Monitoring, InvalidMonitoring> {
        let prometheus = self.prometheus.unwrap_or(Part::Enabled);
        let follows = if prometheus == Part::Enabled { Part::Enabled } else { Part::None };
        let grafana = self.grafana.unwrap_or(Part::None);
        let its_own = || (grafana == Part::Enabled).then(PackageRepository::of_grafana_labs);
        let monitoring = Monitoring {
            prometheus,
            node_exporter: self.node_exporter.unwrap_or(prometheus),
            alertmanager: self.alertmanager.unwrap_or(follows),
            grafana,
            grafana_repository: self.grafana_repository.or_else(its_own),
            budget_per_day: self.budget_per_day.unwrap_or(Usd::from_millionths(150_000_000)),
            receivers: self.receivers,
        };
        monitoring.validate()?;
        Ok(monitoring)
    }
}

impl Monitoring {
    fn validate(&self) -> Result<(), InvalidMonitoring> {
        for (path, part) in [("alertmanager", self.alertmanager), ("grafana", self.grafana)] {
            match part {
                Part::ScrapeOnly => return Err(invalid(path, "is enabled or none: it reads and is not read")),
                Part::Enabled if self.prometheus != Part::Enabled => {
                    return Err(invalid(path, "needs prometheus: enabled"));
                }
                Part::Enabled | Part::None => {}
            }
        }
        if self.budget_per_day == Usd::default() {
            return Err(invalid("budget_per_day", "must be more than nothing"));
        }
        if self.alertmanager != Part::Enabled && !self.receivers.is_empty() {
            return Err(invalid("receivers", "nobody tells them: they need alertmanager: enabled"));
        }
        self.validate_repository()?;
        self.receivers.each().iter().try_for_each(validate_receiver)?;
        self.validate_addresses()
    }

    fn validate_repository(&self) -> Result<(), InvalidMonitoring> {
        let Some(PackageRepository { url, fingerprint }) = &self.grafana_repository else { return Ok(()) };
        let refused = |field: &str, message: &str| Err(invalid(format!("grafana_repository{field}"), message));
        if self.grafana != Part::Enabled {
            return refused("", "nothing is installed from it without grafana: enabled");
        }
        // It becomes a line of a file that has a form of its own.
        let has_scheme = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
        if !has_scheme || url.contains(|char: char| char.is_whitespace() || char.is_control() || char == '@') {
            return refused(".url", "begins with https:// or http://, and holds no spaces, user name or password");
        }
        if fingerprint.len() != 40 || !fingerprint.chars().all(|char| char.is_ascii_hexdigit()) {
            return refused(".fingerprint", "is that of an OpenPGP key: 40 hexadecimal digits without spaces");
        }
        Ok(())
    }

    fn validate_addresses(&self) -> Result<(), InvalidMonitoring> {
        if let Some(slack) = &self.receivers.slack
            && !slack.channel.starts_with(['#', '@'])
        {
            return Err(invalid("receivers.slack.channel", "is #channel or @person; in YAML it needs quotes"));
        }
        if let Some(webhook) = &self.receivers.webhook
            && !["http://", "https://"].iter().any(|scheme| webhook.url.starts_with(scheme))
        {
            return Err(invalid("receivers.webhook.url", "begins with https:// or http://"));
        }
        let Some(email) = &self.receivers.email else { return Ok(()) };
        for (field, address) in [("to", &email.to), ("from", &email.from)] {
            if !address.contains('@') {
                return Err(invalid(format!("receivers.email.{field}"), "is no address"));
            }
        }
        let port = email.smarthost.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err(invalid("receivers.email.smarthost", "is host:port, e.g. smtp.example.org:587"));
        }
        if email.username.is_some() != (email.key_env.is_some() || email.key_file.is_some()) {
            return Err(invalid("receivers.email", "username and key_env or key_file go together"));
        }
        Ok(())
    }
}

fn validate_receiver(receiver: &Receiver<'_>) -> Result<(), InvalidMonitoring> {
    let path = format!("receivers.{}", receiver.kind.as_str());
    let may_lack = matches!(receiver.kind, ReceiverKind::Email | ReceiverKind::Webhook);
    match (receiver.key_env, receiver.key_file) {
        (Some(_), Some(_)) => return Err(invalid(path, "key_env and key_file exclude each other")),
        (None, None) if !may_lack => return Err(invalid(path, "needs key_env or key_file")),
        _ => {}
    }
    if receiver.severities.is_empty() {
        return Err(invalid(format!("{path}.severities"), "names at least one of page, ticket, none"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> MonitoringWish {
        crate::yaml::parse(text, "dsctl.yaml").unwrap()
    }

    const FULL: &str = "
budget_per_day: 12.5
receivers:
  slack: {channel: '#on-call', key_env: SLACK}
  pagerduty: {key_file: pagerduty.key}
  email: {to: a@example.org, from: b@example.org, smarthost: 'smtp.example.org:587', username: u, key_env: P}
  webhook: {url: 'https://example.org/alerts', severities: [page, ticket, none]}
";

    #[test]
    fn what_is_left_out_is_filled_in() {
        let plain = MonitoringWish::default().resolve().unwrap();
        assert_eq!(
            (plain.prometheus, plain.node_exporter, plain.alertmanager),
            (Part::Enabled, Part::Enabled, Part::Enabled)
        );
        assert_eq!((plain.grafana, plain.budget_per_day.to_string().as_str()), (Part::None, "150.00"));
        assert_eq!(plain.grafana_repository, None);
        let shown = wish("grafana: enabled").resolve().unwrap();
        assert_eq!(shown.grafana_repository, Some(PackageRepository::of_grafana_labs()));
        let bare = wish("prometheus: scrape-only").resolve().unwrap();
        assert_eq!((bare.node_exporter, bare.alertmanager), (Part::ScrapeOnly, Part::None));
    }

    #[test]
    fn receivers_are_read_with_who_is_told_of_what() {
        let all = wish(FULL).resolve().unwrap();
        assert_eq!(all.budget_per_day.to_string(), "12.50");
        let told: Vec<_> = all.receivers.each().iter().map(|it| (it.kind.as_str(), it.severities.len())).collect();
        assert_eq!(told, [("slack", 2), ("pagerduty", 1), ("email", 2), ("webhook", 3)]);
        let again: Monitoring = crate::yaml::parse(&crate::yaml::print(&all).unwrap(), "again").unwrap();
        assert_eq!(again, all);
    }

    #[test]
    fn each_secret_has_a_file_of_its_own() {
        let all = wish(FULL).resolve().unwrap();
        let mut names: Vec<_> = all.receivers.each().iter().map(|it| it.kind.secret()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 4);
    }

    #[test]
    fn what_can_not_be_is_refused_with_its_place() {
        for (text, hint) in [
            ("{prometheus: none, alertmanager: enabled}", "monitoring.alertmanager: needs prometheus: enabled"),
            ("{prometheus: scrape-only, grafana: enabled}", "monitoring.grafana: needs prometheus: enabled"),
            ("{grafana: scrape-only}", "monitoring.grafana: is enabled or none"),
            (
                "{grafana_repository: {url: 'https://a', fingerprint: ab}}",
                "nothing is installed from it without grafana",
            ),
            (
                "{grafana: enabled, grafana_repository: {url: a, fingerprint: ab}}",
                "grafana_repository.url: begins with https://",
            ),
            ("{grafana: enabled, grafana_repository: {url: 'https://a b', fingerprint: ab}}", "and holds no spaces"),
            (
                "{grafana: enabled, grafana_repository: {url: 'https://a', fingerprint: ab}}",
                "fingerprint: is that of an OpenPGP key",
            ),
            ("{budget_per_day: 0}", "monitoring.budget_per_day: must be more than nothing"),
            ("{alertmanager: none, receivers: {pagerduty: {key_env: K}}}", "monitoring.receivers: nobody tells them"),
            ("{receivers: {pagerduty: {}}}", "monitoring.receivers.pagerduty: needs key_env or key_file"),
            ("{receivers: {pagerduty: {key_env: K, key_file: f}}}", "exclude each other"),
            ("{receivers: {pagerduty: {key_env: K, severities: []}}}", "pagerduty.severities: names at least one"),
            ("{receivers: {slack: {channel: on-call, key_env: K}}}", "slack.channel: is #channel or @person"),
            ("{receivers: {webhook: {url: example.org}}}", "webhook.url: begins with https://"),
            ("{receivers: {email: {to: a, from: b@c, smarthost: 'h:25'}}}", "email.to: is no address"),
            ("{receivers: {email: {to: a@b, from: b@c, smarthost: h}}}", "email.smarthost: is host:port"),
            ("{receivers: {email: {to: a@b, from: b@c, smarthost: 'h:25', username: u}}}", "go together"),
        ] {
            let error = wish(text).resolve().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    /// A secret that is written down inline is an unknown key, not a receiver.
    #[test]
    fn an_inline_secret_is_refused() {
        let text = "receivers: {slack: {channel: '#a', key: 'https://hooks.slack.com/…'}}";
        let error = crate::yaml::parse::<MonitoringWish>(text, "dsctl.yaml").unwrap_err().to_string();
        assert!(error.contains("unknown key \"key\""), "{error}");
    }

    #[test]
    fn what_is_said_last_wins() {
        let both = wish(FULL).overlaid_by(wish("{budget_per_day: 20, receivers: {pagerduty: {key_env: K}}}"));
        assert_eq!(both.budget_per_day.unwrap().to_string(), "20.00");
        assert_eq!(both.receivers.pagerduty.unwrap().key_env.as_deref(), Some("K"));
        assert!(both.receivers.slack.is_some());
    }
}
