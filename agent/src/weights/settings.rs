//! How weights are fetched on this machine: read once from the environment.

use std::fmt;
use std::time::Duration;

/// The hub's access token; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct HubToken(String);

impl HubToken {
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubToken(…)")
    }
}

#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// The hub's base URL.
    pub hub: String,
    /// Sent to the hub's own host only.
    pub hub_token: Option<HubToken>,
    /// Command lines that may be pip, in order of preference.
    pub pip: Vec<Vec<String>>,
    /// Requests at once to one source.
    pub connections: usize,
    pub piece_bytes: u64,
    pub connect_timeout: Duration,
    /// Longest silence in the middle of a download.
    pub stall_timeout: Duration,
    /// Tries of one piece that bring no byte, before the source is given up.
    pub attempts: u32,
    /// Before the second try; doubles with each further one.
    pub first_backoff: Duration,
}

impl FetchSettings {
    /// `HF_ENDPOINT` and `HF_TOKEN` are honoured as the hub's own tools do; the rest is fixed.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            hub: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            hub_token: variable("HF_TOKEN").map(|token| HubToken::new(token.trim())),
            ..Self::default()
        }
    }
}

impl Default for FetchSettings {
    fn default() -> Self {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        Self {
            hub: "https://huggingface.co".to_owned(),
            hub_token: None,
            pip: ["python3 -m pip", "python -m pip", "pip3", "pip"].into_iter().map(words).collect(),
            connections: 4,
            piece_bytes: 16 << 20,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            attempts: 5,
            first_backoff: Duration::from_millis(500),
        }
    }
}
