//! `dsctl up --cloud azure` and everything that follows, against a fake of Azure's APIs with Microsoft's own contract in front.

mod changes;
pub mod crash;
mod drift;
mod end_to_end;
mod failover;
mod interrupted;
mod orphans;
mod refusals;
mod scenes;
mod second_opinion;
mod variants;
