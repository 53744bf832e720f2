//! `dsctl up --cloud aws` and everything that follows, against moto.

mod changes;
pub mod crash;
mod drift;
mod end_to_end;
mod failover;
mod host;
mod interrupted;
mod orphans;
mod refusals;
mod reports;
mod together;
mod variants;
