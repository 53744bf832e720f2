//! What the machine may do: a service account of its own, and what of the deployment's bucket that account may read and
//! write. Nothing in the project is granted to it.
//!
//! ```text
//! service_account <- bucket_access -> bucket's policy (policy)
//! ```

pub mod bucket_access;
pub mod policy;
pub mod service_account;
