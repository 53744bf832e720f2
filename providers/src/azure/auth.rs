//! Who we are to Azure, where it is, and what every call for a deployment needs.

use std::sync::Arc;

use engine::graph::Address;
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use serde_json::Value;
use spec::id::DeploymentName;
use tokio::sync::OnceCell;

use super::arm::Arm;
use super::blobs::Blobs;
use super::credential::{Caller, Tokens};
use super::id::{Names, canonical};
use super::offers::sizes::Sizes;
use super::tags::Mark;
use crate::cloud::{Handed, Identity};
use crate::http::Http;
pub use crate::making::{Making, id, inputs};

/// Where Azure is, if not at Microsoft: Resource Manager, and blobs under `ENDPOINT/ACCOUNT`. No credential is looked for there.
const ENDPOINT: &str = "DSCTL_AZURE_ENDPOINT";
const PRICES: &str = "DSCTL_AZURE_PRICES";
const MANAGER: &str = "https://management.azure.com";
const RETAIL_PRICES: &str = "https://prices.azure.com";

/// An environment variable that says something.
pub fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Settings and credentials as Azure's own tools read them.
#[derive(Debug, Clone)]
pub struct Session {
    pub arm: Arm,
    pub blobs: Blobs,
    pub http: Http,
    /// Base URL of the list of prices.
    pub prices: String,
    tokens: Arc<Tokens>,
    subscription: Option<String>,
    region: Option<String>,
}

impl Session {
    pub fn load() -> Result<Self, ProviderError> {
        let endpoint = set(ENDPOINT).map(|url| url.trim_end_matches('/').to_owned());
        let tokens = if endpoint.is_some() { Tokens::Fixed } else { Tokens::of_user() };
        let subscription = set("AZURE_SUBSCRIPTION_ID").or_else(subscription_of_tools);
        let mut session = Self::at(endpoint, tokens)?;
        session.prices = set(PRICES).unwrap_or_else(|| RETAIL_PRICES.to_owned());
        session.subscription = subscription.map(|id| id.to_ascii_lowercase());
        session.region = set("AZURE_LOCATION").or_else(|| set("AZURE_DEFAULTS_LOCATION"));
        Ok(session)
    }

    fn at(endpoint: Option<String>, tokens: Tokens) -> Result<Self, ProviderError> {
        let (http, tokens) = (Http::new()?, Arc::new(tokens));
        let manager = endpoint.clone().unwrap_or_else(|| MANAGER.to_owned());
        Ok(Self {
            arm: Arm::new(http.clone(), manager, tokens.clone()),
            blobs: Blobs::new(http.clone(), endpoint, tokens.clone()),
            http,
            prices: String::new(),
            tokens,
            subscription: None,
            region: None,
        })
    }

    /// The region of the user's own settings.
    pub fn default_region(&self) -> Option<String> {
        self.region.clone()
    }

    /// In small letters, as every id has it here.
    pub fn subscription(&self) -> Result<&str, ProviderError> {
        let missing = || {
            let message = "no subscription is chosen: neither AZURE_SUBSCRIPTION_ID nor one of the Azure CLI";
            let error = ProviderError::new(ErrorKind::Credentials, "account", message);
            error.with_next("az login, then az account set --subscription …")
        };
        self.subscription.as_deref().ok_or_else(missing)
    }

    /// Who is asking, and that the subscription is there for them.
    pub async fn identity(&self) -> Result<Identity, ProviderError> {
        let subscription = self.subscription()?;
        let caller = self.tokens.caller().await?;
        self.arm.subscription(subscription).await?;
        Ok(Identity { account: subscription.to_owned(), caller: caller.name })
    }
}

/// The one that the Azure CLI works with.
fn subscription_of_tools() -> Option<String> {
    let folder = set("AZURE_CONFIG_DIR").map(std::path::PathBuf::from);
    let folder = folder.or_else(|| set("HOME").map(|home| std::path::Path::new(&home).join(".azure")))?;
    subscription_in(&std::fs::read(folder.join("azureProfile.json")).ok()?)
}

fn subscription_in(profile: &[u8]) -> Option<String> {
    // The file begins with a byte order mark.
    let profile = profile.strip_prefix(b"\xef\xbb\xbf").unwrap_or(profile);
    let profile: Value = serde_json::from_slice(profile).ok()?;
    let all = profile.get("subscriptions")?.as_array()?;
    let chosen = all.iter().find(|one| one["isDefault"] == true)?;
    chosen["id"].as_str().map(str::to_owned)
}

/// All that a call for one deployment needs.
#[derive(Debug)]
pub struct Azure {
    pub deployment: DeploymentName,
    pub region: String,
    pub arm: Arm,
    pub blobs: Blobs,
    pub handed: Handed,
    session: Session,
    caller: OnceCell<Caller>,
    sizes: OnceCell<Sizes>,
}

impl Azure {
    pub fn new(session: &Session, deployment: &DeploymentName, region: &str, handed: Handed) -> Self {
        Self {
            deployment: deployment.clone(),
            region: region.to_owned(),
            arm: session.arm.clone(),
            blobs: session.blobs.clone(),
            handed,
            session: session.clone(),
            caller: OnceCell::new(),
            sizes: OnceCell::new(),
        }
    }

    /// The subscription that every call is made in.
    pub fn subscription(&self) -> Result<&str, ProviderError> {
        self.session.subscription()
    }

    /// Whether it is the one that the deployment lies in. In another, everything of it would seem to be gone, and would be
    /// struck from the record while it lives on.
    pub fn is_at_home(&self) -> Result<(), ProviderError> {
        let found = self.subscription()?;
        let Some(home) = self.handed.account.as_ref().filter(|home| !home.eq_ignore_ascii_case(found)) else {
            return Ok(());
        };
        let message = format!("{} lies in the subscription {home}; {found} is chosen", self.deployment);
        let error = ProviderError::new(ErrorKind::Credentials, "account", message);
        Err(error.with_next(format!("az account set --subscription {home}, and the same command again")))
    }

    /// Asked once.
    pub async fn caller(&self) -> Result<&Caller, ProviderError> {
        self.caller.get_or_try_init(|| self.session.tokens.caller()).await
    }

    /// What the region's machine types can do; asked once.
    pub async fn sizes(&self) -> Result<&Sizes, ProviderError> {
        let asked = || async { Sizes::ask(&self.arm, self.subscription()?, &self.region).await };
        self.sizes.get_or_try_init(asked).await
    }

    pub fn names<'a>(&'a self, known: &'a Known) -> Result<Names<'a>, ProviderError> {
        Ok(Names { subscription: self.subscription()?, deployment: &self.deployment, lineage: &known.lineage })
    }

    /// The id of what an intent makes in Resource Manager.
    pub fn id_for(&self, address: &Address, token: &Token, known: &Known) -> Result<String, ProviderError> {
        let id = self.names(known)?.id(address, token);
        id.ok_or_else(|| ProviderError::permanent(address, "it is nothing that Resource Manager keeps"))
    }

    /// The tags of what an intent makes.
    pub async fn mark<'a>(&'a self, making: &Making<'a>) -> Result<Mark<'a>, ProviderError> {
        self.mark_of(&making.desired.address, making.token, &making.known.lineage).await
    }

    pub async fn mark_of<'a>(
        &'a self,
        address: &'a Address,
        token: &'a Token,
        lineage: &'a str,
    ) -> Result<Mark<'a>, ProviderError> {
        let owner = &self.caller().await?.name;
        Ok(Mark { deployment: &self.deployment, address, token, lineage, owner })
    }
}

/// The address that inputs name a resource by; its id where the state does not know it, so that it shows as a difference.
pub fn named(known: &Known, id: &str) -> String {
    let id = canonical(id);
    known.address_of(&id).map(ToString::to_string).unwrap_or(id)
}

/// The same of what an answer names, if it names anything.
pub fn named_at(known: &Known, thing: &Value, pointer: &str) -> Option<String> {
    thing.pointer(pointer).and_then(Value::as_str).map(|id| named(known, id))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A session at a server of a test, in a subscription that ends in `abcd`.
    pub fn session_at(endpoint: &str) -> Session {
        let mut session = Session::at(Some(endpoint.to_owned()), Tokens::Fixed).unwrap();
        session.prices = endpoint.to_owned();
        session.subscription = Some("11111111-2222-3333-4444-55555555abcd".to_owned());
        session
    }

    fn azure(account: &str) -> Azure {
        let handed = Handed { account: Some(account.to_owned()), ..Handed::default() };
        Azure::new(&session_at("http://127.0.0.1:9"), &"default".parse().unwrap(), "westeurope", handed)
    }

    #[test]
    fn another_subscription_is_refused_by_name_and_case_does_not_count() {
        assert!(azure("11111111-2222-3333-4444-55555555ABCD").is_at_home().is_ok());
        let error = azure("99999999-2222-3333-4444-555555555555").is_at_home().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Credentials);
        assert!(error.next().unwrap().starts_with("az account set --subscription 99999999-"), "{error:?}");
    }

    #[test]
    fn the_tools_own_subscription_is_the_default() {
        let profile = "\u{feff}{\"subscriptions\": [{\"id\": \"a\", \"isDefault\": false}, {\"id\": \"b\", \"isDefault\": true}]}";
        assert_eq!(subscription_in(profile.as_bytes()).as_deref(), Some("b"));
        assert_eq!(subscription_in(b"{\"subscriptions\": []}"), None);
        assert_eq!(subscription_in(b"x"), None);
    }

    #[test]
    fn without_a_subscription_the_error_says_how_to_choose_one() {
        let mut session = session_at("http://127.0.0.1:9");
        session.subscription = None;
        assert_eq!(session.subscription().unwrap_err().next(), Some("az login, then az account set --subscription …"));
    }

    #[test]
    fn what_the_state_does_not_know_shows_as_its_id() {
        let known = Known::empty("l");
        assert_eq!(named(&known, "/Subscriptions/S/resourcegroups/G"), "/subscriptions/s/resourceGroups/g");
    }
}
