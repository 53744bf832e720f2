//! What the engine needs of a place where resources live. Adapters are in `providers/`; a fake stands beside the trait.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::{Address, Desired};
use crate::state::RemoteId;

/// What a look at a resource found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// In the shape of [`Desired::inputs`], so that drift is a plain comparison.
    pub inputs: Value,
}

/// The idempotency token of one intent: made before the call, kept in the journal, carried by the resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Trying again may help.
    #[error("{what}: {message}")]
    Transient { what: String, message: String },
    /// Trying again will not help; `next` is the command that will.
    #[error("{what}: {message}")]
    Permanent { what: String, message: String, next: Option<String> },
}

impl ProviderError {
    pub fn permanent(what: impl ToString, message: impl ToString) -> Self {
        Self::Permanent { what: what.to_string(), message: message.to_string(), next: None }
    }

    pub fn next(&self) -> Option<&str> {
        match self {
            Self::Permanent { next, .. } => next.as_deref(),
            Self::Transient { .. } => None,
        }
    }
}

/// A place where resources live. Every call may be repeated: the engine does so after a crash.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Looks at a resource; none if it is gone.
    async fn read(&self, address: &Address, id: &RemoteId) -> Result<Option<Observed>, ProviderError>;

    /// Finds what an interrupted create with this token left, so that it can be adopted; none if it left nothing.
    async fn find(&self, address: &Address, token: &Token) -> Result<Option<RemoteId>, ProviderError>;

    /// Makes a resource that carries the token. With a token that was used before it returns what is there.
    async fn create(&self, desired: &Desired, token: &Token) -> Result<RemoteId, ProviderError>;

    /// Brings a resource to the desired inputs in place.
    async fn update(&self, id: &RemoteId, desired: &Desired) -> Result<RemoteId, ProviderError>;

    /// Removes a resource and waits until it is gone; removing what is absent is Ok.
    async fn delete(&self, address: &Address, id: &RemoteId) -> Result<(), ProviderError>;
}
