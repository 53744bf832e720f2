//! The contracts that every program of the house shares, as plain data: no I/O, no async, no cloud.

pub mod action;
pub mod alert;
pub mod amount;
pub mod audit;
pub mod certificate;
pub mod deployment;
pub mod encryption_key;
pub mod guards;
pub mod host;
pub mod host_monitoring;
pub mod id;
pub mod layout;
pub mod machine;
pub mod metric;
pub mod monitoring;
pub mod openai;
pub mod resolved;
pub mod rollout;
pub mod route;
pub mod state_location;
pub mod virtual_key;
pub mod weights;
pub mod yaml;
