//! `secret.NAME`: `secrets/NAME` in the container, one line of text. Made here or given by the user; never shown.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use super::object::{self, from_header, head, to_header};
use crate::azure::auth::{Azure, Making, inputs};
use crate::azure::blobs::{Metadata, Over, Place, Write};
use crate::azure::kind::SecretInputs;
use crate::azure::resource::Calls;
use crate::secret::{KeyChange, changed, generated, given, is_given, key, observed};

const FROM: &str = "dsctl_from";
const REVISION: &str = "dsctl_revision";

#[derive(Debug)]
pub struct Secret;

#[async_trait]
impl Calls for Secret {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = object::parse(&resource.remote_id)?;
        let Some(head) = head(azure, &place, known).await? else { return Ok(None) };
        let bucket = object::bucket_address(&place, resource, known);
        Ok(Some(seen(&head.metadata, &bucket, &resource.inputs)))
    }

    async fn find(
        &self,
        azure: &Azure,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        match object::known_place(known, key(address)?)? {
            Some(place) => object::made_by(azure, &place, token, known).await,
            None => Ok(None),
        }
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: SecretInputs = making.inputs()?;
        let address = &making.desired.address;
        let place = object::place(making.id(&inputs.bucket)?, key(address)?)?;
        let metadata = told(object::metadata(making), &inputs);
        if is_given(address) {
            write(azure, &place, &metadata, address).await?;
        } else {
            generate(azure, &place, &metadata, making.known).await?;
        }
        Ok(object::id(&place))
    }

    /// A generated value stays, since clients hold it; only what is told of it changes.
    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: SecretInputs = inputs(desired)?;
        let place = object::parse(id)?;
        let there = head(azure, &place, known).await?.ok_or_else(|| object::lost(&place))?;
        if let Some(change) = inputs.change {
            rekey(azure, &place, change).await?;
            return Ok(id.clone());
        }
        let wanted = told(there.metadata.clone(), &inputs);
        match (there.metadata == wanted, is_given(&desired.address)) {
            (true, _) => {}
            (false, true) => write(azure, &place, &wanted, &desired.address).await?,
            (false, false) => azure.blobs.set_metadata(&place, &wanted, Over::Read(&there.e_tag)).await?,
        }
        Ok(id.clone())
    }

    async fn delete(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<(), ProviderError> {
        object::remove(azure, resource, known).await
    }
}

fn told(mut metadata: Metadata, inputs: &SecretInputs) -> Metadata {
    metadata.insert(FROM.to_owned(), to_header(&inputs.from));
    metadata.insert(REVISION.to_owned(), inputs.revision.to_string());
    metadata
}

/// In the shape of [`SecretInputs`].
fn seen(metadata: &Metadata, bucket: &Value, recorded: &Value) -> Value {
    observed(metadata.get(FROM).map(|from| from_header(from)), metadata.get(REVISION), bucket, recorded)
}

/// The key that was handed over, as it is: writing it twice does no harm.
async fn write(azure: &Azure, place: &Place, metadata: &Metadata, address: &Address) -> Result<(), ProviderError> {
    let given = given(&azure.handed.given, address)?;
    azure.blobs.put(place, line(given, metadata, Over::Anything)).await
}

/// Once: a second value would lock out who holds the first. What an earlier intent left, which no state knows of any more,
/// is taken over with its value, as on a single machine: the host may run with it.
async fn generate(azure: &Azure, place: &Place, metadata: &Metadata, known: &Known) -> Result<(), ProviderError> {
    match head(azure, place, known).await? {
        Some(there) if there.metadata.get(object::TOKEN) == metadata.get(object::TOKEN) => Ok(()),
        Some(there) => azure.blobs.set_metadata(place, metadata, Over::Read(&there.e_tag)).await,
        // Not there a moment ago: an earlier call of this intent may come through late, and the engine finds it by its token.
        None => {
            let made = generated(&place.key, &azure.deployment)?;
            azure.blobs.put(place, line(&made, metadata, Over::Nothing)).await
        }
    }
}

/// Only over what was read: of two who change them at once the second reads again.
async fn rekey(azure: &Azure, place: &Place, change: KeyChange) -> Result<(), ProviderError> {
    let (there, bytes) = azure.blobs.get(place).await?.ok_or_else(|| object::lost(place))?;
    let present = String::from_utf8_lossy(&bytes).into_owned();
    let keys = changed(&present, change, &generated(&place.key, &azure.deployment)?);
    azure.blobs.put(place, line(&keys, &there.metadata, Over::Read(&there.e_tag))).await
}

fn line<'a>(text: &str, metadata: &'a Metadata, over: Over<'a>) -> Write<'a> {
    let bytes = format!("{text}\n").into_bytes();
    let length = bytes.len() as u64;
    Write { metadata, over, content_type: "text/plain", length, body: bytes.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inputs() -> SecretInputs {
        SecretInputs {
            bucket: "bucket.main".to_owned(),
            from: "from /keys/jürgen".to_owned(),
            revision: 3,
            change: None,
        }
    }

    #[test]
    fn what_is_told_of_a_secret_is_read_back() {
        let metadata = told(Metadata::new(), &inputs());
        let there = seen(&metadata, &json!("bucket.main"), &Value::Null);
        assert_eq!(there, serde_json::to_value(inputs()).unwrap());
        let rewritten = seen(&Metadata::new(), &json!("bucket.main"), &serde_json::to_value(inputs()).unwrap());
        assert_eq!(rewritten, serde_json::to_value(inputs()).unwrap());
    }
}
