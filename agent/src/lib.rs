//! What runs on a host: reconciles a [`spec::host::HostSpec`] (files, weights, units, actions) and reports status.
//!
//! ```text
//! desired.json --(every 100 ms)--> files -> weights -> units -> first token --> status.json
//!                                              |         |
//!                                    weights/ (cache)   supervisor/ (systemd, or child processes)
//! ```
//! On a cloud host `bucket/` mirrors the deployment's bucket into the folder where all this lies; on one machine the folder
//! is the bucket.
//!
//! [`run`] is the agent itself; [`observe`] looks at a host from outside; [`logs`] reads what units wrote; [`weights`] is
//! the cache, used by the agent and by hand.

mod bucket;
mod certificate;
mod converge;
mod decide;
mod desired;
mod diagnostics;
mod driver;
mod exposition;
pub mod gpu;
mod held;
mod install;
mod launch;
pub mod logs;
mod metadata;
mod metrics;
mod monitoring;
mod narrate;
mod observe;
mod obstacle;
mod ports;
mod probe;
mod process;
mod rotate;
mod serve;
mod site;
mod status;
mod supervisor;
mod watchdog;
pub mod weights;

pub use bucket::BucketError;
pub use install::{InstallError, install};
pub use metrics::{MetricSource, serve_metrics};
pub use observe::{AgentLife, ObserveError, Observed, ObservedState, ObservedUnit, Summary, observe};
pub use ports::port_holder;
pub use process::is_alive as process_is_alive;
pub use serve::{AgentArgs, AgentError, Where, run};
