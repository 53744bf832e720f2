//! Tokens of Microsoft Entra, from wherever the user has credentials, and who they say is asking.

use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::{Secret, TokenCredential};
use azure_identity::{
    ClientSecretCredential, DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::provider::{ErrorKind, ProviderError};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::auth::set;

/// Where a machine on Azure asks who it is. Elsewhere nobody answers, and a call would be repeated for minutes.
const METADATA: &str = "169.254.169.254:80";
const METADATA_LIMIT: Duration = Duration::from_millis(500);
/// Stands in for a token where the endpoint is a test's: claims of somebody called Ada, and no signature.
const OF_TESTS: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJvaWQiOiIwZDVjNzFhYS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDEiLCJ0aWQiOiIwZDVjNzFhYS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwZmYiLCJ1cG4iOiJhZGFAZXhhbXBsZS5vcmcifQ.x";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Gives tokens; the first credential that gave one gives all.
#[derive(Debug)]
pub enum Tokens {
    Fixed,
    Chain(OnceCell<Arc<dyn TokenCredential>>),
}

impl Tokens {
    pub fn of_user() -> Self {
        Self::Chain(OnceCell::new())
    }

    pub async fn token(&self, audience: Audience) -> Result<String, ProviderError> {
        let Self::Chain(chosen) = self else { return Ok(OF_TESTS.to_owned()) };
        let credential = chosen.get_or_try_init(choose).await?;
        let token =
            credential.get_token(&[audience.scope()], None).await.map_err(|error| refused(&error.to_string()))?;
        Ok(token.token.secret().to_owned())
    }

    /// Who is asking, as the token says.
    pub async fn caller(&self) -> Result<Caller, ProviderError> {
        Caller::of(&self.token(Audience::Manager).await?)
    }
}

fn refused(message: &str) -> ProviderError {
    let told = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    ProviderError::new(ErrorKind::Credentials, "Azure's credentials", told).with_next("az login")
}

type Named = (&'static str, azure_core::Result<Arc<dyn TokenCredential>>);

/// What the environment names is meant, and nothing else is tried.
async fn choose() -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let named = match (set("AZURE_CLIENT_SECRET"), set("AZURE_FEDERATED_TOKEN_FILE")) {
        (Some(secret), _) => vec![("AZURE_CLIENT_SECRET", by_secret(secret))],
        (None, Some(_)) => vec![("workload identity", WorkloadIdentityCredential::new(None).map(as_dyn))],
        (None, None) => by_place().await,
    };
    let mut told = Vec::new();
    for (name, credential) in named {
        match tried(credential).await {
            Ok(credential) => return Ok(credential),
            Err(error) => told.push(format!("{name}: {error}")),
        }
    }
    Err(refused(&told.join("\n")))
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
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let credential = credential?;
    credential.get_token(&[Audience::Manager.scope()], None).await?;
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

    #[tokio::test]
    async fn tests_need_no_credentials() {
        assert_eq!(Tokens::Fixed.token(Audience::Storage).await.unwrap(), OF_TESTS);
        assert!(Tokens::Fixed.caller().await.is_ok());
    }
}
