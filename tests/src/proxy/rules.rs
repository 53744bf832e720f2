//! Which call fails, and how; and what was called.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

use serde_json::{Value, json};

use super::dialect::Named;
use super::message::Asked;

/// Larger bodies are recorded by their length alone.
const LARGEST_RECORDED: usize = 1 << 20;

/// A call as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// From 1, in order of arrival.
    pub number: u64,
    /// From 1, among the calls of its operation.
    pub nth: u64,
    pub service: String,
    pub region: String,
    pub operation: String,
    pub path: String,
    pub mutating: bool,
    /// The token of the intent that makes something by it.
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

impl Moment {
    pub const ALL: [Self; 3] = [Self::BeforeSent, Self::AfterSent, Self::AfterAnswered];
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process of [`super::Proxy::set_target`] is killed. What else it asks meanwhile is neither recorded nor done.
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
    Capacity,
    /// No more of them for the account.
    Quota,
    /// What the call makes does not show in so many looks at it.
    Unseen {
        looks: u32,
    },
    Denied,
    /// It waits until [`super::Proxy::release`], and is done then.
    Hold,
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

/// What was called, and the rules that wait for their call.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub calls: Vec<Call>,
    pub rules: Vec<Rule>,
    throttled: BTreeMap<String, u32>,
    pub record: Option<File>,
}

impl Ledger {
    pub fn clear(&mut self) {
        self.calls.clear();
        self.rules.clear();
        self.throttled.clear();
    }

    /// Writes a call down with the fault that is for it.
    pub fn note(&mut self, asked: &Asked, named: Named) -> Call {
        let before = self.calls.iter().filter(|call| call.operation == named.operation).count();
        let mut call = Call {
            number: self.calls.len() as u64 + 1,
            nth: before as u64 + 1,
            service: named.service,
            region: named.region,
            mutating: named.mutating,
            path: asked.path().to_owned(),
            token: named.token,
            operation: named.operation,
            status: None,
            fault: None,
        };
        call.fault = self.fault(&call);
        self.calls.push(call.clone());
        self.write(&call, asked);
        call
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

    fn write(&mut self, call: &Call, asked: &Asked) {
        let Some(file) = &mut self.record else { return };
        let headers = asked.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned()))
        });
        let mut line = json!({
            "number": call.number, "service": call.service, "operation": call.operation,
            "method": asked.method.as_str(), "path": asked.path(), "query": asked.query_text(),
            "headers": headers.collect::<serde_json::Map<_, _>>(), "length": asked.body.len(),
        });
        if asked.body.len() <= LARGEST_RECORDED {
            match std::str::from_utf8(&asked.body) {
                Ok(text) => line["body"] = text.into(),
                Err(_) => line["body_hex"] = hex::encode(&asked.body).into(),
            }
        }
        writeln!(file, "{line}").expect("a line of the record");
    }
}
