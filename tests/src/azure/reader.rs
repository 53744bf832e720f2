//! Somebody who looks into the subscription with Microsoft's own clients, past the fake's knowledge of itself.

use serde_json::{Value, json};

use super::contract::REQUIREMENTS;
use super::{Azure, CALLER, SUBSCRIPTION, token};
use crate::python::{self, Conversation};

#[derive(Debug)]
pub struct Reader(Conversation);

impl Reader {
    #[track_caller]
    pub fn start() -> Self {
        Self(Conversation::start(&python::environment(REQUIREMENTS), "azure_account.py"))
    }

    /// By kind, in lists, under the names that [`Azure::account`] has; what is in them is as `python/azure_account.py`
    /// writes it.
    #[track_caller]
    pub fn list(&self, azure: &Azure) -> Value {
        azure.pass_time();
        self.0.ask(&json!({"endpoint": azure.url(), "subscription": SUBSCRIPTION, "token": token(CALLER)}))
    }
}
