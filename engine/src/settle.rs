//! What an interrupted run left: read from the journal, pure.
//!
//! An intent is open until its outcome is in the journal. A failure leaves it open too, since what failed may have been made
//! all the same; only where the cloud said that it has none, nothing was made.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::apply::Event;
use crate::graph::Address;
use crate::journal::Record;
use crate::plan::Action;
use crate::provider::{ErrorKind, Token};
use crate::state::{RemoteId, Resource};

/// An intent whose outcome may not have reached the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    pub address: Address,
    pub action: Action,
    pub token: Token,
    pub at: Timestamp,
    pub inputs: Value,
    pub depends_on: BTreeSet<Address>,
    pub monthly_usd: Option<f64>,
    /// Known if the outcome is in the journal.
    pub remote_id: Option<RemoteId>,
    /// A later intent of the same address came to an end: what this one made is not the resource any more.
    pub overtaken: bool,
}

impl Pending {
    pub fn resource(&self, remote_id: RemoteId) -> Resource {
        Resource {
            remote_id,
            inputs: self.inputs.clone(),
            depends_on: self.depends_on.clone(),
            monthly_usd: self.monthly_usd,
        }
    }
}

/// What the journal leaves to be settled.
#[derive(Debug, Default, PartialEq)]
pub struct Unsettled {
    /// In the order of their intents.
    pub pending: Vec<Pending>,
    /// Intents that were looked for and not seen, by address: to be used again for the same inputs.
    pub spare: BTreeMap<Address, (Token, Value)>,
}

/// Reads the events in their order.
pub fn unsettled(records: impl IntoIterator<Item = Record<Event>>) -> Unsettled {
    let mut open: Vec<Pending> = Vec::new();
    let mut spare = BTreeMap::new();
    for record in records {
        match record.event {
            Event::Intent { address, action, token, inputs, depends_on, monthly_usd } => {
                spare.remove(&address);
                open.push(Pending {
                    address,
                    action,
                    token,
                    at: record.at,
                    inputs: inputs.unwrap_or_default(),
                    depends_on: depends_on.into_iter().collect(),
                    monthly_usd,
                    remote_id: None,
                    overtaken: false,
                });
            }
            Event::Done { address, token, remote_id } => end(&mut open, &address, &token, remote_id),
            Event::Failed { kind, token, .. } => {
                if matches!(kind, Some(ErrorKind::Capacity | ErrorKind::TokenSpent)) {
                    open.retain(|pending| pending.token != token);
                }
            }
            Event::Settled { address, token } => {
                if let Some(at) = open.iter().position(|pending| pending.token == token) {
                    let pending = open.remove(at);
                    spare.insert(address, (token, pending.inputs));
                }
            }
            Event::Forgotten { address } => {
                open.retain(|pending| pending.address != address);
                spare.remove(&address);
            }
            Event::Retired { .. } | Event::TakenOver { .. } => {}
        }
    }
    Unsettled { pending: open, spare }
}

/// An outcome ends all earlier outcomes of its address; earlier intents without one are overtaken.
fn end(open: &mut Vec<Pending>, address: &Address, token: &Token, remote_id: Option<RemoteId>) {
    open.retain(|pending| pending.address != *address || pending.token == *token || pending.remote_id.is_none());
    let Some(at) = open.iter().position(|pending| pending.token == *token) else { return };
    for earlier in open[..at].iter_mut().filter(|pending| pending.address == *address) {
        earlier.overtaken = true;
    }
    match remote_id {
        // Kept until the next outcome of the address: the state may not have heard of it.
        Some(remote_id) => open[at].remote_id = Some(remote_id),
        None => {
            open.remove(at);
        }
    }
}
