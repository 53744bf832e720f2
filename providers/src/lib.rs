//! Adapters to the places where resources live, one folder a cloud. `local` is this machine; the clouds come behind
//! features of their own (aws, gcp, azure), so that the local quick start does not compile their SDKs.

#[cfg(feature = "aws")]
pub mod aws;
pub mod cloud;
pub mod cloud_graph;
pub mod host_plan;
pub mod host_spec;
pub mod local;
pub mod store;
