//! In place of AWS in a dsctl that was built without its SDK.

use std::sync::Arc;

use providers::cloud::CloudAdapter;

use crate::exit::Failure;

pub const IS_BUILT_IN: bool = false;

#[expect(clippy::unused_async, reason = "the same interface as with AWS")]
pub async fn load() -> Result<Arc<dyn CloudAdapter>, Failure> {
    let message = "cloud: this dsctl was built without AWS, whose SDK takes long to compile";
    Err(Failure::usage(message).next("cargo build --release --workspace --features aws, and the same command again"))
}
