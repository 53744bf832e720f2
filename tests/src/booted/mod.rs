//! Machines that really boot: each instance that the cloud of the tests has is a systemd-nspawn container of its own, with the
//! user data that it was given, the cloud's services, and a stand-in for the instance's metadata service.
//!
//! ```text
//! tree (debootstrap, once)  <- overlay -  Machine: systemd, cloud-init, the agent
//! network  a namespace of the machine's own: loopback, its private address, 169.254.169.254
//!          127.0.0.1:PORT there -> the cloud's proxy here       metadata  answers at 169.254.169.254 there
//! ```
//! Needs root, systemd-nspawn and a tree; `.ci/booted` brings them.

pub mod hypervisor;
pub mod machine;
pub mod metadata;
pub mod network;
pub mod repository;
