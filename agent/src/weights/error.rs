//! What goes wrong with weights: of one source (the next is tried), and for good.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use spec::amount::bytes_text;
use spec::id::{Sha256, WeightsName};

/// Why weights could not be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("weights {name}: no source is given; next: name one, e.g. file:/data/model.gguf")]
    NoSource { name: WeightsName },
    #[error("weights {name}: no source could give them:{}; next: dsctl weights pull {name}", list(.failures))]
    AllSourcesFailed {
        name: WeightsName,
        /// Source and reason, in the order tried.
        failures: Vec<(String, String)>,
    },
    #[error(
        "no space in {}: {} needed, {} free; next: free some, e.g. dsctl weights gc",
        .folder.display(), bytes_text(*.needed), bytes_text(*.free)
    )]
    Space { folder: PathBuf, needed: u64, free: u64 },
    #[error("weights {name}: cancelled; what was fetched is kept, next: dsctl weights pull {name}")]
    Cancelled { name: WeightsName },
    #[error("weights {name} are not in the cache; next: dsctl weights list")]
    NotCached { name: WeightsName },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{}: not a record of weights: {source}; next: remove the file", .path.display())]
    Record { path: PathBuf, source: serde_json::Error },
}

fn list(failures: &[(String, String)]) -> String {
    failures.iter().map(|(source, reason)| format!("\n  {source}: {reason}")).collect()
}

impl WeightsError {
    pub(super) fn io(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: format!("{verb} {}", path.display()), source }
    }
}

/// Why one source could not give the file.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("unreachable ({reason})")]
    Unreachable { reason: String },
    #[error("refused: {status}{hint}")]
    Refused { status: String, hint: &'static str },
    /// Worth another try at the same source.
    #[error("interrupted ({reason})")]
    Interrupted { reason: String },
    #[error("the file changed while it was fetched")]
    Changed,
    #[error("short or long file: {found} bytes, not {expected}")]
    Size { expected: u64, found: u64 },
    #[error("wrong digest: sha256 {found}, not {expected}")]
    Digest { expected: Sha256, found: Sha256 },
    #[error("not a GGUF file: it begins with {found:?}, not \"GGUF\"")]
    NotGguf { found: String },
    #[error("{message}")]
    Setup { message: String },
    /// Not this source's fault: no other source would fare better.
    #[error(transparent)]
    Local(#[from] WeightsError),
}

impl SourceError {
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } => true,
            Self::Refused { .. }
            | Self::Changed
            | Self::Size { .. }
            | Self::Digest { .. }
            | Self::NotGguf { .. }
            | Self::Setup { .. }
            | Self::Local(_) => false,
        }
    }

    /// Of a request that got no answer. The address stays out: it may be a signed one.
    pub(super) fn of_request(error: reqwest::Error) -> Self {
        let is_connect = error.is_connect() || error.is_timeout();
        let text = chain(&error.without_url());
        // The client's own layers say nothing that a person could use.
        let reason = ["error sending request: ", "client error (Connect): "]
            .iter()
            .fold(text.as_str(), |rest, layer| rest.strip_prefix(layer).unwrap_or(rest))
            .to_owned();
        if is_connect { Self::Unreachable { reason } } else { Self::Interrupted { reason } }
    }
}

/// An error and what it came from, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
