//! What a record says, and what it is made from.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::keys::TextDigest;

/// One line of the log, without its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counted from 1, over all files.
    pub number: u64,
    /// Hash of the record before; zeros in front of the first.
    pub before: String,
    pub at: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    Request(Box<RequestRecord>),
    /// A crash left half a line at the end, which was cut.
    Repaired {
        cut_bytes: u64,
    },
    /// So many requests were answered while nothing could be written, and have no record.
    Lost {
        records: u64,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The answer's header `x-dsctl-request-id`.
    pub id: String,
    pub path: String,
    /// Of the API key: its name, or the start of its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The same for all records of a user, and nobody's once the user's key is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// [`Who`], under the user's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Where a request that names no user came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// As it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Who answered, or was asked last: baseline, candidate, spare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub outcome: String,
    /// Keyed digest of the request's body, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Keyed digest of the answer's body, as it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_dollars: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Verdict>,
    pub duration_ms: u64,
}

/// What a rule, or an entity, of the guards found and had done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub rule: String,
    pub action: String,
    #[serde(rename = "in")]
    pub direction: String,
    pub times: u64,
}

/// What names a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    pub user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// A record before it is sealed. `record` has neither who it was nor any digest yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub at: Timestamp,
    pub record: RequestRecord,
    pub user: Option<String>,
    pub client: Option<String>,
    pub prompt: Option<TextDigest>,
    pub answer: Option<TextDigest>,
}
