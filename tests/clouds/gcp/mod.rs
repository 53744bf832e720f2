//! `dsctl up --cloud gcp` and everything that follows, against a fake of Google's APIs with Google's own contract in front.

mod changes;
mod crash;
mod drift;
mod end_to_end;
mod failover;
mod refusals;
mod scenes;
mod together;
mod variants;
