//! Weights on this machine: a content-addressed cache, shared by all deployments, and what fills it.
//!
//! ```text
//! $DSCTL_HOME/weights/
//!   blobs/<sha256>.gguf     whole, checked, read-only
//!   names/<name>.json       what a name meant when it was fetched: digest, size, source, time
//!   partial/<key>/          one running or cut download: the bytes so far and which pieces of them are whole
//!   partial/<key>~wheel-*/  what pip downloads for it
//!   locks/<key>.lock        held while a digest (or, while that is unknown, a name) is being fetched
//! ```
//!
//! [`fetch`] -> in the cache? done : sources in order -> partial -> size, magic, digest -> blobs.

mod admit;
mod cache;
mod copy;
mod download;
mod error;
mod fetch;
mod keep;
mod meter;
mod object;
mod partial;
mod ranged;
mod settings;
mod space;
#[cfg(test)]
mod tests;
mod web;
mod wheel;

pub(crate) use admit::digest_of;
pub use cache::{CachedWeights, WeightsCache, Wholeness};
pub(crate) use error::chain;
pub use error::{SourceError, WeightsError};
pub use fetch::{FetchProgress, Fetcher, fetch};
pub use keep::{Collected, Needed, Verdict, Verified, check, gc, list, remove, verify};
pub use settings::{FetchSettings, HubToken};
