//! What is alive, as a reader sees it that we did not write: Google's own client in python, against any endpoint.

use serde_json::{Value, json};

use super::REQUIREMENTS;
use crate::python::{self, Conversation};

#[derive(Debug)]
pub struct Reader(Conversation);

impl Reader {
    #[track_caller]
    pub fn start() -> Self {
        Self(Conversation::start(&python::environment(REQUIREMENTS), "gcp_account.py"))
    }

    /// By kind, in lists: `networks`, `subnetworks`, `routers`, `firewalls`, `instances`, `disks`, `service_accounts`,
    /// `buckets`. Each has `id`, as [`super::account`] calls it, and `name`; the rest is as `python/gcp_account.py` writes it.
    #[track_caller]
    pub fn list(&self, url: &str, project: &str) -> Value {
        self.0.ask(&json!({"endpoint": url, "project": project}))
    }

    /// One call, as somebody else in the account would make it: `("compute", "v1", "instances.stop")`; gives its answer.
    /// A dot goes from a resource into one within it.
    #[track_caller]
    pub fn call(&self, url: &str, (service, version, method): (&str, &str, &str), arguments: &Value) -> Value {
        self.0.ask(&json!({
            "endpoint": url, "service": service, "version": version, "method": method, "arguments": arguments,
        }))
    }
}
