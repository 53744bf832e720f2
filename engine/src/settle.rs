//! What an interrupted run left: read from the journal, pure.
//!
//! An intent is open until its outcome is in the journal. A failure leaves it open too, since what failed may have been made
//! all the same; only where the cloud said that it has none, nothing was made.

use std::collections::BTreeSet;

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
    /// Intents that were looked for and not seen: to be used again for the same inputs.
    pub spare: Vec<Spare>,
}

/// The token of an intent that left nothing to be seen; what it made may yet show.
#[derive(Debug, Clone, PartialEq)]
pub struct Spare {
    pub address: Address,
    pub token: Token,
    pub inputs: Value,
}

/// Reads the events in their order.
pub fn unsettled(records: impl IntoIterator<Item = Record<Event>>) -> Unsettled {
    let mut open: Vec<Pending> = Vec::new();
    let mut spare: Vec<Spare> = Vec::new();
    for record in records {
        match record.event {
            Event::Intent { address, action, token, inputs, depends_on, monthly_usd } => {
                spare.retain(|spare| spare.token != token);
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
                    spare.push(Spare { address, token, inputs: pending.inputs });
                }
            }
            Event::Forgotten { address } => {
                open.retain(|pending| pending.address != address);
                spare.retain(|spare| spare.address != address);
            }
            Event::Retired { remote_id, .. } => open.retain(|pending| pending.remote_id.as_ref() != Some(&remote_id)),
            Event::TakenOver { .. } => {}
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn records(events: Vec<Event>) -> Vec<Record<Event>> {
        let record = |(at, event)| Record { sequence: at, at: Timestamp::UNIX_EPOCH, before: String::new(), event };
        (1..).zip(events).map(record).collect()
    }

    fn address() -> Address {
        Address::new("thing", "a")
    }

    fn intent(token: &str, action: Action) -> Event {
        Event::Intent {
            address: address(),
            action,
            token: Token(token.to_owned()),
            inputs: Some(json!({})),
            depends_on: Vec::new(),
            monthly_usd: None,
        }
    }

    fn done(token: &str, id: Option<&str>) -> Event {
        let remote_id = id.map(|id| RemoteId(id.to_owned()));
        Event::Done { address: address(), token: Token(token.to_owned()), remote_id }
    }

    fn failed(token: &str, kind: ErrorKind) -> Event {
        Event::Failed { address: address(), token: Token(token.to_owned()), message: "m".to_owned(), kind: Some(kind) }
    }

    /// Token, id and whether it was overtaken, of each that is pending.
    fn pending(events: Vec<Event>) -> Vec<(String, Option<String>, bool)> {
        let pending = unsettled(records(events)).pending.into_iter();
        pending.map(|it| (it.token.0, it.remote_id.map(|id| id.0), it.overtaken)).collect()
    }

    #[test]
    fn each_course_of_events_leaves_what_it_should() {
        let (create, replace) = (Action::Create, Action::Replace);
        let id = |id: &str| Some(id.to_owned());
        assert_eq!(pending(vec![intent("t", create)]), [("t".to_owned(), None, false)]);
        assert_eq!(pending(vec![intent("t", create), done("t", Some("1"))]), [("t".to_owned(), id("1"), false)]);
        assert_eq!(pending(vec![intent("t", create), failed("t", ErrorKind::Capacity)]), []);
        let refused = vec![intent("t", create), failed("t", ErrorKind::Refused)];
        assert_eq!(
            pending(refused),
            [("t".to_owned(), None, false)],
            "a create of several calls may have made something"
        );
        let gone = vec![intent("t", create), done("t", Some("1")), intent("d", Action::Delete), done("d", None)];
        assert_eq!(pending(gone), []);
        let replaced = vec![intent("t", create), done("t", Some("1")), intent("r", replace), done("r", Some("2"))];
        assert_eq!(pending(replaced), [("r".to_owned(), id("2"), false)]);
        let late = vec![intent("t", create), intent("u", create), done("u", Some("2"))];
        assert_eq!(pending(late.clone()), [("t".to_owned(), None, true), ("u".to_owned(), id("2"), false)]);
        let retired = Event::Retired { address: address(), remote_id: RemoteId("1".to_owned()) };
        let late: Vec<Event> = late.into_iter().chain([done("t", Some("1")), retired]).collect();
        assert_eq!(pending(late), [], "what was retired is not set aside again");
        let forgotten = vec![intent("t", create), done("t", Some("1")), Event::Forgotten { address: address() }];
        assert_eq!(pending(forgotten), []);
    }

    #[test]
    fn what_was_not_seen_leaves_its_token_for_the_next_try() {
        let settled = Event::Settled { address: address(), token: Token("t".to_owned()) };
        let left = unsettled(records(vec![intent("t", Action::Create), settled.clone()]));
        assert_eq!(left.spare, [Spare { address: address(), token: Token("t".to_owned()), inputs: json!({}) }]);
        let other = unsettled(records(vec![intent("t", Action::Create), settled.clone(), intent("u", Action::Create)]));
        assert_eq!(other.spare, left.spare, "another try at the address does not use it up");
        let used = unsettled(records(vec![intent("t", Action::Create), settled, intent("t", Action::Create)]));
        assert!(used.spare.is_empty());
    }
}
