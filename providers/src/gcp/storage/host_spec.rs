//! `host-spec.main`: `host/main/desired.json`, written whole, its generation one up each time, and only over what was read.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};
use spec::host::{HostSpec as Spec, RunState};
use spec::id::HostName;
use spec::layout::BucketLayout;

use super::object::{self, Content, Over, Place, head, written};
use crate::gcp::auth::{Gcp, Making, inputs};
use crate::gcp::kind::HostSpecInputs;
use crate::gcp::labels::Labels;
use crate::gcp::resource::Calls;
use crate::host_spec;

#[derive(Debug)]
pub struct HostSpec;

#[async_trait]
impl Calls for HostSpec {
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = Place::parse(&resource.remote_id)?;
        let Some(stored) = load(gcp, &place).await? else { return Ok(None) };
        let seen = observed(&stored.spec, &place.bucket_address(resource, known));
        seen.map(Some).map_err(|error| ProviderError::permanent(&place, error))
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

    /// Over what an earlier intent left, if it left something: a host may follow it already.
    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: HostSpecInputs = making.inputs()?;
        let place = Place::new(making.id(&inputs.bucket)?, key(&making.desired.address)?);
        let stored = load(gcp, &place).await?;
        store(gcp, &place, &inputs.host, stored.as_ref(), &object::metadata(gcp, making)).await?;
        Ok(place.id())
    }

    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: HostSpecInputs = inputs(desired)?;
        let place = Place::parse(id)?;
        let stored = load(gcp, &place).await?.ok_or_else(|| object::lost(&place))?;
        if !is_wanted(&stored.spec, &inputs.host).map_err(|error| ProviderError::permanent(&place, error))? {
            store(gcp, &place, &inputs.host, Some(&stored), &stored.metadata).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        object::remove(gcp, resource).await
    }
}

/// What lies in the bucket.
struct Stored {
    spec: Spec,
    /// Of Cloud Storage: counts the versions of the object.
    generation: String,
    metadata: Labels,
}

fn key(address: &Address) -> Result<String, ProviderError> {
    let host: HostName = address.name().parse().map_err(|error| ProviderError::permanent(address, error))?;
    Ok(BucketLayout::desired_key(&host))
}

/// A spec that says "stopped" is what an interrupted `down` left: not what a running deployment wants.
fn is_wanted(spec: &Spec, host: &Value) -> Result<bool, serde_json::Error> {
    Ok(spec.run == RunState::Running && host_spec::inputs(spec)? == *host)
}

/// In the shape of [`HostSpecInputs`].
fn observed(spec: &Spec, bucket: &Value) -> Result<Value, serde_json::Error> {
    let mut seen = json!({ "bucket": bucket, "host": host_spec::inputs(spec)? });
    if spec.run != RunState::Running {
        seen["run"] = serde_json::to_value(spec.run)?;
    }
    Ok(seen)
}

/// The next one after what is there.
fn following(host: &Value, stored: Option<&Spec>) -> Result<Spec, serde_json::Error> {
    let (generation, actions) = stored.map_or((0, Vec::new()), |spec| (spec.generation, spec.actions.clone()));
    host_spec::from_inputs(host, generation + 1, actions)
}

/// Metadata and content are of one version: one that was written over between the two looks is kept, and is the one read.
async fn load(gcp: &Gcp, place: &Place) -> Result<Option<Stored>, ProviderError> {
    let Some(there) = head(gcp, place).await? else { return Ok(None) };
    let Some(answer) = object::content(&gcp.rest, place, Some(&there.generation)).await? else { return Ok(None) };
    let spec = serde_json::from_slice(&answer.body).map_err(|error| ProviderError::permanent(place, error))?;
    Ok(Some(Stored { spec, generation: there.generation, metadata: there.metadata }))
}

/// Only over what was read, so that no action that somebody asks for meanwhile is lost.
async fn store(
    gcp: &Gcp,
    place: &Place,
    host: &Value,
    over: Option<&Stored>,
    metadata: &Labels,
) -> Result<(), ProviderError> {
    let spec = following(host, over.map(|stored| &stored.spec));
    let bytes = spec.and_then(|spec| serde_json::to_vec_pretty(&spec));
    let bytes = bytes.map_err(|error| ProviderError::permanent(place, error))?;
    let over = over.map_or(Over::Nothing, |stored| Over::Generation(stored.generation.clone()));
    // By another command, or by an earlier call of this one that came through late: only a look will tell.
    let unmet = ProviderError::new(ErrorKind::Ambiguous, place, "it changed since it was read");
    written(unmet, object::put(gcp, place, metadata, Content::Json(bytes), &over).await)
}

#[cfg(test)]
mod tests {
    use spec::host::{Act, Action};

    use super::*;

    fn host() -> Value {
        json!({"deployment": "default", "host": "main", "weights": [], "files": [], "units": [], "first_token": []})
    }

    #[test]
    fn the_generation_goes_up_and_actions_stay() {
        let first = following(&host(), None).unwrap();
        assert_eq!(first.generation, 1);
        let action = Action { id: "a".to_owned(), act: Act::Restart("dsserve".parse().unwrap()) };
        let asked = Spec { actions: vec![action], ..first };
        let second = following(&host(), Some(&asked)).unwrap();
        assert_eq!((second.generation, second.actions), (2, asked.actions));
    }

    #[test]
    fn a_spec_that_an_interrupted_down_left_differs() {
        let running = following(&host(), None).unwrap();
        assert!(is_wanted(&running, &host()).unwrap());
        let bucket = json!("bucket.main");
        assert_eq!(observed(&running, &bucket).unwrap(), json!({"bucket": "bucket.main", "host": host()}));
        let stopped = Spec { run: RunState::Stopped, ..running };
        assert!(!is_wanted(&stopped, &host()).unwrap());
        assert_eq!(observed(&stopped, &bucket).unwrap()["run"], "stopped");
    }

    #[test]
    fn the_key_is_where_the_host_looks() {
        assert_eq!(key(&Address::new("host-spec", "main")).unwrap(), "host/main/desired.json");
    }
}
