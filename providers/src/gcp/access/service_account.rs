//! `service-account.machine`: who the machine is to Google. It has no key that could be carried away: the machine asks its
//! metadata server for tokens.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gcp::auth::{Gcp, Making};
use crate::gcp::error::{found, gone};
use crate::gcp::labels::{Ownership, Whose};
use crate::gcp::names::{self, last};
use crate::gcp::resource::{Calls, made};
use crate::gcp::rest::{Host, Rest};

#[derive(Debug)]
pub struct ServiceAccount;

/// What IAM shows of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Described {
    pub email: String,
    description: Option<String>,
    disabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Page {
    accounts: Vec<Described>,
    next_page_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Key {
    name: String,
}

/// The id of an account by its e-mail address.
pub fn id_of(project: &str, email: &str) -> RemoteId {
    RemoteId(format!("projects/{project}/serviceAccounts/{email}"))
}

/// The e-mail address of an id.
pub fn email(id: &str) -> Result<&str, ProviderError> {
    let is_one = id.contains("/serviceAccounts/") && last(id).contains('@');
    is_one.then(|| last(id)).ok_or_else(|| ProviderError::permanent(id, "it is no service account"))
}

#[async_trait]
impl Calls for ServiceAccount {
    async fn read(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<Option<Value>, ProviderError> {
        let email = email(&resource.remote_id.0)?;
        let Some(account) = described(gcp, email).await? else { return Ok(None) };
        Ok(Some(observed(&account, keys(gcp, email).await?.len())))
    }

    async fn find(
        &self,
        gcp: &Gcp,
        _address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let email = own_email(gcp, &known.lineage);
        Ok(whose(gcp, &email).await?.found_by(token, id_of(&gcp.project, &email)))
    }

    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let address = &making.desired.address;
        let email = own_email(gcp, &making.known.lineage);
        let account = json!({
            "displayName": format!("dsctl {}: the machine", gcp.deployment),
            "description": gcp.mark(making).description(),
        });
        let body = json!({ "accountId": names::account_id(&gcp.deployment, &making.known.lineage), "serviceAccount": account });
        let path = ["v1", "projects", &gcp.project, "serviceAccounts"];
        let call = gcp.rest.call(Host::Iam, Method::POST, &path, &[]).json(&body);
        let answer = gcp.rest.act(address, call).await.map(drop);
        made(gcp, making, id_of(&gcp.project, &email), answer, whose(gcp, &email)).await
    }

    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let email = email(&id.0)?;
        let not_yet = || ProviderError::new(ErrorKind::NotYet, &desired.address, "it does not show yet");
        let account = described(gcp, email).await?.ok_or_else(not_yet)?;
        if account.disabled {
            let call = gcp.rest.call(Host::Iam, Method::POST, &path(gcp, &format!("{email}:enable")), &[]);
            gcp.rest.act(format!("enabling {email}"), call.json(&json!({}))).await?;
        }
        for key in keys(gcp, email).await? {
            let parts = [path(gcp, email).as_slice(), &["keys", last(&key)]].concat();
            let call = gcp.rest.call(Host::Iam, Method::DELETE, &parts, &[]);
            gone(gcp.rest.act(format!("removing a key of {email}"), call).await)?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let email = email(&resource.remote_id.0)?;
        let call = gcp.rest.call(Host::Iam, Method::DELETE, &path(gcp, email), &[]);
        gone(gcp.rest.act(format!("removing {email}"), call).await)
    }
}

fn own_email(gcp: &Gcp, lineage: &str) -> String {
    names::email(&names::account_id(&gcp.deployment, lineage), &gcp.project)
}

fn path<'a>(gcp: &'a Gcp, email: &'a str) -> [&'a str; 5] {
    ["v1", "projects", &gcp.project, "serviceAccounts", email]
}

async fn described(gcp: &Gcp, email: &str) -> Result<Option<Described>, ProviderError> {
    let what = format!("looking at {email}");
    let call = gcp.rest.call(Host::Iam, Method::GET, &path(gcp, email), &[]);
    found(gcp.rest.look(&what, call).await)?.map(|answer| answer.json(&what)).transpose()
}

async fn whose(gcp: &Gcp, email: &str) -> Result<Whose, ProviderError> {
    let account = described(gcp, email).await?;
    Ok(account.map_or(Whose::Absent, |account| Whose::described(account.description.as_deref())))
}

/// Names of the keys that somebody made of it; Google's own, which nobody ever sees, do not count.
async fn keys(gcp: &Gcp, email: &str) -> Result<Vec<String>, ProviderError> {
    let what = format!("keys of {email}");
    let parts = [path(gcp, email).as_slice(), &["keys"]].concat();
    let call = gcp.rest.call(Host::Iam, Method::GET, &parts, &[("keyTypes", "USER_MANAGED")]);
    let Some(answer) = found(gcp.rest.look(&what, call).await)? else { return Ok(Vec::new()) };
    let keys: Keys = answer.json(&what)?;
    Ok(keys.keys.into_iter().map(|key| key.name).collect())
}

/// There are no inputs; what is not as we make it shows as a further key.
fn observed(account: &Described, keys: usize) -> Value {
    let mut seen = json!({});
    if account.disabled {
        seen["disabled"] = json!(true);
    }
    if keys > 0 {
        seen["keys"] = json!(keys);
    }
    seen
}

/// Address and ownership of each account of the project that belongs to a deployment.
pub async fn owned(rest: &Rest, project: &str) -> Result<Vec<(String, Ownership)>, ProviderError> {
    let what = "looking for service accounts";
    let (mut owned, mut token) = (Vec::new(), String::new());
    loop {
        let query = [("pageSize", "100"), ("pageToken", token.as_str())];
        let path = ["v1", "projects", project, "serviceAccounts"];
        let page: Page = rest.look(what, rest.call(Host::Iam, Method::GET, &path, &query)).await?.json(what)?;
        for account in page.accounts {
            owned.extend(Ownership::of_description(account.description.as_deref()).map(|whose| (account.email, whose)));
        }
        match page.next_page_token.filter(|next| !next.is_empty()) {
            Some(next) => token = next,
            None => return Ok(owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_its_address_and_back() {
        let id = id_of("p", "dsctl-1@p.iam.gserviceaccount.com");
        assert_eq!(email(&id.0).unwrap(), "dsctl-1@p.iam.gserviceaccount.com");
        assert!(email("projects/p/global/networks/n").is_err());
    }

    #[test]
    fn a_key_that_somebody_made_shows() {
        let account: Described = serde_json::from_value(json!({"email": "a@p", "uniqueId": "1", "etag": "x"})).unwrap();
        assert_eq!(observed(&account, 0), json!({}));
        assert_eq!(observed(&account, 2), json!({"keys": 2}));
        let off: Described = serde_json::from_value(json!({"email": "a@p", "disabled": true})).unwrap();
        assert_eq!(observed(&off, 0), json!({"disabled": true}));
    }
}
