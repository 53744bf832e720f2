//! Tokens of Microsoft Entra, from wherever the user has credentials, and who they say is asking.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_identity::{
    ClientSecretCredential, DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::provider::{ErrorKind, ProviderError};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OnceCell};

use super::auth::set;

/// Where a machine on Azure asks who it is. Elsewhere nobody answers, and a call would be repeated for minutes.
const METADATA: &str = "169.254.169.254:80";
const METADATA_LIMIT: Duration = Duration::from_millis(500);
/// Azure's own tools take seconds, and so does the service.
const TOKEN_LIMIT: Duration = Duration::from_secs(60);
/// Before a token's end, in seconds: what is begun with one should be able to end with it.
const SPARE: i64 = 5 * 60;
const WHAT: &str = "Azure's credentials";
/// Stands in for a token where the endpoint is a test's: claims of somebody called Ada, and no signature.
const OF_TESTS: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJvaWQiOiIwZDVjNzFhYS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDEiLCJ0aWQiOiIwZDVjNzFhYS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwZmYiLCJ1cG4iOiJhZGFAZXhhbXBsZS5vcmcifQ.x";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    Manager,
    Storage,
}

impl Audience {
    const fn scope(self) -> &'static str {
        match self {
            Self::Manager => "https://management.azure.com/.default",
            Self::Storage => "https://storage.azure.com/.default",
        }
    }
}

/// Gives tokens.
#[derive(Debug)]
pub enum Tokens {
    Fixed,
    Chain(Chain),
}

/// The first credential that gave a token gives all. That of the Azure CLI keeps none: each would be a process.
#[derive(Debug, Default)]
pub struct Chain {
    chosen: OnceCell<Arc<dyn TokenCredential>>,
    /// Whoever comes while one is asked for waits for it.
    held: Mutex<BTreeMap<Audience, AccessToken>>,
}

impl Tokens {
    pub fn of_user() -> Self {
        Self::Chain(Chain::default())
    }

    pub async fn token(&self, audience: Audience) -> Result<String, ProviderError> {
        match self {
            Self::Fixed => Ok(OF_TESTS.to_owned()),
            Self::Chain(chain) => chain.token(audience, Timestamp::now()).await,
        }
    }

    /// Who is asking, as the token says.
    pub async fn caller(&self) -> Result<Caller, ProviderError> {
        Caller::of(&self.token(Audience::Manager).await?)
    }
}

impl Chain {
    async fn token(&self, audience: Audience, now: Timestamp) -> Result<String, ProviderError> {
        let mut held = self.held.lock().await;
        if let Some(token) = held.get(&audience).filter(|token| is_good(token, now)) {
            return Ok(token.token.secret().to_owned());
        }
        let credential = self.chosen.get_or_try_init(choose).await?;
        let token = asked(credential.as_ref(), audience).await?;
        let text = token.token.secret().to_owned();
        held.insert(audience, token);
        Ok(text)
    }
}

fn is_good(token: &AccessToken, now: Timestamp) -> bool {
    token.expires_on.unix_timestamp() - SPARE > now.as_second()
}

async fn asked(credential: &dyn TokenCredential, audience: Audience) -> Result<AccessToken, ProviderError> {
    let scopes = [audience.scope()];
    match tokio::time::timeout(TOKEN_LIMIT, credential.get_token(&scopes, None)).await {
        Ok(answer) => answer.map_err(|error| failed(&error)),
        Err(_) => Err(ProviderError::new(ErrorKind::NotYet, WHAT, format!("no token in {} s", TOKEN_LIMIT.as_secs()))),
    }
}

/// Whoever could not be asked has refused nothing. Microsoft's library says of every failure that it is one of credentials;
/// what it was lies beneath.
fn failed(error: &azure_core::Error) -> ProviderError {
    match passing_beneath(error) {
        Some(kind) => ProviderError::new(kind, WHAT, in_one_line(&error.to_string())),
        None => refused(&error.to_string()),
    }
}

fn passing_beneath(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let own = error.downcast_ref::<azure_core::Error>().and_then(passing);
    own.or_else(|| error.source().and_then(passing_beneath))
}

/// What a failure is that passes; none where trying again will not help.
fn passing(error: &azure_core::Error) -> Option<ErrorKind> {
    use azure_core::error::ErrorKind as Theirs;
    match error.kind() {
        Theirs::Connection | Theirs::Io => Some(ErrorKind::NotYet),
        Theirs::HttpResponse { status, .. } => match u16::from(*status) {
            429 => Some(ErrorKind::Throttled { retry_after: None }),
            408 | 500.. => Some(ErrorKind::NotYet),
            _ => None,
        },
        _ => None,
    }
}

fn refused(message: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Credentials, WHAT, in_one_line(message)).with_next("az login")
}

fn in_one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

type Named = (&'static str, azure_core::Result<Arc<dyn TokenCredential>>);

/// What the environment names is meant, and nothing else is tried.
async fn choose() -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let named = match (set("AZURE_CLIENT_SECRET"), set("AZURE_FEDERATED_TOKEN_FILE")) {
        (Some(secret), _) => vec![("AZURE_CLIENT_SECRET", by_secret(secret))],
        (None, Some(_)) => vec![("workload identity", WorkloadIdentityCredential::new(None).map(as_dyn))],
        (None, None) => by_place().await,
    };
    let (mut told, mut passes) = (Vec::new(), None);
    for (name, credential) in named {
        match tried(credential).await {
            Ok(credential) => return Ok(credential),
            Err(error) => {
                told.push(format!("{name}: {}", error.message));
                passes = passes.or(Some(error.kind).filter(|kind| *kind != ErrorKind::Credentials));
            }
        }
    }
    let error = refused(&told.join("\n"));
    Err(match passes {
        Some(kind) => ProviderError { kind, next: None, ..error },
        None => error,
    })
}

fn as_dyn<T: TokenCredential + 'static>(credential: Arc<T>) -> Arc<dyn TokenCredential> {
    credential
}

fn by_secret(secret: String) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let (tenant, client) = (needed("AZURE_TENANT_ID")?, needed("AZURE_CLIENT_ID")?);
    ClientSecretCredential::new(&tenant, client, Secret::new(secret), None).map(as_dyn)
}

/// Microsoft's own error for an empty one names no variable.
fn needed(name: &str) -> azure_core::Result<String> {
    let missing =
        || azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, format!("{name} is not set"));
    set(name).ok_or_else(missing)
}

/// The machine's own identity, where there is one; else that of somebody who logged in with Azure's own tools.
async fn by_place() -> Vec<Named> {
    let tools = ("az", DeveloperToolsCredential::new(None).map(as_dyn));
    let is_hosted = set("IDENTITY_ENDPOINT").is_some() || answers(METADATA).await;
    let machine = is_hosted.then(|| ("managed identity", of_machine()));
    machine.into_iter().chain([tools]).collect()
}

/// The one that is named, where a machine has several.
fn of_machine() -> azure_core::Result<Arc<dyn TokenCredential>> {
    let user_assigned_id = set("AZURE_CLIENT_ID").map(UserAssignedId::ClientId);
    let options = ManagedIdentityCredentialOptions { user_assigned_id, ..ManagedIdentityCredentialOptions::default() };
    ManagedIdentityCredential::new(Some(options)).map(as_dyn)
}

async fn answers(address: &str) -> bool {
    tokio::time::timeout(METADATA_LIMIT, TcpStream::connect(address)).await.is_ok_and(|connected| connected.is_ok())
}

/// A credential that gives a token.
async fn tried(
    credential: azure_core::Result<Arc<dyn TokenCredential>>,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let credential = credential.map_err(|error| failed(&error))?;
    asked(credential.as_ref(), Audience::Manager).await?;
    Ok(credential)
}

/// Somebody in Entra.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The object's id, which roles are assigned to.
    pub object: String,
    /// A person's name, or an application's id.
    pub name: String,
    pub kind: PrincipalKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind {
    User,
    ServicePrincipal,
}

impl PrincipalKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::ServicePrincipal => "ServicePrincipal",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Claims {
    oid: Option<String>,
    upn: Option<String>,
    unique_name: Option<String>,
    preferred_username: Option<String>,
    appid: Option<String>,
    azp: Option<String>,
    idtyp: Option<String>,
}

impl Caller {
    /// Nobody relies on what is read here: Azure checks the signature.
    pub fn of(token: &str) -> Result<Self, ProviderError> {
        let unreadable = || refused("the token says not who is asking");
        let body = token.split('.').nth(1).ok_or_else(unreadable)?;
        let bytes = URL_SAFE_NO_PAD.decode(body.trim_end_matches('=')).map_err(|_| unreadable())?;
        let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
        let person = claims.upn.or(claims.unique_name).or(claims.preferred_username);
        let application = claims.appid.or(claims.azp);
        let is_application = claims.idtyp.as_deref() == Some("app") || person.is_none();
        let kind = if is_application { PrincipalKind::ServicePrincipal } else { PrincipalKind::User };
        let object = claims.oid.ok_or_else(unreadable)?;
        Ok(Self { name: person.or(application).unwrap_or_else(|| object.clone()), object, kind })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use azure_core::credentials::TokenRequestOptions;
    use azure_core::time::OffsetDateTime;

    use super::*;

    fn token(claims: &serde_json::Value) -> String {
        format!("x.{}.y", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn a_token_says_who_is_asking() {
        let ada = Caller::of(OF_TESTS).unwrap();
        assert_eq!((ada.name.as_str(), ada.kind), ("ada@example.org", PrincipalKind::User));
        assert_eq!(ada.object, "0d5c71aa-0000-4000-8000-000000000001");
        let claims = serde_json::json!({"oid": "o", "appid": "a", "idtyp": "app"});
        let robot = Caller::of(&token(&claims)).unwrap();
        assert_eq!((robot.name.as_str(), robot.kind.as_str()), ("a", "ServicePrincipal"));
    }

    #[test]
    fn what_is_no_token_is_an_error_of_credentials() {
        for text in ["", "x", "x.y.z", &token(&serde_json::json!({"upn": "ada"}))] {
            let error = Caller::of(text).unwrap_err();
            assert_eq!((error.kind, error.next()), (ErrorKind::Credentials, Some("az login")), "{text}");
        }
    }

    /// Gives tokens that hold for an hour from the beginning of time; counts them.
    #[derive(Debug, Default)]
    struct Tool {
        asked: AtomicU32,
        is_silent: bool,
    }

    #[async_trait::async_trait]
    impl TokenCredential for Tool {
        async fn get_token(
            &self,
            scopes: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            if self.is_silent {
                std::future::pending::<()>().await;
            }
            let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            let end = OffsetDateTime::from_unix_timestamp(3600 * i64::from(number)).unwrap();
            Ok(AccessToken::new(format!("{number} for {}", scopes[0]), end))
        }
    }

    fn chain(tool: Tool) -> Chain {
        Chain { chosen: OnceCell::new_with(Some(Arc::new(tool))), ..Chain::default() }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_an_audience_until_shortly_before_its_end() {
        let chain = chain(Tool::default());
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let first = chain.token(Audience::Manager, at(0)).await.unwrap();
        assert_eq!(first, "1 for https://management.azure.com/.default");
        assert_eq!(chain.token(Audience::Manager, at(3299)).await.unwrap(), first);
        let other = chain.token(Audience::Storage, at(0)).await.unwrap();
        assert_eq!(other, "2 for https://storage.azure.com/.default");
        let again = chain.token(Audience::Manager, at(3300)).await.unwrap();
        assert_eq!(again, "3 for https://management.azure.com/.default");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_is_not_waited_for_and_has_refused_nothing() {
        let chain = chain(Tool { is_silent: true, ..Tool::default() });
        let error = chain.token(Audience::Manager, Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert_eq!(
            (error.kind, error.to_string().as_str()),
            (ErrorKind::NotYet, "Azure's credentials: no token in 60 s")
        );
    }

    #[test]
    fn a_failure_that_passes_is_no_refusal() {
        use azure_core::error::ErrorKind as Theirs;
        let wrapped = |beneath: Theirs| {
            let beneath = azure_core::Error::with_message(beneath, "no such host");
            failed(&azure_core::Error::with_error(Theirs::Credential, beneath, "authentication failed.\nno such host"))
        };
        let answered = |status: u16| {
            wrapped(Theirs::HttpResponse { status: status.into(), error_code: None, raw_response: None }).kind
        };
        assert_eq!(wrapped(Theirs::Connection).kind, ErrorKind::NotYet);
        assert_eq!((answered(503), answered(400)), (ErrorKind::NotYet, ErrorKind::Credentials));
        assert_eq!(answered(429), ErrorKind::Throttled { retry_after: None });
        let refused = wrapped(Theirs::Other);
        assert_eq!((refused.kind, refused.next()), (ErrorKind::Credentials, Some("az login")));
        assert_eq!(refused.message, "authentication failed.; no such host");
    }

    #[tokio::test]
    async fn tests_need_no_credentials() {
        assert_eq!(Tokens::Fixed.token(Audience::Storage).await.unwrap(), OF_TESTS);
        assert!(Tokens::Fixed.caller().await.is_ok());
    }
}
