//! The engine: desired graph -> plan -> apply -> state, with journal, store and lease. It knows no cloud, no terminal.
//!
//! ```text
//! Graph + State + what provider.read() sees -> diff -> Plan -> apply (journal, provider, state)
//! ```

mod act;
pub mod apply;
mod book;
pub mod drift;
#[cfg(any(test, feature = "conformance"))]
pub mod fake;
pub mod graph;
pub mod journal;
pub mod lease;
pub mod peek;
pub mod plan;
pub mod provider;
pub mod saved;
mod schedule;
mod settle;
pub mod state;
pub mod store;
#[cfg(test)]
mod tests;
