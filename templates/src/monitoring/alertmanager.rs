//! Alertmanager's configuration: who is told of what, once and not in a flood.
//!
//! ```text
//! alert -severity-> page | ticket | none -> the receivers that want that severity, with paths in place of secrets
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spec::monitoring::{Email, ReceiverKind, Receivers, Severity, Slack, Webhook};
use spec::yaml::{self, YamlError};

use super::MonitoringInputs;

/// An alert of a severity that nobody wants ends here.
const NOBODY: &str = "nobody";

/// What Slack and mail show: the alerts' own words, and the next command.
const TITLE: &str = "{{ .Status | toUpper }} {{ .CommonLabels.severity }}: {{ .GroupLabels.alertname }}";
const TEXT: &str =
    "{{ range .Alerts }}{{ .Annotations.summary }}\ndsctl runbook run {{ .Annotations.runbook }}\n{{ end }}";

/// `alertmanager.yml`.
pub fn configuration(inputs: &MonitoringInputs) -> Result<String, YamlError> {
    let mut receivers: Vec<Value> = Severity::ALL.iter().map(|severity| receiver(inputs, *severity)).collect();
    receivers.push(json!({"name": NOBODY}));
    yaml::print(&json!({
        "route": {
            "receiver": NOBODY,
            "group_by": ["alertname", "host"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "4h",
            "routes": Severity::ALL.map(route),
        },
        "inhibit_rules": inhibitions(),
        "receivers": receivers,
    }))
}

fn route(severity: Severity) -> Value {
    let mut route = json!({
        "receiver": severity.as_str(),
        "matchers": [format!("severity=\"{severity}\"")],
    });
    match severity {
        Severity::Page => {}
        Severity::Ticket => route["repeat_interval"] = "24h".into(),
        // Whoever notices that it stops must hear it often.
        Severity::None => {
            route["group_wait"] = "0s".into();
            route["group_interval"] = "1m".into();
            route["repeat_interval"] = "5m".into();
        }
    }
    route
}

/// What is told once is not told again by its consequences.
#[derive(Debug)]
struct Inhibition {
    while_fires: &'static str,
    silences: &'static [&'static str],
    /// Labels in which both are the same.
    equal: &'static [&'static str],
}

const INHIBITIONS: &[Inhibition] = &[
    // A host that is down: everything else that is said of it.
    Inhibition { while_fires: "HostDown", silences: &["alertname!=\"HostDown\""], equal: &["host"] },
    Inhibition {
        while_fires: "HostDiskFull",
        silences: &["alertname=~\"HostDiskNearlyFull|HostDiskFilling\""],
        equal: &["host", "mountpoint"],
    },
    Inhibition { while_fires: "ErrorBudgetBurnsFast", silences: &["alertname=\"ErrorBudgetBurnsSlowly\""], equal: &[] },
    Inhibition {
        while_fires: "FirstTokenBudgetBurnsFast",
        silences: &["alertname=\"FirstTokenBudgetBurnsSlowly\""],
        equal: &[],
    },
    Inhibition { while_fires: "GpuThrottledByHeat", silences: &["alertname=\"GpuHot\""], equal: &["host", "gpu"] },
];

fn inhibitions() -> Vec<Value> {
    let rule = |inhibition: &Inhibition| {
        json!({
            "source_matchers": [format!("alertname=\"{}\"", inhibition.while_fires)],
            "target_matchers": inhibition.silences,
            "equal": inhibition.equal,
        })
    };
    INHIBITIONS.iter().map(rule).collect()
}

fn receiver(inputs: &MonitoringInputs, severity: Severity) -> Value {
    let Receivers { slack, pagerduty, email, webhook } = &inputs.receivers;
    let secrets = inputs.secrets.as_path();
    let mut all = json!({"name": severity.as_str()});
    if let Some(slack) = slack.as_ref().filter(|slack| slack.severities.contains(&severity)) {
        all["slack_configs"] = json!([slack_entry(slack, secrets)]);
    }
    if pagerduty.as_ref().is_some_and(|pagerduty| pagerduty.severities.contains(&severity)) {
        all["pagerduty_configs"] = json!([pagerduty_entry(secrets)]);
    }
    if let Some(email) = email.as_ref().filter(|email| email.severities.contains(&severity)) {
        all["email_configs"] = json!([email_entry(email, secrets)]);
    }
    if let Some(webhook) = webhook.as_ref().filter(|webhook| webhook.severities.contains(&severity)) {
        all["webhook_configs"] = json!([webhook_entry(webhook, secrets)]);
    }
    all
}

fn secret(secrets: &Path, kind: ReceiverKind) -> PathBuf {
    secrets.join(kind.secret())
}

fn slack_entry(slack: &Slack, secrets: &Path) -> Value {
    json!({
        "api_url_file": secret(secrets, ReceiverKind::Slack),
        "channel": slack.channel,
        "send_resolved": true,
        "title": TITLE,
        "text": TEXT,
    })
}

fn pagerduty_entry(secrets: &Path) -> Value {
    json!({
        "routing_key_file": secret(secrets, ReceiverKind::PagerDuty),
        "description": "{{ (index .Alerts 0).Annotations.summary }}",
        "details": {"runbook": "dsctl runbook run {{ .CommonAnnotations.runbook }}"},
    })
}

fn email_entry(email: &Email, secrets: &Path) -> Value {
    let mut entry = json!({
        "to": email.to,
        "from": email.from,
        "smarthost": email.smarthost,
        "require_tls": true,
        "send_resolved": true,
        "headers": {"Subject": TITLE},
        "text": TEXT,
    });
    if let Some(username) = &email.username {
        entry["auth_username"] = username.as_str().into();
        entry["auth_password_file"] = json!(secret(secrets, ReceiverKind::Email));
    }
    entry
}

fn webhook_entry(webhook: &Webhook, secrets: &Path) -> Value {
    let mut entry = json!({"url": webhook.url, "send_resolved": true});
    if webhook.key_env.is_some() || webhook.key_file.is_some() {
        entry["http_config"] = json!({"authorization": {"credentials_file": secret(secrets, ReceiverKind::Webhook)}});
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::super::tests::{full, plain};
    use super::*;

    fn document(inputs: &MonitoringInputs) -> Value {
        yaml::parse(&configuration(inputs).unwrap(), "alertmanager.yml").unwrap()
    }

    fn ways(document: &Value, name: &str) -> Vec<String> {
        let receivers = document["receivers"].as_array().unwrap();
        let receiver = receivers.iter().find(|receiver| receiver["name"] == name).unwrap().as_object().unwrap();
        receiver.keys().filter(|key| *key != "name").cloned().collect()
    }

    #[test]
    fn each_severity_goes_to_those_who_want_it() {
        let document = document(&full());
        let all = ["slack_configs", "pagerduty_configs", "email_configs", "webhook_configs"];
        assert_eq!(ways(&document, "page"), all);
        assert_eq!(ways(&document, "ticket"), ["slack_configs", "email_configs", "webhook_configs"]);
        assert_eq!(ways(&document, "none"), ["webhook_configs"]);
        for route in document["route"]["routes"].as_array().unwrap() {
            let severity = route["receiver"].as_str().unwrap();
            assert_eq!(route["matchers"][0], format!("severity=\"{severity}\""));
        }
    }

    #[test]
    fn without_receivers_nobody_is_told_and_the_file_is_whole() {
        let document = document(&plain());
        for severity in Severity::ALL {
            assert!(ways(&document, severity.as_str()).is_empty());
        }
    }

    /// Every secret is named by the path of its file, and nothing of where it was read from is left.
    #[test]
    fn secrets_are_paths() {
        let text = configuration(&full()).unwrap();
        for receiver in full().receivers.each() {
            let path = format!("/etc/dsctl/secrets/{}", receiver.kind.secret());
            assert!(text.contains(&path), "{path} is not in {text}");
        }
        for key in ["api_url_file", "routing_key_file", "auth_password_file", "credentials_file"] {
            assert!(text.contains(&format!("{key}: /etc/dsctl/secrets/")), "{key}: {text}");
        }
        for inline in ["api_url:", "routing_key:", "auth_password:", "credentials:", "key_env"] {
            assert!(!text.contains(inline), "{inline}: {text}");
        }
    }

    #[test]
    fn what_fires_and_what_it_silences_are_alerts() {
        let rules: String = super::super::prometheus::RULES.iter().map(|rules| rules.content).collect();
        let is_alert = |name: &str| rules.contains(&format!("- alert: {name}\n"));
        for inhibition in INHIBITIONS {
            assert!(is_alert(inhibition.while_fires), "{inhibition:?}");
            for matcher in inhibition.silences {
                let names = matcher.split('"').nth(1).unwrap();
                assert!(names.split('|').all(is_alert), "{matcher}");
            }
        }
    }
}
