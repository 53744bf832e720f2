//! Who the blob service lets in: the token's owner, by role assignments, once these have gone round.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::access::{BLOB_CONTRIBUTOR, BLOB_OWNER, BLOB_READER};
use super::ask::{Asked, Refusal};
use super::conditions::{self, Deed};
use super::place::is_within;
use super::settings::CALLER;
use super::world::{Thing, World};

const BLOBS: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Read,
    Write,
    Delete,
    /// Of one version: more than to remove what is current, which versioning undoes.
    DeleteVersion,
    /// Settings of the service: a right of who owns the account, not of who uses its blobs.
    Manage,
}

impl Verb {
    /// To remove something: all of it that shows, or one version.
    pub fn of_removal(asked: &Asked) -> Self {
        if asked.parameter("versionid").is_some() { Self::DeleteVersion } else { Self::Delete }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write | Self::Manage => "write",
            Self::Delete => "delete",
            Self::DeleteVersion => "deleteBlobVersion/action",
        }
    }

    fn is_of(self, role: &str) -> bool {
        match role {
            BLOB_OWNER => true,
            BLOB_CONTRIBUTOR => self != Self::DeleteVersion,
            BLOB_READER => self == Self::Read,
            _ => false,
        }
    }
}

/// Whose token it is: the claim `oid` of a JWT, else the caller of the tests.
pub(super) fn owner(token: &str) -> String {
    let claims =
        token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
    let claims: Option<Value> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let owner = claims.and_then(|claims| claims["oid"].as_str().map(str::to_owned));
    owner.unwrap_or_else(|| CALLER.to_owned())
}

pub(super) fn check(
    world: &mut World,
    asked: &Asked,
    account: &Thing,
    (container, path): (&str, &str),
    verb: Verb,
) -> Result<(), Refusal> {
    let Some(token) = asked.bearer() else { return Err(without_token(asked, account)) };
    let owner = owner(token);
    if verb == Verb::Manage {
        return if owner == CALLER { Ok(()) } else { Err(not_permitted()) };
    }
    let scope = format!("{}/blobServices/default/containers/{container}", account.id);
    let action = format!("{BLOBS}/{}", verb.word());
    let deed = Deed { action: &action, container, path };
    if has_role(world, &owner, &scope, verb, deed)? { Ok(()) } else { Err(not_permitted()) }
}

/// A new assignment is looked for in vain for a while.
fn has_role(world: &mut World, owner: &str, scope: &str, verb: Verb, deed: Deed<'_>) -> Result<bool, Refusal> {
    let mut is_let_in = false;
    for role in world.roles.values_mut() {
        if !verb.is_of(role.role()) || role.text("principalId") != owner || !is_within(scope, &role.scope) {
            continue;
        }
        let left = if verb == Verb::Read { &mut role.looks.reads } else { &mut role.looks.writes };
        if *left > 0 {
            *left -= 1;
            continue;
        }
        let condition = role.text("condition");
        is_let_in |= condition.is_empty() || conditions::holds(condition, deed)?;
    }
    Ok(is_let_in)
}

fn not_permitted() -> Refusal {
    let message = "This request is not authorized to perform this operation using this permission.";
    Refusal::new(403, "AuthorizationPermissionMismatch", message)
}

/// With the account's key, or with nothing.
fn without_token(asked: &Asked, account: &Thing) -> Refusal {
    let has_key = asked.header("authorization").is_some_and(|text| text.starts_with("SharedKey"));
    if has_key && account.body["properties"]["allowSharedKeyAccess"] == false {
        let message = "Key based authentication is not permitted on this storage account.";
        return Refusal::new(403, "KeyBasedAuthenticationNotPermitted", message);
    }
    if asked.header("authorization").is_some() {
        let message = "Server failed to authenticate the request. Make sure the value of Authorization header is \
                       formed correctly including the signature.";
        return Refusal::new(403, "AuthenticationFailed", message);
    }
    let message =
        "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.";
    Refusal::new(401, "NoAuthenticationInformation", message)
}
