//! How Azure names calls, refuses and breaks, for the proxy in front of the fake.

use std::sync::{Arc, Weak};

use axum::http::Method;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Client;

use super::ask::{Asked, Refusal};
use super::serve::{is_blob, name};
use super::settings::{CALLER, Shortage};
use super::{Azure, quota};
use crate::proxy::message::{self, Answer, pass_on};
use crate::proxy::{Dialect, Fault, Named};

/// What is asked for by `POST` and changes nothing.
const LOOKS: [&str; 4] = [
    "VirtualMachines_RetrieveBootDiagnosticsData",
    "StorageAccounts_CheckNameAvailability",
    "StorageAccounts_ListKeys",
    "Service_GetUserDelegationKey",
];

#[derive(Debug)]
pub struct AzureDialect {
    client: Client,
    url: String,
    /// A proxy lives as long as its process, and the fake must end with its test.
    azure: Weak<Azure>,
}

impl AzureDialect {
    /// Of a fake that answers at `url`, by itself or behind something.
    pub fn new(azure: &Arc<Azure>, url: String) -> Self {
        let client = Client::builder().no_proxy().build().expect("an HTTP client");
        Self { client, url, azure: Arc::downgrade(azure) }
    }
}

impl Dialect for AzureDialect {
    fn name(&self, asked: &message::Asked) -> Named {
        let asked = Asked::from(asked);
        let operation = name(&asked);
        let is_look = [Method::GET, Method::HEAD].contains(&asked.method) || LOOKS.contains(&operation.as_str());
        Named {
            service: operation.split('_').next().unwrap_or_default().to_owned(),
            region: String::new(),
            mutating: !is_look,
            token: token(&asked),
            operation,
        }
    }

    fn refusal(&self, asked: &message::Asked, fault: &Fault) -> Option<Answer> {
        let asked = Asked::from(asked);
        refusal(&asked, fault).map(|refusal| refusal.answer(is_blob(&asked), &asked.method).into())
    }

    fn broken(&self, asked: &message::Asked, status: u16) -> Answer {
        let asked = Asked::from(asked);
        let refusal = Refusal::new(status, "InternalServerError", "Encountered internal server error.");
        refusal.answer(is_blob(&asked), &asked.method).into()
    }

    fn forward<'a>(&'a self, asked: &'a message::Asked) -> BoxFuture<'a, Answer> {
        let away = |why: String| Refusal::new(502, "TheFakeIsAway", why).arm().into();
        pass_on(&self.client, &self.url, asked).map(move |answered| answered.unwrap_or_else(away)).boxed()
    }

    fn hide(&self, asked: &message::Asked, _answer: &Answer, looks: u32) {
        self.azure.upgrade().expect("the fake ends after its calls").hide(&Asked::from(asked), looks);
    }

    fn reset(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// What is said instead of doing it.
fn refusal(asked: &Asked, fault: &Fault) -> Option<Refusal> {
    Some(match fault {
        Fault::Throttle { .. } => {
            let message = "The request is being throttled as the limit has been reached for operation type. For more \
                           information, see - https://aka.ms/srpthrottlinglimits";
            Refusal::new(429, "TooManyRequests", message)
        }
        Fault::Capacity => quota::told(Shortage::SkuNotAvailable, &size(asked), &region(asked)),
        Fault::Quota => quota::refusal(&region(asked), quota::CORES, (0, 0, 24)),
        Fault::Denied => {
            let message = format!(
                "The client 'ada@example.org' with object id '{CALLER}' does not have authorization to perform action over \
                 scope '{}' or the scope is invalid. If access was recently granted, please refresh your credentials.",
                asked.path()
            );
            Refusal::new(403, "AuthorizationFailed", message)
        }
        _ => return None,
    })
}

fn token(asked: &Asked) -> Option<String> {
    let of_blob = asked.metadata().into_iter().find(|(name, _)| name == "dsctl_token").map(|(_, value)| value);
    of_blob.or_else(|| asked.json()["tags"]["dsctl-token"].as_str().map(str::to_owned))
}

fn size(asked: &Asked) -> String {
    asked.json()["properties"]["hardwareProfile"]["vmSize"].as_str().unwrap_or("the size").to_owned()
}

fn region(asked: &Asked) -> String {
    asked.json()["location"].as_str().unwrap_or("eastus").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::tags;
    use super::*;

    fn asked(method: Method, target: &str, body: &serde_json::Value) -> message::Asked {
        let headers = axum::http::HeaderMap::new();
        message::Asked { method, target: target.to_owned(), headers, body: body.to_string().into() }
    }

    #[test]
    fn calls_are_known_by_name_and_token_and_refused_in_the_services_words() {
        let azure = Arc::new(Azure::start());
        let dialect = AzureDialect::new(&azure, azure.url());
        let group = "/subscriptions/s/resourcegroups/g?api-version=2025-04-01";
        let put = asked(Method::PUT, group, &json!({"location": "eastus", "tags": tags("t")}));
        let named = dialect.name(&put);
        assert_eq!((named.operation.as_str(), named.mutating), ("ResourceGroups_CreateOrUpdate", true));
        assert_eq!(named.token.as_deref(), Some("t"));
        let throttled = dialect.refusal(&put, &Fault::Throttle { times: 1 }).expect("a refusal");
        assert_eq!((throttled.status, throttled.headers.get("retry-after").is_some()), (429, true));
        assert!(dialect.refusal(&put, &Fault::TimeoutAfterSuccess).is_none());
        assert_eq!(dialect.broken(&put, 503).status, 503);
    }
}
