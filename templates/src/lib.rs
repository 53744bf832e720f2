//! Files to begin from, embedded: starter specs for `dsctl init`, and monitoring. Each file documents itself in its header.

pub mod monitoring;

#[cfg(test)]
mod contracts;
#[cfg(test)]
mod monitoring_contracts;
#[cfg(test)]
mod monitoring_tools;
#[cfg(test)]
mod promql;
#[cfg(test)]
mod promtool_cases;

/// One embedded file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// What `dsctl init` takes.
    pub name: &'static str,
    /// File name to write it under if nothing else is asked for.
    pub file_name: &'static str,
    pub description: &'static str,
    pub content: &'static str,
    /// What to do with it; `FILE` stands for the place it was written to.
    pub next: &'static str,
}

/// There is no such template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown starter \"{name}\"{}; known are {}", did_you_mean(suggestion.as_deref()), names().join(", "))]
pub struct UnknownTemplate {
    pub name: String,
    pub suggestion: Option<String>,
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|near| format!(", did you mean \"{near}\"?")).unwrap_or_default()
}

const ALL: &[Template] = &[
    Template {
        name: "local",
        file_name: "dsctl.yaml",
        description: "a deployment on this machine",
        content: include_str!("../data/dsctl.yaml"),
        next: "dsctl up -f FILE",
    },
    Template {
        name: "aws",
        file_name: "aws.yaml",
        description: "a private deployment on AWS",
        content: include_str!("../data/aws.yaml"),
        next: "dsctl plan -f FILE",
    },
    Template {
        name: "gcp",
        file_name: "gcp.yaml",
        description: "a private deployment on Google Cloud",
        content: include_str!("../data/gcp.yaml"),
        next: "dsctl plan -f FILE",
    },
    Template {
        name: "azure",
        file_name: "azure.yaml",
        description: "a private deployment on Azure",
        content: include_str!("../data/azure.yaml"),
        next: "dsctl plan -f FILE",
    },
    Template {
        name: "rollout",
        file_name: "rollout.yaml",
        description: "a rollout in stages",
        content: include_str!("../data/rollout.yaml"),
        next: "dsctl rollout start -f FILE --wait",
    },
    Template {
        name: "prometheus",
        file_name: "prometheus.yaml",
        description: "Prometheus' configuration for a deployment on this machine",
        content: include_str!("../data/prometheus/prometheus.yaml"),
        next: "dsctl init prometheus-rules, then prometheus --config.file=FILE",
    },
    Template {
        name: "prometheus-rules",
        file_name: "rules.yaml",
        description: "alerts on gateway, rollout and daemon",
        content: include_str!("../data/prometheus/rules.yaml"),
        next: "promtool check rules FILE",
    },
];

/// What `dsctl init` takes for rules, dashboards and configurations of a monitoring of one's own: a folder, not a file.
pub const MONITORING_FOLDER: &str = "monitoring";

/// First boot of a machine on AWS (cloud-init); its placeholders are filled in when the machine is made.
pub const AWS_BOOT: &str = include_str!("../data/cloud-init/aws.yaml");
/// The same on Azure.
pub const AZURE_BOOT: &str = include_str!("../data/cloud-init/azure.yaml");

/// The same on GCP.
pub const GCP_BOOT: &str = include_str!("../data/cloud-init/gcp.yaml");

/// All of them, in the order in which they are listed.
pub const fn starters() -> &'static [Template] {
    ALL
}

/// A template by name.
pub fn find(name: &str) -> Result<&'static Template, UnknownTemplate> {
    ALL.iter().find(|template| template.name == name).ok_or_else(|| {
        let names: Vec<String> = names().into_iter().map(str::to_owned).collect();
        let suggestion = spec::yaml::closest(name, &names).map(str::to_owned);
        UnknownTemplate { name: name.to_owned(), suggestion }
    })
}

fn names() -> Vec<&'static str> {
    ALL.iter().map(|template| template.name).chain([MONITORING_FOLDER]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_says_what_it_is() {
        for template in ALL {
            assert_eq!(find(template.name), Ok(template));
            assert!(template.content.starts_with("# "), "{}: no header", template.name);
            assert!(template.next.contains("FILE"), "{}: {}", template.name, template.next);
        }
        let error = find("rolout").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown starter \"rolout\", did you mean \"rollout\"?; known are local, aws, gcp, azure, rollout, prometheus, \
             prometheus-rules, monitoring"
        );
    }
}
