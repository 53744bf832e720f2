//! `dsctl up --cloud gcp` and everything that follows, against a fake of Google's APIs with Google's own contract in front.

mod changes;
pub mod crash;
mod drift;
mod end_to_end;
mod failover;
mod refusals;
mod scenes;
mod second_opinion;
mod together;
mod variants;
