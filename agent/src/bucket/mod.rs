//! The deployment's bucket, mirrored into the folder that the rest of the agent works in: host spec, secrets and programs
//! come down, the status goes up. What came down once is enough to go on without the bucket.
//!
//! ```text
//! bucket: host/HOST/desired.json  secrets/NAME  artifacts/SHA256/NAME      host/HOST/status.json
//!               |                      |               |                            ^
//!               v                      v               v                            |
//! disk:   the same names under the deployment's bucket/ folder; artifacts/ under the home
//! ```

mod mirror;
mod objects;
mod successor;
mod supply;

pub(crate) use mirror::Mirror;
pub(crate) use objects::Bucket;
pub use objects::BucketError;
pub(crate) use successor::Service;
pub(crate) use supply::{Supplies, Supply};
