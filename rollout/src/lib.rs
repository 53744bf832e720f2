//! Staged cutover as a crash-proof state machine: gates, statistics, `decide()`, `tick()`.

pub mod ports;
