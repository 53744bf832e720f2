//! The engine: desired graph -> plan -> apply -> state, with journal, store and lock. It knows no cloud, no terminal.

pub mod journal;
pub mod store;
