//! In place of GCP in a dsctl that was built without Google's crates.

use std::sync::Arc;

use providers::cloud::CloudAdapter;

use crate::exit::Failure;

pub const IS_BUILT_IN: bool = false;

pub fn load() -> Result<Arc<dyn CloudAdapter>, Failure> {
    let message = "cloud: this dsctl was built without GCP, whose crates take a while to compile";
    Err(Failure::usage(message).next("cargo build --release --workspace --features gcp, and the same command again"))
}
