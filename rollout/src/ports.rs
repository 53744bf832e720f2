//! What the controller needs of a gateway: six small verbs. The fake beside it is what the tests drive.

use std::time::Duration;

use async_trait::async_trait;
use spec::amount::Weight;
use spec::id::Variant;
use spec::route::RouteTable;

/// How an attempt on a variant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// The client's own fault (of the candidate's: a 4xx that the other variant gives too): says nothing about the
    /// variant.
    ClientError,
    /// No connection, a timeout, a 5xx, a 408, a 429, a body that is no answer; of the candidate's, also a 4xx to what
    /// the other variant answered.
    UpstreamError,
    /// A stream that ended without its end.
    Truncated,
    /// The client went away: says nothing about the variant, unless it had waited longer than a gate on times allows.
    ClientAbort,
    /// A guard of the gateway ended the answer: says what was asked and answered, not how well the variant serves.
    Blocked,
}

impl Outcome {
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::ClientError, Self::UpstreamError, Self::Truncated, Self::ClientAbort, Self::Blocked];

    /// Whether it belongs in an SLI's denominator.
    pub const fn is_counted(self) -> bool {
        matches!(self, Self::Ok | Self::UpstreamError | Self::Truncated)
    }

    pub const fn is_failure(self) -> bool {
        matches!(self, Self::UpstreamError | Self::Truncated)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::UpstreamError => "upstream_error",
            Self::Truncated => "truncated",
            Self::ClientAbort => "client_abort",
            Self::Blocked => "blocked",
        }
    }
}

/// One finished attempt, as exactly as the gateway saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    pub variant: Variant,
    pub outcome: Outcome,
    /// None if there was no byte.
    pub time_to_first_token: Option<Duration>,
    pub duration: Duration,
    /// The second attempt of a request, after the other variant failed. Such come whatever the weight is, so they are
    /// no sample of the stage's traffic: an outage of the one must neither promote nor roll back the other.
    pub is_fallback: bool,
    /// Generation of the route table that sent the request there.
    pub generation: u64,
    /// Tokens of a stream that came to its end and said how many it had.
    pub stream_tokens: Option<u64>,
    /// What the answer cost; none if it doesn't say its tokens, or the variant has no price.
    pub dollars: Option<f64>,
    /// The upstream's own filter ended it (`finish_reason` `content_filter`).
    pub is_refused: bool,
    /// No session kept the request with a variant: the weights alone sent it there.
    pub is_drawn: bool,
}

impl Observation {
    /// One that says nothing more: no byte, no time, no tokens.
    pub const fn bare(variant: Variant, outcome: Outcome, generation: u64) -> Self {
        Self {
            variant,
            outcome,
            time_to_first_token: None,
            duration: Duration::ZERO,
            is_fallback: false,
            generation,
            stream_tokens: None,
            dollars: None,
            is_refused: false,
            is_drawn: false,
        }
    }

    /// Seconds between two tokens of a good stream; the first token's time is no part of it.
    pub fn time_per_token(&self) -> Option<f64> {
        let gaps =
            self.stream_tokens.filter(|_| self.outcome == Outcome::Ok)?.checked_sub(1).filter(|gaps| *gaps > 0)?;
        let spent = self.duration.checked_sub(self.time_to_first_token?)?;
        Some(spent.as_secs_f64() / gaps as f64)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The table in force is newer than the change; the controller must read again.
    #[error("the route table is at generation {in_force}, the change is for {given}")]
    Stale { in_force: u64, given: u64 },
    #[error("the route table could not be kept: {0}")]
    Persist(#[source] std::io::Error),
    #[error("the candidate can't be looked at: {0}")]
    Unreachable(String),
}

/// The data plane, as the controller sees it.
#[async_trait]
pub trait Traffic: Send + Sync {
    /// The table in force.
    fn route_table(&self) -> RouteTable;

    /// Puts a weight in force under a generation and keeps it on disk before returning. Asking for the generation in
    /// force with its own weight is Ok and changes nothing, so that a resumed controller may ask again; an older
    /// generation, or the same with another weight, is [`TrafficError::Stale`].
    async fn set_weight(&self, candidate: Weight, generation: u64) -> Result<(), TrafficError>;

    /// Takes the candidate to 0% in memory, under the generation in force, when nothing can be written: a crash brings
    /// back the table on disk, so nothing else may be told that there was another one. Doing it again is harmless.
    async fn withdraw_candidate(&self);

    /// Attempts finished since the last call, of both variants; each is given once.
    fn take_observations(&self) -> Vec<Observation>;

    /// Asks the candidate's ready URL; Ok too if the variant has none.
    async fn probe_candidate(&self) -> Result<(), TrafficError>;

    /// The candidate's /metrics, in the Prometheus text format.
    async fn scrape_candidate(&self) -> Result<String, TrafficError>;
}
