//! `dsctl up --cloud gcp` and everything that follows, against a fake of Google's APIs with Google's own contract in front.

pub mod crash;
mod end_to_end;
mod scenes;
mod second_opinion;
