//! What runs on a host: reconciles a [`spec::host::HostSpec`] (files, weights, units, actions) and reports status.
//!
//! ```text
//! desired.json --(every 100 ms)--> files -> weights -> units -> first token --> status.json
//!                                              |         |
//!                                    weights/ (cache)   supervisor/ (child processes)
//! ```
//! [`run`] is the agent itself; [`observe`] looks at a host from outside; [`logs`] reads what units wrote; [`weights`] is
//! the cache, used by the agent and by hand.

mod converge;
mod decide;
mod desired;
mod exposition;
pub mod gpu;
mod launch;
pub mod logs;
mod metrics;
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
pub mod weights;

pub use metrics::{MetricSource, serve_metrics};
pub use observe::{AgentLife, ObserveError, Observed, ObservedState, ObservedUnit, Summary, observe};
pub use ports::port_holder;
pub use process::is_alive as process_is_alive;
pub use serve::{AgentArgs, AgentError, run};
