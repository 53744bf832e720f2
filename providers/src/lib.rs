//! Adapters to the places where resources live, one folder a cloud. `local` is this machine; the clouds come behind
//! features of their own (aws, gcp, azure), so that the local quick start does not compile their SDKs.

mod authority;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "azure")]
pub mod azure;
pub mod boot_script;
pub mod cloud;
pub mod cloud_graph;
#[cfg(feature = "gcp")]
pub mod gcp;
pub mod host_plan;
pub mod host_spec;
pub mod host_view;
#[cfg(feature = "http")]
pub mod http;
pub mod local;
pub mod making;
pub mod secret;
pub mod store;
pub mod wait;
