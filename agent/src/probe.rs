//! Questions to units, on loopback: are you ready, and can you make a token?

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use spec::host::FirstTokenProbe;

use crate::weights::chain;

const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// The first prompt of a large model on a slow machine.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(180);

#[derive(Debug, Deserialize)]
struct Completion {
    usage: Usage,
}

#[derive(Debug, Deserialize)]
struct Usage {
    completion_tokens: u64,
}

/// A client that goes to loopback directly, whatever proxies the environment names. It trusts this authority (PEM), and
/// nobody else.
pub(crate) fn client(authority: Option<&str>) -> Result<reqwest::Client, reqwest::Error> {
    let authority = authority.map(|pem| reqwest::Certificate::from_pem(pem.as_bytes())).transpose()?;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    client.tls_certs_only(authority).build()
}

pub(crate) async fn ask_ready(client: &reqwest::Client, url: &str) -> Result<(), String> {
    ask_ready_within(client, url, READY_TIMEOUT).await
}

pub(crate) async fn ask_ready_within(client: &reqwest::Client, url: &str, timeout: Duration) -> Result<(), String> {
    let response = client.get(url).timeout(timeout).send().await.map_err(reason_of)?;
    if response.status().as_u16() == 200 { Ok(()) } else { Err(format!("{url} answers {}", response.status())) }
}

/// Asks for one token and counts what was really made.
pub(crate) async fn ask_token(client: &reqwest::Client, probe: &FirstTokenProbe, key: &Path) -> Result<(), String> {
    let secret = std::fs::read_to_string(key).map_err(|error| format!("{}: {error}", key.display()))?;
    let url = format!("{}/completions", probe.base_url.trim_end_matches('/'));
    let response = client
        .post(&url)
        .timeout(TOKEN_TIMEOUT)
        .bearer_auth(secret.trim())
        .json(&json!({"model": probe.model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}))
        .send()
        .await
        .map_err(reason_of)?;
    let status = response.status();
    let body = response.text().await.map_err(reason_of)?;
    if !status.is_success() {
        return Err(format!("{url} answers {status}: {}", body.chars().take(300).collect::<String>()));
    }
    let completion: Completion =
        serde_json::from_str(&body).map_err(|error| format!("{url} answers no completion: {error}"))?;
    if completion.usage.completion_tokens == 0 {
        return Err(format!("{url} made no token"));
    }
    Ok(())
}

fn reason_of(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    if error.is_connect() {
        return "does not listen yet".to_owned();
    }
    chain(&error.without_url())
}
