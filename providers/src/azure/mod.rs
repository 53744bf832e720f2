//! Azure as a cloud.
//!
//! ```text
//! credential -> auth (settings, subscription) -> offers (what a plan needs to know) -> graph (pure) -> provider
//!                                    provider -> resource::of(address) -> group network/ storage/ access/ machine
//!                                                   each by thing (a body, a look, a comparison) on arm, or by blobs
//! ```
//! Errors are understood in `error`, ids and names are in `id`, what is ours is known by `tags`, `sweep` finds it wherever it is.

pub mod access;
mod adapter;
pub mod arm;
pub mod auth;
pub mod blobs;
pub mod boot;
pub mod credential;
pub mod error;
pub mod graph;
#[cfg(test)]
mod graph_tests;
pub mod group;
mod host;
pub mod id;
pub mod kind;
pub mod machine;
pub mod network;
pub mod offers;
mod provider;
pub mod resource;
pub mod storage;
mod sweep;
pub mod tags;
pub mod thing;
pub mod wait;

pub use adapter::AzureCloud;
pub use provider::AzureProvider;
