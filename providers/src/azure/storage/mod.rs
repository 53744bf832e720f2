//! The deployment's bucket, which on Azure is a container of a storage account, and what lies in it.
//!
//! ```text
//! account (settings, lifecycle) <- container <- object <- artifact, secret, host_spec
//! ```
//! What does not come from the host is written by `object`; names inside the container are `spec::layout`'s.

pub mod account;
pub mod artifact;
pub mod container;
pub mod host_spec;
mod lifecycle;
mod object;
pub mod secret;
mod settings;
