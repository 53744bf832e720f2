//! AWS as a cloud.
//!
//! ```text
//! auth (credentials, clients) -> offers (what a plan needs to know) -> graph (pure) -> provider
//!                                                  provider -> resource::of(address) -> network/ storage/ access/ machine
//! ```
//! Errors are understood in `error`, what is ours is known by `tags`, `sweep` finds it wherever it is.

pub mod access;
mod adapter;
pub mod auth;
pub mod boot;
pub mod error;
pub mod graph;
#[cfg(test)]
mod graph_tests;
mod host;
pub mod kind;
pub mod machine;
pub mod network;
mod offers;
mod provider;
pub mod resource;
pub mod storage;
mod sweep;
pub mod tags;

pub use adapter::AwsCloud;
pub use provider::AwsProvider;
