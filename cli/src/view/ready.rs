//! The end of `up`: where it answers, with which key, a line to paste, what to try next.

use serde::Serialize;
use std::path::PathBuf;

/// What a person or a script needs to use a deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    pub deployment: String,
    pub endpoint: String,
    pub api_key_file: PathBuf,
    pub model: String,
    pub curl: String,
    pub next: String,
}

impl Ready {
    pub fn new(deployment: &str, endpoint: String, api_key_file: PathBuf, model: String, has_baseline: bool) -> Self {
        let curl = format!(
            "curl -s {endpoint}/chat/completions -H \"Authorization: Bearer $(cat {})\" -H 'Content-Type: application/json' \
             -d '{{\"model\": \"{model}\", \"temperature\": 0, \"messages\": [{{\"role\": \"user\", \"content\": \"What is the capital of France?\"}}]}}'",
            shell_word(&api_key_file.display().to_string())
        );
        let name = if deployment == "default" { String::new() } else { format!(" --name {deployment}") };
        let next = match has_baseline {
            true => format!("dsctl rollout start{name} --stages 10,30,60,100 --bake 30s --wait"),
            false => format!("dsctl status{name}"),
        };
        Self { deployment: deployment.to_owned(), endpoint, api_key_file, model, curl, next }
    }
}

/// Quoted if a shell would read anything into it.
fn shell_word(text: &str) -> String {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_'));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

pub fn ready(ready: &Ready) -> String {
    format!(
        "Endpoint  {}\nAPI key   {}\nModel     {}\nTry it    {}\nNext      {}",
        ready.endpoint,
        ready.api_key_file.display(),
        ready.model,
        ready.curl,
        ready.next
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_is_quoted() {
        assert_eq!(shell_word("/a/b-c.d_e"), "/a/b-c.d_e");
        assert_eq!(shell_word("/a b/it's"), r"'/a b/it'\''s'");
    }
}
