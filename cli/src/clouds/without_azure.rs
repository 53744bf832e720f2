//! In place of Azure in a dsctl that was built without its credentials' library.

use std::sync::Arc;

use providers::cloud::CloudAdapter;

use crate::exit::Failure;

pub const IS_BUILT_IN: bool = false;

#[expect(clippy::unused_async, reason = "the same interface as with Azure")]
pub async fn load() -> Result<Arc<dyn CloudAdapter>, Failure> {
    let message = "cloud: this dsctl was built without Azure";
    Err(Failure::usage(message).next("cargo build --release --workspace --features azure, and the same command again"))
}
