//! The end of `up`: where it answers, with which key, a line to paste, what to try next.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::{curl_trust, shell_word};

/// What a person or a script needs to use a deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    pub deployment: String,
    pub endpoint: String,
    pub api_key_file: PathBuf,
    /// Whom a client of the endpoint must trust; none if it needs nothing for it.
    pub ca_file: Option<PathBuf>,
    pub model: String,
    /// Pages of what watches it on this machine, by unit.
    pub watchers: BTreeMap<String, String>,
    pub curl: String,
    pub next: String,
}

impl Ready {
    pub fn new(
        deployment: &str,
        endpoint: String,
        (api_key_file, ca_file): (PathBuf, Option<PathBuf>),
        model: String,
        has_baseline: bool,
    ) -> Self {
        let trust = curl_trust(ca_file.as_deref());
        let curl = format!(
            "curl -s {trust}{endpoint}/chat/completions -H \"Authorization: Bearer $(head -n 1 {})\" -H 'Content-Type: application/json' \
             -d '{{\"model\": \"{model}\", \"temperature\": 0, \"messages\": [{{\"role\": \"user\", \"content\": \"What is the capital of France?\"}}]}}'",
            shell_word(&api_key_file.display().to_string())
        );
        let name = if deployment == "default" { String::new() } else { format!(" --name {deployment}") };
        let next = match has_baseline {
            true => format!("dsctl rollout start{name} --stages 10,30,60,100 --bake 30s --wait"),
            false => format!("dsctl status{name}"),
        };
        Self {
            deployment: deployment.to_owned(),
            endpoint,
            api_key_file,
            ca_file,
            model,
            watchers: BTreeMap::new(),
            curl,
            next,
        }
    }
}

pub fn ready(ready: &Ready) -> String {
    let pages: Vec<String> = ready.watchers.iter().map(|(unit, page)| format!("{unit} {page}")).collect();
    let watched = if pages.is_empty() { String::new() } else { format!("Watched   {}\n", pages.join(", ")) };
    let ca_file = ready.ca_file.as_ref().map(|file| format!("CA file   {}\n", file.display())).unwrap_or_default();
    format!(
        "Endpoint  {}\nAPI key   {}\n{ca_file}Model     {}\n{watched}Try it    {}\nNext      {}",
        ready.endpoint,
        ready.api_key_file.display(),
        ready.model,
        ready.curl,
        ready.next
    )
}
