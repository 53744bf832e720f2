//! Objects that dsctl itself writes into the container: their ids, what their metadata says, how they are removed.

use engine::graph::Address;
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use crate::azure::auth::{Azure, Making};
use crate::azure::blobs::{Head, Metadata, Place, Versions};
use crate::azure::id::{account_of, name_of};
use crate::azure::kind;

/// The token of the intent that made it.
pub const TOKEN: &str = "dsctl_token";
const LINEAGE: &str = "dsctl_lineage";
const ADDRESS: &str = "dsctl_address";

/// Of an id, `az://ACCOUNT/CONTAINER/KEY`.
pub fn parse(id: &RemoteId) -> Result<Place, ProviderError> {
    let parts: Option<Vec<&str>> = id.0.strip_prefix("az://").map(|rest| rest.splitn(3, '/').collect());
    match parts.as_deref() {
        Some([account, container, key]) if [account, container, key].iter().all(|part| !part.is_empty()) => {
            Ok(Place { account: (*account).to_owned(), container: (*container).to_owned(), key: (*key).to_owned() })
        }
        _ => Err(ProviderError::permanent(&id.0, "it is no az://ACCOUNT/CONTAINER/KEY")),
    }
}

/// Of an object of a container, by the container's id.
pub fn place(container: &str, key: impl Into<String>) -> Result<Place, ProviderError> {
    let account = account_of(container).ok_or_else(|| ProviderError::permanent(container, "it is no container"))?;
    let account = name_of(&account).to_owned();
    Ok(Place { account, container: name_of(container).to_owned(), key: key.into() })
}

/// Of an object of the deployment's container, while that is known.
pub fn known_place(known: &Known, key: impl Into<String>) -> Result<Option<Place>, ProviderError> {
    known.id(&bucket()).map(|container| place(&container.0, key)).transpose()
}

pub fn id(place: &Place) -> RemoteId {
    RemoteId(place.to_string())
}

fn bucket() -> Address {
    Address::new(kind::BUCKET, "main")
}

/// The address that inputs name its container by. One that the state has lost is still the recorded one.
pub fn bucket_address(found: &Place, resource: &Resource, known: &Known) -> Value {
    let own = known.id(&bucket()).and_then(|id| place(&id.0, "x").ok());
    match (own, resource.inputs.get("bucket")) {
        (Some(own), _) if own.account == found.account && own.container == found.container => {
            bucket().to_string().into()
        }
        (None, Some(recorded)) => recorded.clone(),
        _ => format!("az://{}/{}", found.account, found.container).into(),
    }
}

/// What tags are to other things.
pub fn metadata(making: &Making<'_>) -> Metadata {
    let (address, lineage) = (making.desired.address.to_string(), making.known.lineage.clone());
    let told = [(TOKEN, making.token.0.clone()), (LINEAGE, lineage), (ADDRESS, address)];
    told.map(|(key, value)| (key.to_owned(), value)).into()
}

/// Text as a header carries it: what is not a visible character of ASCII is percent-encoded.
pub fn to_header(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

pub fn from_header(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let encoded = (*first == b'%').then(|| others.get(..2)).flatten().and_then(|two| hex::decode(two).ok());
        bytes.push(encoded.as_ref().map_or(*first, |byte| byte[0]));
        rest = if encoded.is_some() { &others[2..] } else { others };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What its metadata says; none if it is not there.
pub async fn head(azure: &Azure, place: &Place, known: &Known) -> Result<Option<Head>, ProviderError> {
    match azure.blobs.head(place).await {
        Err(error) => if_account_lives(azure, place, known, error).await,
        answer => answer,
    }
}

/// An account that is gone is no host any more: it does not answer that there is nothing, nobody answers.
pub async fn if_account_lives<T>(
    azure: &Azure,
    place: &Place,
    known: &Known,
    error: ProviderError,
) -> Result<Option<T>, ProviderError> {
    if error.kind != ErrorKind::NotYet {
        return Err(error);
    }
    let storage = Address::new(kind::STORAGE, "main");
    let id = azure.id_for(&storage, &Token(String::new()), known)?;
    let is_gone = name_of(&id) == place.account && azure.arm.get(&id).await?.is_none();
    if is_gone { Ok(None) } else { Err(error) }
}

/// The id of the object there, if this token made it.
pub async fn made_by(
    azure: &Azure,
    place: &Place,
    token: &Token,
    known: &Known,
) -> Result<Option<RemoteId>, ProviderError> {
    let head = head(azure, place, known).await?;
    Ok(head.filter(|head| head.metadata.get(TOKEN) == Some(&token.0)).map(|_| id(place)))
}

/// An update of what somebody removed since it was last looked at.
pub fn lost(place: &Place) -> ProviderError {
    ProviderError::permanent(place, "somebody removed it").with_next("dsctl up (it makes a new one)")
}

/// With all its versions: what was once a secret is not left behind.
pub async fn remove(azure: &Azure, resource: &Resource, known: &Known) -> Result<(), ProviderError> {
    let place = parse(&resource.remote_id)?;
    match remove_all(azure, &place).await {
        Err(error) => if_account_lives(azure, &place, known, error).await.map(|_: Option<()>| ()),
        done => done,
    }
}

pub async fn remove_all(azure: &Azure, place: &Place) -> Result<(), ProviderError> {
    azure.blobs.delete(place, None).await?;
    let versions = azure.blobs.list(place, Versions::All).await?;
    for version in versions.iter().filter(|version| version.name == place.key) {
        if let Some(version) = &version.version_id {
            azure.blobs.delete(place, Some(version)).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_its_place_and_back() {
        let text = "az://a/dsctl/secrets/api-key";
        let place = parse(&RemoteId(text.to_owned())).unwrap();
        assert_eq!((place.key.as_str(), id(&place).0.as_str()), ("secrets/api-key", text));
        for bad in ["a/b/c", "az://a", "az://a/b", "az://a/b/", "az:///b/c"] {
            assert!(parse(&RemoteId(bad.to_owned())).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_object_is_in_the_container_that_the_state_knows() {
        let found = parse(&RemoteId("az://a/dsctl/k".to_owned())).unwrap();
        let mut resource = Resource::unread(id(&found));
        resource.inputs = serde_json::json!({"bucket": "bucket.main"});
        assert_eq!(bucket_address(&found, &resource, &Known::empty("l")), "bucket.main");
        resource.inputs = Value::Null;
        assert_eq!(bucket_address(&found, &resource, &Known::empty("l")), "az://a/dsctl");
    }

    #[test]
    fn a_header_carries_any_text() {
        for text in ["generated", "from /home/jürgen/100% key", ""] {
            assert!(to_header(text).bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            assert_eq!(from_header(&to_header(text)), text);
        }
    }
}
