//! The deployment's bucket and what lies in it.
//!
//! ```text
//! bucket (settings, lifecycle, emptying) <- object <- artifact, secret, host_spec
//! ```
//! What does not come from the host is written by `object`; names inside the bucket are `spec::layout`'s.

pub mod artifact;
pub mod bucket;
mod emptying;
pub mod host_spec;
mod lifecycle;
pub mod object;
pub mod secret;
mod settings;
