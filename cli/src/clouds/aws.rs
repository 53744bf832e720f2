//! AWS, with its SDK.

use std::sync::Arc;

use providers::aws::AwsCloud;
use providers::cloud::CloudAdapter;

use crate::exit::Failure;

pub const IS_BUILT_IN: bool = true;

pub async fn load() -> Result<Arc<dyn CloudAdapter>, Failure> {
    Ok(Arc::new(AwsCloud::load().await))
}
