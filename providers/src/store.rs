//! The store of a deployment's state behind a [`StateLocation`].

use std::sync::Arc;

use engine::store::{BucketStore, Store, objects};
use spec::id::DeploymentName;
use spec::state_location::StateLocation;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{location}: can't be set up from the environment: {source}")]
    Setup { location: StateLocation, source: Box<object_store::Error> },
}

/// The deployment's folder at a location: `FOLDER/DEPLOYMENT`. Nothing is sent yet, so a wrong name or a missing right
/// shows at the first read.
pub fn open(location: &StateLocation, deployment: &DeploymentName) -> Result<Arc<dyn Store>, OpenError> {
    let objects = objects(location)
        .map_err(|source| OpenError::Setup { location: location.clone(), source: Box::new(source) })?;
    let folder = format!("{}/{}", location.folder, deployment.as_str());
    Ok(Arc::new(BucketStore::new(objects, &folder)))
}
