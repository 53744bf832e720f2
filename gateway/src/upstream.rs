//! One variant's upstream: its address, its key, its model names, and the connections to it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use spec::amount::Span;
use spec::route::{Limits, TokenPrice, VariantConfig};

use crate::headers;
use crate::health::Health;

/// Probes and scrapes answer a question of the moment: a late answer is none.
const PROBE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// A /metrics page longer than this is none.
const MAX_SCRAPE_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub struct Upstream {
    /// For logs.
    pub label: &'static str,
    pub health: Arc<Health>,
    config: VariantConfig,
    base: String,
    authorization: Option<HeaderValue>,
    client: Client,
    way: Way,
}

/// What connections depend on; as long as it stays, they are kept over a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    is_tls: bool,
    is_loopback: bool,
    connect_timeout: Span,
}

/// A model's name for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelName<'a> {
    /// By the configuration: if the upstream does not know it, that is our fault.
    Mapped(&'a str),
    /// As the client gave it: if the upstream does not know it, that is the client's.
    AsGiven(&'a str),
}

impl<'a> ModelName<'a> {
    pub const fn as_str(self) -> &'a str {
        match self {
            Self::Mapped(name) | Self::AsGiven(name) => name,
        }
    }
}

impl Upstream {
    pub fn new(
        label: &'static str,
        config: VariantConfig,
        base_url: &Url,
        authorization: Option<HeaderValue>,
        limits: &Limits,
        in_force: Option<&Self>,
    ) -> Result<Self, reqwest::Error> {
        let way = Way {
            is_tls: [Some(&config.base_url), config.ready_url.as_ref(), config.metrics_url.as_ref()]
                .into_iter()
                .flatten()
                .any(|url| url.to_ascii_lowercase().starts_with("https:")),
            is_loopback: is_loopback(base_url),
            connect_timeout: limits.connect_timeout,
        };
        let client = match in_force {
            Some(before) if before.way == way => before.client.clone(),
            _ => connect_by(way)?,
        };
        let base = base_url.as_str().trim_end_matches('/').to_owned();
        let limit = limits.failures_in_a_row;
        let same = in_force.filter(|before| before.base == base && before.health.limit() == limit);
        let health = same.map_or_else(|| Arc::new(Health::new(limit)), |before| Arc::clone(&before.health));
        Ok(Self { label, health, config, base, authorization, client, way })
    }

    pub fn is_at(&self, base_url: &Url) -> bool {
        self.base == base_url.as_str().trim_end_matches('/')
    }

    pub const fn price(&self) -> Option<TokenPrice> {
        self.config.price
    }

    /// What a model asked for is called there.
    pub fn name_for<'a>(&'a self, asked: &'a str) -> ModelName<'a> {
        match self.config.models.get(asked).or(self.config.default_model.as_ref()) {
            Some(name) => ModelName::Mapped(name),
            None => ModelName::AsGiven(asked),
        }
    }

    /// The request for a path below the base URL, with the client's headers that may pass and our key.
    pub fn request(&self, path: &str, client_headers: &HeaderMap, body: Bytes) -> RequestBuilder {
        let mut headers = headers::for_upstream(client_headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        self.client.post(format!("{}{path}", self.base)).headers(headers).body(body)
    }

    /// Asks the ready URL, if there is one.
    pub async fn probe(&self) -> Result<(), String> {
        let Some(url) = &self.config.ready_url else { return Ok(()) };
        let answer = self.client.get(url).timeout(PROBE_TIMEOUT).send().await;
        let status = answer.map_err(|error| format!("{url}: {}", described(error)))?.status();
        if status.is_success() { Ok(()) } else { Err(format!("{url} answered {}", status.as_u16())) }
    }

    /// Reads the metrics URL.
    pub async fn scrape(&self) -> Result<String, String> {
        let url = self.config.metrics_url.as_ref().ok_or_else(|| "it has no metrics_url".to_owned())?;
        let failed = |error| format!("{url}: {}", described(error));
        let mut answer = self.client.get(url).timeout(PROBE_TIMEOUT).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(format!("{url} answered {}", answer.status().as_u16()));
        }
        let mut page = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            page.extend_from_slice(&chunk);
            if page.len() > MAX_SCRAPE_BYTES {
                return Err(format!("{url} is longer than {MAX_SCRAPE_BYTES} bytes"));
            }
        }
        String::from_utf8(page).map_err(|_| format!("{url} is not text"))
    }
}

/// An error of the HTTP client with its causes, and without the URL, which our messages have already.
pub fn described(error: reqwest::Error) -> String {
    crate::describe(&error.without_url())
}

/// Bytes pass as they are: nothing is decompressed, redirected or sent again by the client library. HTTP/1.1 has one
/// connection a stream, so that dropping an answer always ends its generation.
fn connect_by(way: Way) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(way.connect_timeout.0)
        .tcp_keepalive(std::time::Duration::from_secs(30))
        .pool_idle_timeout(std::time::Duration::from_secs(30))
        .referer(false);
    if way.is_loopback {
        builder = builder.no_proxy();
    }
    if !way.is_tls {
        // Without TLS the system's certificates are not needed, and need not be there.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn upstream(url: &str, default_model: Option<&str>, limits: &Limits, in_force: Option<&Upstream>) -> Upstream {
        let config = VariantConfig {
            base_url: url.to_owned(),
            key_file: None,
            models: BTreeMap::from([("gpt".to_owned(), "gpt-4".to_owned())]),
            default_model: default_model.map(str::to_owned),
            ready_url: None,
            metrics_url: None,
            price: None,
            replicas: Vec::new(),
        };
        Upstream::new("baseline", config, &Url::parse(url).unwrap(), None, limits, in_force).unwrap()
    }

    #[test]
    fn names_are_mapped_then_defaulted_then_left() {
        let limits = Limits::default();
        let with_default = upstream("http://localhost/v1", Some("r1"), &limits, None);
        assert_eq!(with_default.name_for("gpt"), ModelName::Mapped("gpt-4"));
        assert_eq!(with_default.name_for("other"), ModelName::Mapped("r1"));
        let without = upstream("http://localhost/v1", None, &limits, None);
        assert_eq!(without.name_for("other"), ModelName::AsGiven("other"));
    }

    #[test]
    fn the_path_follows_the_base_whether_or_not_it_ends_in_a_slash() {
        for base in ["http://localhost:1/v1", "http://localhost:1/v1/"] {
            let upstream = upstream(base, None, &Limits::default(), None);
            let request = upstream.request("/embeddings", &HeaderMap::new(), Bytes::new()).build().unwrap();
            assert_eq!(request.url().as_str(), "http://localhost:1/v1/embeddings");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, expected) in [
            ("http://localhost/v1", true),
            ("http://127.0.0.2:80", true),
            ("http://[::1]:80", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
