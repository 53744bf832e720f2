//! GCP as a cloud.
//!
//! ```text
//! settings -> auth (credentials, clients, rest) -> offers (what a plan needs to know) -> graph (pure) -> provider
//!                                        provider -> resource::of(address) -> network/ storage/ access/ machine/
//! ```
//! Compute Engine is called by Google's own crate (`clients`, acts through `operation`), storage and service accounts by plain
//! HTTP (`rest`). What went wrong is read in `fault` and understood in `error`; what is ours is known by `labels` and `names`,
//! `sweep` finds it wherever it is.

pub mod access;
mod adapter;
pub mod auth;
pub mod boot;
pub mod clients;
mod encryption_key;
pub mod error;
pub mod fault;
pub mod graph;
#[cfg(test)]
mod graph_tests;
mod host;
pub mod kind;
pub mod labels;
pub mod machine;
pub mod names;
pub mod network;
mod offers;
pub mod operation;
mod provider;
pub mod resource;
pub mod rest;
pub mod settings;
pub mod storage;
mod sweep;

pub use adapter::GcpCloud;
pub use provider::GcpProvider;
