//! `secret.NAME`: `secrets/NAME` in the bucket, one line of text. Made here or given by the user; never shown.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use super::object::{self, Content, Found, Over, Place, head, written};
use crate::gcp::auth::{Gcp, Making, inputs};
use crate::gcp::kind::SecretInputs;
use crate::gcp::labels::{Labels, TOKEN};
use crate::gcp::resource::Calls;
use crate::secret::{KeyChange, changed, generated, given, is_given, key, observed};

const FROM: &str = "dsctl-from";
const REVISION: &str = "dsctl-revision";

#[derive(Debug)]
pub struct Secret;

#[async_trait]
impl Calls for Secret {
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = Place::parse(&resource.remote_id)?;
        let Some(there) = head(gcp, &place).await? else { return Ok(None) };
        Ok(Some(seen(&there.metadata, &place.bucket_address(resource, known), &resource.inputs)))
    }

    async fn find(
        &self,
        gcp: &Gcp,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        match Place::known(known, key(address)?) {
            Some(place) => object::made_by(gcp, &place, token).await,
            None => Ok(None),
        }
    }

    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: SecretInputs = making.inputs()?;
        let address = &making.desired.address;
        let place = Place::new(making.id(&inputs.bucket)?, key(address)?);
        let metadata = told(object::metadata(gcp, making), &inputs);
        if is_given(address) {
            write(gcp, &place, &metadata, address).await?;
        } else {
            generate(gcp, &place, &metadata).await?;
        }
        Ok(place.id())
    }

    /// A generated value stays, since clients hold it; only what is told of it changes.
    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: SecretInputs = inputs(desired)?;
        let place = Place::parse(id)?;
        let there = head(gcp, &place).await?.ok_or_else(|| object::lost(&place))?;
        if let Some(change) = inputs.change {
            rekey(gcp, &place, &there, change).await?;
            return Ok(id.clone());
        }
        let wanted = told(there.metadata.clone(), &inputs);
        match (there.metadata == wanted, is_given(&desired.address)) {
            (true, _) => {}
            (false, true) => write(gcp, &place, &wanted, &desired.address).await?,
            (false, false) => object::adopt(gcp, &place, &there, &wanted).await?,
        }
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        object::remove(gcp, resource).await
    }
}

fn told(mut metadata: Labels, inputs: &SecretInputs) -> Labels {
    metadata.insert(FROM.to_owned(), inputs.from.clone());
    metadata.insert(REVISION.to_owned(), inputs.revision.to_string());
    metadata
}

/// In the shape of [`SecretInputs`].
fn seen(metadata: &Labels, bucket: &Value, recorded: &Value) -> Value {
    observed(metadata.get(FROM).cloned(), metadata.get(REVISION), bucket, recorded)
}

/// The key that was handed over, as it is: writing it twice does no harm.
async fn write(gcp: &Gcp, place: &Place, metadata: &Labels, address: &Address) -> Result<(), ProviderError> {
    let given = given(&gcp.handed.given, address)?;
    Ok(object::put(gcp, place, metadata, line(given), &Over::Anything).await?)
}

/// Once: a second value would lock out who holds the first. What an earlier intent left, which no state knows of any more,
/// is taken over with its value, as on a single machine: the host may run with it.
async fn generate(gcp: &Gcp, place: &Place, metadata: &Labels) -> Result<(), ProviderError> {
    match head(gcp, place).await? {
        Some(there) if there.metadata.get(TOKEN) == metadata.get(TOKEN) => Ok(()),
        Some(there) => object::adopt(gcp, place, &there, metadata).await,
        None => {
            // Not there a moment ago: an earlier call of this intent came through late. The engine finds it by its token.
            let unmet = ProviderError::new(ErrorKind::Ambiguous, place, "another write came first");
            let made = generated(&place.key, &gcp.deployment)?;
            written(unmet, object::put(gcp, place, metadata, line(&made), &Over::Nothing).await)
        }
    }
}

/// Only over what was read: of two who change them at once the second reads again.
async fn rekey(gcp: &Gcp, place: &Place, there: &Found, change: KeyChange) -> Result<(), ProviderError> {
    let answer = object::content(&gcp.rest, place, Some(&there.generation)).await?;
    let answer = answer.ok_or_else(|| object::lost(place))?;
    let present = String::from_utf8_lossy(&answer.body).into_owned();
    let keys = changed(&present, change, &generated(&place.key, &gcp.deployment)?);
    let unmet = ProviderError::new(ErrorKind::Ambiguous, place, "it changed since it was read");
    let over = Over::Generation(there.generation.clone());
    written(unmet, object::put(gcp, place, &there.metadata, line(&keys), &over).await)
}

fn line(text: &str) -> Content {
    Content::Text(format!("{text}\n"))
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
        let metadata = told(Labels::new(), &inputs());
        let there = seen(&metadata, &json!("bucket.main"), &Value::Null);
        assert_eq!(there, serde_json::to_value(inputs()).unwrap());
        let rewritten = seen(&Labels::new(), &json!("bucket.main"), &serde_json::to_value(inputs()).unwrap());
        assert_eq!(rewritten, serde_json::to_value(inputs()).unwrap());
    }
}
