//! What the engine needs of a place where resources live. Adapters are in `providers/`; a fake stands beside the trait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::{Address, Desired};
use crate::state::{RemoteId, Resource, State};

/// What a look at a resource found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// In the shape of [`Desired::inputs`], so that drift is a plain comparison.
    pub inputs: Value,
}

/// The idempotency token of one intent: made before the call, kept in the journal, carried by the resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

/// The remote ids of a state: inputs name other resources by address, clouds by id, and this leads both ways.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Tells two states of the same name apart; carried by every resource as a tag.
    pub lineage: String,
    ids: BTreeMap<Address, RemoteId>,
}

impl Known {
    pub fn of(state: &State) -> Self {
        let ids = state.resources.iter().map(|(address, it)| (address.clone(), it.remote_id.clone())).collect();
        Self { lineage: state.lineage.clone(), ids }
    }

    /// Of a state without resources.
    pub fn empty(lineage: &str) -> Self {
        Self { lineage: lineage.to_owned(), ids: BTreeMap::new() }
    }

    /// The same as if these did not exist.
    #[must_use]
    pub fn without(&self, gone: &BTreeSet<&Address>) -> Self {
        let ids = self.ids.iter().filter(|(address, _)| !gone.contains(address));
        Self { lineage: self.lineage.clone(), ids: ids.map(|(address, id)| (address.clone(), id.clone())).collect() }
    }

    pub fn id(&self, address: &Address) -> Option<&RemoteId> {
        self.ids.get(address)
    }

    /// The id of a resource that must be there by now, since the graph says so.
    pub fn needed(&self, by: &Address, address: &Address) -> Result<&RemoteId, ProviderError> {
        self.id(address).ok_or_else(|| ProviderError::permanent(by, format!("{address} does not exist yet")))
    }

    pub fn address_of(&self, id: &str) -> Option<&Address> {
        self.ids.iter().find(|(_, known)| known.0 == id).map(|(address, _)| address)
    }
}

/// How a resource gets from its inputs to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What differs only counts when the resource is made, e.g. the script of a machine's first boot.
    Same,
    InPlace,
    /// A new one is made, and the old one removed when the new one has taken over.
    Replace,
    /// Not while the deployment lives; the text says what to do instead.
    Impossible(String),
}

/// Something that carries the ownership tags of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Owned {
    /// Absent if the tag is damaged.
    pub address: Option<Address>,
    pub token: Option<Token>,
    pub remote_id: RemoteId,
    pub lineage: Option<String>,
}

/// What is to be done about a call that failed: decided once, where the cloud's codes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Too many calls; nothing happened. The engine waits and calls again.
    Throttled {
        retry_after: Option<Duration>,
    },
    /// What it stands on does not show yet, or what stands on it is not gone yet; nothing happened. As when throttled.
    NotYet,
    /// No answer, or one that does not tell whether it happened. The engine looks before it calls again.
    Ambiguous,
    /// The place has none left: the next candidate.
    Capacity,
    /// The account may not have as many.
    Quota,
    Credentials,
    /// Trying again will not help.
    Refused,
    /// The token was used for something that is gone, or for other inputs: a new intent is needed.
    TokenSpent,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {message}")]
pub struct ProviderError {
    pub kind: ErrorKind,
    pub what: String,
    pub message: String,
    /// The command that will help.
    pub next: Option<String>,
}

impl ProviderError {
    pub fn new(kind: ErrorKind, what: impl ToString, message: impl ToString) -> Self {
        Self { kind, what: what.to_string(), message: message.to_string(), next: None }
    }

    pub fn permanent(what: impl ToString, message: impl ToString) -> Self {
        Self::new(ErrorKind::Refused, what, message)
    }

    #[must_use]
    pub fn with_next(mut self, next: impl ToString) -> Self {
        self.next = Some(next.to_string());
        self
    }

    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }
}

/// A place where resources live. Every call may be repeated: the engine does so after a crash.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Looks at a resource of the state; none if it is gone, or going. Never changes anything.
    async fn read(
        &self,
        address: &Address,
        resource: &Resource,
        known: &Known,
    ) -> Result<Option<Observed>, ProviderError>;

    /// Finds what an interrupted create with this token left, complete or not, so that it can be adopted; none if it
    /// left nothing that is visible yet. What is found is completed by [`Provider::update`].
    async fn find(&self, address: &Address, token: &Token, known: &Known) -> Result<Option<RemoteId>, ProviderError>;

    /// Makes a resource that carries the token, the address and the lineage from its first moment. Never repeats by itself
    /// a call that may have happened: that is [`ErrorKind::Ambiguous`].
    async fn create(&self, desired: &Desired, token: &Token, known: &Known) -> Result<RemoteId, ProviderError>;

    /// Brings a resource to the desired inputs in place; completes one that was left half made.
    async fn update(&self, id: &RemoteId, desired: &Desired, known: &Known) -> Result<RemoteId, ProviderError>;

    /// Removes a resource and waits until it is gone; removing what is absent is Ok.
    async fn delete(&self, address: &Address, resource: &Resource, known: &Known) -> Result<(), ProviderError>;

    /// Whether a resource can get from one set of inputs to another. Pure.
    fn judge(&self, _address: &Address, _before: &Value, _after: &Value) -> Verdict {
        Verdict::InPlace
    }

    /// Everything that carries this deployment's tags, of any lineage, whether a state knows of it or not; in an order in
    /// which it can be removed.
    async fn sweep(&self) -> Result<Vec<Owned>, ProviderError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl<P: Provider + ?Sized> Provider for std::sync::Arc<P> {
    async fn read(
        &self,
        address: &Address,
        resource: &Resource,
        known: &Known,
    ) -> Result<Option<Observed>, ProviderError> {
        (**self).read(address, resource, known).await
    }

    async fn find(&self, address: &Address, token: &Token, known: &Known) -> Result<Option<RemoteId>, ProviderError> {
        (**self).find(address, token, known).await
    }

    async fn create(&self, desired: &Desired, token: &Token, known: &Known) -> Result<RemoteId, ProviderError> {
        (**self).create(desired, token, known).await
    }

    async fn update(&self, id: &RemoteId, desired: &Desired, known: &Known) -> Result<RemoteId, ProviderError> {
        (**self).update(id, desired, known).await
    }

    async fn delete(&self, address: &Address, resource: &Resource, known: &Known) -> Result<(), ProviderError> {
        (**self).delete(address, resource, known).await
    }

    fn judge(&self, address: &Address, before: &Value, after: &Value) -> Verdict {
        (**self).judge(address, before, after)
    }

    async fn sweep(&self) -> Result<Vec<Owned>, ProviderError> {
        (**self).sweep().await
    }
}
