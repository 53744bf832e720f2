//! Prometheus' configuration and its rules.

use serde_json::{Value, json};
use spec::amount::Usd;
use spec::yaml::{self, YamlError};

use super::{Job, MonitoringFile, MonitoringInputs, file};

/// One file of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleFile {
    pub file_name: &'static str,
    pub content: &'static str,
}

macro_rules! rule_files {
    ($($name:literal),+ $(,)?) => {
        &[$(RuleFile {
            file_name: $name,
            content: include_str!(concat!("../../data/prometheus/", $name)),
        }),+]
    };
}

/// As they are in `data/prometheus`, with the default budget.
pub const RULES: &[RuleFile] = rule_files!["rules.yaml", "slo.yaml", "cost.yaml", "gpu.yaml", "host.yaml", "meta.yaml"];

/// The one place where the default budget stands in the rules.
const DEFAULT_BUDGET: &str = "expr: vector(150)";

/// Units that restart too often are seen only with this.
pub const NODE_EXPORTER_DEFAULT: &str = "\
# Written by dsctl. Units that start again and again are seen only with this option.
ARGS=\"--collector.systemd.enable-restarts-metrics\"
";

/// The rules with the deployment's budget.
pub fn rule_files(budget_per_day: Usd) -> Vec<MonitoringFile> {
    let budget = format!("expr: vector({})", budget_per_day.dollars());
    let with_budget = |rules: &RuleFile| rules.content.replace(DEFAULT_BUDGET, &budget);
    RULES.iter().map(|rules| file(&format!("prometheus/rules/{}", rules.file_name), with_budget(rules))).collect()
}

/// `prometheus.yml`; the rules lie in `rules/` beside it.
pub fn configuration(inputs: &MonitoringInputs) -> Result<String, YamlError> {
    let scrapes: Vec<Value> = Job::ALL.iter().filter_map(|job| scrape(inputs, *job)).collect();
    let mut document = json!({
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["rules/*.yaml"],
        "scrape_configs": scrapes,
    });
    let alertmanagers = static_targets(inputs, Job::Alertmanager);
    if !alertmanagers.is_empty() {
        document["alerting"] = json!({"alertmanagers": [{"static_configs": alertmanagers}]});
    }
    yaml::print(&document)
}

fn scrape(inputs: &MonitoringInputs, job: Job) -> Option<Value> {
    let targets = static_targets(inputs, job);
    if targets.is_empty() {
        return None;
    }
    let mut scrape = json!({"job_name": job.as_str()});
    if let Some(tls) = inputs.gateway_tls.as_ref().filter(|_| job == Job::Dsgate) {
        scrape["scheme"] = "https".into();
        scrape["tls_config"] = json!({"ca_file": tls.ca_file, "min_version": "TLS13"});
        if let Some(name) = &tls.server_name {
            scrape["tls_config"]["server_name"] = name.as_str().into();
        }
    }
    scrape["static_configs"] = targets.into();
    Some(scrape)
}

/// One entry a target, since each has a host of its own.
fn static_targets(inputs: &MonitoringInputs, job: Job) -> Vec<Value> {
    let of_job = inputs.targets.iter().filter(|target| target.job == job);
    of_job.map(|target| json!({"targets": [target.address], "labels": {"host": target.host}})).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{full, plain};
    use super::*;

    #[test]
    fn every_job_is_scraped_and_the_gateway_over_tls_where_it_speaks_it() {
        let document: Value = yaml::parse(&configuration(&full()).unwrap(), "prometheus.yml").unwrap();
        let scrapes = document["scrape_configs"].as_array().unwrap();
        let jobs: Vec<&str> = scrapes.iter().map(|scrape| scrape["job_name"].as_str().unwrap()).collect();
        assert_eq!(jobs, Job::ALL.map(Job::as_str));
        assert_eq!((&scrapes[0]["scheme"], &scrapes[1]["scheme"]), (&json!("https"), &Value::Null));
        assert_eq!(scrapes[0]["tls_config"]["ca_file"], "/etc/dsctl/ca.pem");
        assert_eq!(scrapes[0]["static_configs"][0]["labels"]["host"], "m1");
        assert_eq!(document["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0], "127.0.0.1:9093");
    }

    #[test]
    fn what_is_not_there_is_not_scraped() {
        let document: Value = yaml::parse(&configuration(&plain()).unwrap(), "prometheus.yml").unwrap();
        assert_eq!(document["scrape_configs"].as_array().unwrap().len(), 2);
        assert_eq!(document["alerting"], Value::Null);
    }

    #[test]
    fn the_budget_stands_in_one_place() {
        let places: usize = RULES.iter().map(|rules| rules.content.matches(DEFAULT_BUDGET).count()).sum();
        assert_eq!(places, 1);
        let files = rule_files("12.5".parse().unwrap());
        assert!(files.iter().any(|file| file.content.contains("expr: vector(12.5)")), "{files:?}");
        assert!(files.iter().all(|file| !file.content.contains(DEFAULT_BUDGET)));
    }

    #[test]
    fn every_file_of_rules_is_embedded() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/data/prometheus")).unwrap();
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let rules: Vec<String> = names.filter(|name| name.ends_with(".yaml") && name != "prometheus.yaml").collect();
        for name in &rules {
            assert!(RULES.iter().any(|rules| rules.file_name == name), "{name} is not embedded");
        }
        assert_eq!(rules.len(), RULES.len());
    }
}
