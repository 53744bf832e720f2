//! What was asked, in order, and what is to go wrong with it.

use std::collections::BTreeMap;

use axum::http::Method;

use super::ask::{Asked, Refusal};
use super::quota;
use super::settings::{CALLER, Shortage};

/// A call as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// From 1, in order of arrival.
    pub number: u64,
    /// From 1, among the calls of its operation.
    pub nth: u64,
    /// As Microsoft's reference names it: `VirtualMachines_CreateOrUpdate`, `BlockBlob_Upload`; `Operations_Get` asks
    /// how far something is.
    pub operation: String,
    pub method: String,
    pub path: String,
    pub mutating: bool,
    /// The tag `dsctl-token`, or the blob's metadata.
    pub token: Option<String>,
    /// None while it goes on, and if the connection was closed instead.
    pub status: Option<u16>,
    pub fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The call arrived and goes no further.
    BeforeSent,
    /// It was done; nobody heard of it.
    AfterSent,
    /// The answer was given, and a moment to write it down.
    AfterAnswered,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process of [`super::Azure::set_target`] is killed. What else it asks meanwhile is neither recorded nor done.
    Kill(Moment),
    /// As after sending, and what was made does not show in so many looks at it.
    KillUnseen {
        looks: u32,
    },
    /// Done; the connection is closed without an answer.
    TimeoutAfterSuccess,
    /// Done; the answer is an internal error with this status.
    ErrorAfterSuccess(u16),
    /// This call and the next ones of its operation, so many in all, are refused and not done.
    Throttle {
        times: u32,
    },
    /// No such machines in the zone.
    Capacity(Shortage),
    /// No more cores for the subscription.
    Quota,
    /// What the call makes does not show in so many looks at it.
    Unseen {
        looks: u32,
    },
    Denied,
}

/// Which call a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Call(u64),
    /// The nth of an operation, from 1.
    Nth(String, u64),
    /// The nth of those that change something, from 1.
    Mutating(u64),
}

/// Holds for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub at: Which,
    pub fault: Fault,
}

impl Rule {
    pub const fn call(number: u64, fault: Fault) -> Self {
        Self { at: Which::Call(number), fault }
    }

    pub fn nth(operation: &str, nth: u64, fault: Fault) -> Self {
        Self { at: Which::Nth(operation.to_owned(), nth), fault }
    }

    pub const fn mutating(nth: u64, fault: Fault) -> Self {
        Self { at: Which::Mutating(nth), fault }
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub calls: Vec<Call>,
    pub rules: Vec<Rule>,
    /// Refusals that are left, by operation.
    throttled: BTreeMap<String, u32>,
}

/// What is asked for by `POST` and changes nothing.
const LOOKS: [&str; 4] = [
    "VirtualMachines_RetrieveBootDiagnosticsData",
    "StorageAccounts_CheckNameAvailability",
    "StorageAccounts_ListKeys",
    "Service_GetUserDelegationKey",
];

impl Ledger {
    /// Writes a call down with the fault that is for it.
    pub fn note(&mut self, asked: &Asked, operation: &str) -> Call {
        let before = self.calls.iter().filter(|call| call.operation == operation).count();
        let is_look = [Method::GET, Method::HEAD].contains(&asked.method) || LOOKS.contains(&operation);
        let mut call = Call {
            number: self.calls.len() as u64 + 1,
            nth: before as u64 + 1,
            operation: operation.to_owned(),
            method: asked.method.to_string(),
            path: asked.path().to_owned(),
            mutating: !is_look,
            token: token(asked),
            status: None,
            fault: None,
        };
        call.fault = self.fault(&call);
        self.calls.push(call.clone());
        call
    }

    pub fn answered(&mut self, number: u64, status: Option<u16>) {
        if let Some(call) = self.calls.iter_mut().find(|call| call.number == number) {
            call.status = status;
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn fault(&mut self, call: &Call) -> Option<Fault> {
        if let Some(left) = self.throttled.get_mut(&call.operation).filter(|left| **left > 0) {
            *left -= 1;
            return Some(Fault::Throttle { times: *left });
        }
        let changes = self.calls.iter().filter(|call| call.mutating).count() as u64 + 1;
        let is_for = |rule: &Rule| match &rule.at {
            Which::Call(number) => *number == call.number,
            Which::Nth(operation, nth) => *operation == call.operation && *nth == call.nth,
            Which::Mutating(nth) => call.mutating && *nth == changes,
        };
        let fault = self.rules.iter().position(is_for).map(|place| self.rules.remove(place).fault)?;
        if let Fault::Throttle { times } = fault {
            self.throttled.insert(call.operation.clone(), times.saturating_sub(1));
        }
        Some(fault)
    }
}

fn token(asked: &Asked) -> Option<String> {
    let of_blob = asked.metadata().into_iter().find(|(name, _)| name == "dsctl_token").map(|(_, value)| value);
    of_blob.or_else(|| asked.json()["tags"]["dsctl-token"].as_str().map(str::to_owned))
}

/// What is said instead of doing it.
pub(super) fn refusal(asked: &Asked, fault: &Fault) -> Option<Refusal> {
    Some(match fault {
        Fault::Throttle { .. } => {
            let message = "The request is being throttled as the limit has been reached for operation type. For more \
                           information, see - https://aka.ms/srpthrottlinglimits";
            Refusal::new(429, "TooManyRequests", message)
        }
        Fault::Capacity(Shortage::SkuNotAvailable) => {
            quota::told(Shortage::SkuNotAvailable, &size(asked), &region(asked))
        }
        Fault::Quota => quota::refusal(&region(asked), quota::CORES, (0, 0, 24)),
        Fault::Denied => {
            let message = format!(
                "The client 'ada@example.org' with object id '{CALLER}' does not have authorization to perform \
                 action over scope '{}' or the scope is invalid. If access was recently granted, please refresh your \
                 credentials.",
                asked.path()
            );
            Refusal::new(403, "AuthorizationFailed", message)
        }
        _ => return None,
    })
}

fn size(asked: &Asked) -> String {
    asked.json()["properties"]["hardwareProfile"]["vmSize"].as_str().unwrap_or("the size").to_owned()
}

fn region(asked: &Asked) -> String {
    asked.json()["location"].as_str().unwrap_or("eastus").to_owned()
}
