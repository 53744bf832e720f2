//! Staged cutover as a crash-proof state machine: gates, statistics, `decide()`, `tick()`.
//!
//! ```text
//! tick: load journal, finish what was intended -> observe -> decide (pure) -> journal the intent -> set the weight
//!       ledger, replay                            evidence   statistics       ledger                ports::Traffic
//! ```

pub mod backtest;
pub mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod controller;
pub mod decide;
pub mod error;
pub mod event;
pub mod evidence;
#[cfg(any(test, feature = "conformance"))]
pub mod fake;
pub mod forecast;
mod judge;
mod ledger;
pub mod machine;
pub mod ports;
pub mod recorded;
pub mod replay;
mod scrape;
pub mod statistics;
pub mod tally;

pub use clock::{Clock, SystemClock};
pub use controller::Controller;
pub use error::ControllerError;
