//! Azure, by its own HTTP interface.

use std::sync::Arc;

use providers::azure::AzureCloud;
use providers::cloud::CloudAdapter;

use crate::exit::Failure;

pub const IS_BUILT_IN: bool = true;

#[expect(clippy::unused_async, reason = "the same interface as with AWS")]
pub async fn load() -> Result<Arc<dyn CloudAdapter>, Failure> {
    Ok(Arc::new(AzureCloud::load()?))
}
