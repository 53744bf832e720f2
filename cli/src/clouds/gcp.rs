//! GCP, with Google's own crates.

use std::sync::Arc;

use providers::cloud::CloudAdapter;
use providers::gcp::GcpCloud;

use crate::exit::Failure;

pub const IS_BUILT_IN: bool = true;

pub fn load() -> Result<Arc<dyn CloudAdapter>, Failure> {
    Ok(Arc::new(GcpCloud::load()))
}
