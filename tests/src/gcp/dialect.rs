//! How Google names calls, refuses and breaks, for the proxy in front of the fake.

use std::sync::{Arc, Weak};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Client;
use serde_json::{Value, json};

use super::{Failure, Google, Looks, PROJECT, method};
use crate::proxy::message::{Answer, Asked, pass_on};
use crate::proxy::{Dialect, Fault, Named};

const INSERT: &str = "compute.instances.insert";

#[derive(Debug)]
pub struct GcpDialect {
    client: Client,
    url: String,
    /// A proxy lives as long as its process, and the fake must end with its test.
    google: Weak<Google>,
}

impl GcpDialect {
    /// Of a fake that answers at `url`, by itself or behind something.
    pub fn new(google: &Arc<Google>, url: String) -> Self {
        let client = Client::builder().no_proxy().build().expect("an HTTP client");
        Self { client, url, google: Arc::downgrade(google) }
    }

    fn on_google(&self, act: impl FnOnce(&Google)) {
        act(&self.google.upgrade().expect("the fake ends after its calls"));
    }
}

impl Dialect for GcpDialect {
    fn name(&self, asked: &Asked) -> Named {
        let operation = method(asked.method.as_str(), asked.path());
        let operation = operation.map_or_else(|| format!("{} {}", asked.method, asked.path()), str::to_owned);
        Named {
            service: operation.split('.').next().unwrap_or_default().to_owned(),
            region: after(asked.path(), "/regions/").to_owned(),
            mutating: !["GET", "HEAD"].contains(&asked.method.as_str()),
            token: token(&asked.json()),
            operation,
        }
    }

    fn refusal(&self, asked: &Asked, fault: &Fault) -> Option<Answer> {
        let zone = after(asked.path(), "/zones/");
        match fault {
            Fault::Throttle { .. } => Some(error(403, "rateLimitExceeded", "Rate Limit Exceeded", "PERMISSION_DENIED")),
            Fault::Denied => Some(error(403, "forbidden", "Required permission is missing", "PERMISSION_DENIED")),
            // Google says both when the operation ends.
            Fault::Capacity => {
                self.on_google(|google| google.fail_operations(INSERT, 1, Failure::exhausted(PROJECT, zone)));
                None
            }
            Fault::Quota => {
                let failure = Failure::quota("GPUS_ALL_REGIONS", 0.0, "global");
                self.on_google(|google| google.fail_operations(INSERT, 1, failure));
                None
            }
            // Counted from the moment that it is made.
            Fault::Unseen { looks } | Fault::KillUnseen { looks } => {
                let looks = Looks { machine: *looks, account: *looks, ..Looks::default() };
                self.on_google(|google| google.set_looks(looks));
                None
            }
            _ => None,
        }
    }

    fn broken(&self, _asked: &Asked, status: u16) -> Answer {
        error(status, "backendError", "Backend Error", "INTERNAL")
    }

    fn forward<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Answer> {
        let away = |why: String| error(502, "theFakeIsAway", &why, "UNAVAILABLE");
        pass_on(&self.client, &self.url, asked).map(move |answered| answered.unwrap_or_else(away)).boxed()
    }

    fn hide(&self, _asked: &Asked, _answer: &Answer, _looks: u32) {
        self.on_google(|google| google.set_looks(Looks::default()));
    }

    fn reset(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

fn error(code: u16, reason: &str, message: &str, status: &str) -> Answer {
    let errors = json!([{"domain": "usageLimits", "reason": reason, "message": message}]);
    let body = json!({"error": {"code": code, "message": message, "errors": errors, "status": status}});
    Answer::new(code, "application/json; charset=UTF-8", body.to_string())
}

/// The segment of a path that follows these.
fn after<'a>(path: &'a str, before: &str) -> &'a str {
    path.split_once(before).map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default())
}

/// Of labels, or of a description where Google has no labels.
fn token(body: &Value) -> Option<String> {
    let described = |body: &Value| serde_json::from_str::<Value>(body["description"].as_str()?).ok();
    let inner = if body["serviceAccount"].is_object() { &body["serviceAccount"] } else { body };
    let of_description = described(inner).and_then(|told| told["dsctl"]["token"].as_str().map(str::to_owned));
    of_description.or_else(|| inner["labels"]["dsctl-token"].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_follows_in_the_path() {
        let path = "/compute/v1/projects/p/zones/us-central1-a/instances/i";
        assert_eq!((after(path, "/zones/"), after(path, "/regions/")), ("us-central1-a", ""));
    }

    #[test]
    fn a_token_stands_in_labels_or_in_a_description() {
        assert_eq!(token(&json!({"labels": {"dsctl-token": "t"}})).as_deref(), Some("t"));
        let description = r#"{"dsctl":{"token":"u"}}"#;
        assert_eq!(token(&json!({"description": description})).as_deref(), Some("u"));
        assert_eq!(token(&json!({"serviceAccount": {"description": description}})).as_deref(), Some("u"));
        assert_eq!(token(&json!({"name": "n"})), None);
    }
}
