//! `secret.NAME`: `secrets/NAME` in the bucket, one line of text. Made here or given by the user; never shown.

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use super::object::{self, Metadata, Place, from_header, head, to_header, written};
use crate::aws::auth::{Aws, Making, inputs};
use crate::aws::error::{failed, found};
use crate::aws::kind::SecretInputs;
use crate::aws::resource::Calls;
use crate::secret::{KeyChange, changed, generated, given, is_given, key, observed};

const FROM: &str = "dsctl-from";
const REVISION: &str = "dsctl-revision";

#[derive(Debug)]
pub struct Secret;

#[async_trait]
impl Calls for Secret {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = Place::parse(&resource.remote_id)?;
        let Some(metadata) = head(aws, &place).await? else { return Ok(None) };
        Ok(Some(seen(&metadata, &place.bucket_address(resource, known), &resource.inputs)))
    }

    async fn find(
        &self,
        aws: &Aws,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        match Place::known(known, key(address)?) {
            Some(place) => object::made_by(aws, &place, token).await,
            None => Ok(None),
        }
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: SecretInputs = making.inputs()?;
        let address = &making.desired.address;
        let place = Place::new(making.id(&inputs.bucket)?, key(address)?);
        let metadata = told(object::metadata(making), &inputs);
        if is_given(address) {
            write(aws, &place, metadata, address).await?;
        } else {
            generate(aws, &place, metadata).await?;
        }
        Ok(place.id())
    }

    /// A generated value stays, since clients hold it; only what is told of it changes.
    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: SecretInputs = inputs(desired)?;
        let place = Place::parse(id)?;
        let there = head(aws, &place).await?.ok_or_else(|| object::lost(&place))?;
        if let Some(change) = inputs.change {
            rekey(aws, &place, there, change).await?;
            return Ok(id.clone());
        }
        let wanted = told(there.clone(), &inputs);
        match (there == wanted, is_given(&desired.address)) {
            (true, _) => {}
            (false, true) => write(aws, &place, wanted, &desired.address).await?,
            (false, false) => object::adopt(aws, &place, wanted).await?,
        }
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        object::remove(aws, resource).await
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
async fn write(aws: &Aws, place: &Place, metadata: Metadata, address: &Address) -> Result<(), ProviderError> {
    let given = given(&aws.handed.given, address)?;
    let call = object::put(aws, place, metadata).body(line(given));
    call.send().await.map(drop).map_err(failed(place))
}

/// Once: a second value would lock out who holds the first. What an earlier intent left, which no state knows of any more,
/// is taken over with its value, as on a single machine: the host may run with it.
async fn generate(aws: &Aws, place: &Place, metadata: Metadata) -> Result<(), ProviderError> {
    match head(aws, place).await? {
        Some(there) if there.get(object::TOKEN) == metadata.get(object::TOKEN) => Ok(()),
        Some(_) => object::adopt(aws, place, metadata).await,
        None => {
            // Not there a moment ago: an earlier call of this intent came through late. The engine finds it by its token.
            let unmet = ProviderError::new(ErrorKind::Ambiguous, place, "another write came first");
            let made = generated(&place.key, &aws.deployment)?;
            let call = object::put(aws, place, metadata).if_none_match("*").body(line(&made));
            written(place, unmet, call.send().await)
        }
    }
}

/// Only over what was read: of two who change them at once the second reads again.
async fn rekey(aws: &Aws, place: &Place, metadata: Metadata, change: KeyChange) -> Result<(), ProviderError> {
    let answer = aws.look.s3.get_object().bucket(&place.bucket).key(&place.key).send().await;
    let answer = found(place, answer)?.ok_or_else(|| object::lost(place))?;
    let e_tag = answer.e_tag().unwrap_or_default().to_owned();
    let bytes = answer.body.collect().await.map_err(|error| ProviderError::new(ErrorKind::NotYet, place, error))?;
    let present = String::from_utf8_lossy(&bytes.into_bytes()).into_owned();
    let keys = changed(&present, change, &generated(&place.key, &aws.deployment)?);
    let call = object::put(aws, place, metadata).if_match(e_tag).body(line(&keys));
    written(place, ProviderError::new(ErrorKind::Ambiguous, place, "it changed since it was read"), call.send().await)
}

fn line(text: &str) -> ByteStream {
    ByteStream::from(format!("{text}\n").into_bytes())
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
