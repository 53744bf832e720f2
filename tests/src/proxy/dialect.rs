//! What the proxy must know of a cloud: how it names calls, how it refuses, and what stands behind it.

use futures::future::BoxFuture;

use super::message::{Answer, Asked};
use super::rules::Fault;

/// What a request is called in the cloud's own reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub service: String,
    pub region: String,
    pub operation: String,
    /// Whether it changes something.
    pub mutating: bool,
    /// The token of the intent that makes something by it.
    pub token: Option<String>,
}

pub trait Dialect: Send + Sync + 'static {
    fn name(&self, asked: &Asked) -> Named;

    /// What the cloud says instead of doing it; none for faults that are no refusals.
    fn refusal(&self, asked: &Asked, fault: &Fault) -> Option<Answer>;

    /// An internal error in the service's own words.
    fn broken(&self, asked: &Asked, status: u16) -> Answer;

    /// Asks the cloud itself.
    fn forward<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Answer>;

    /// What this call made does not show in so many looks at it, or for as long as they take.
    fn hide(&self, asked: &Asked, answer: &Answer, looks: u32);

    /// Forgets all that it remembers of the cloud.
    fn reset(&self) -> BoxFuture<'_, ()>;
}
