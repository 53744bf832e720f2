//! `dsctl up --cloud azure` and everything that follows, against a fake of Azure's APIs with Microsoft's own contract in front.

pub mod crash;
mod scenes;
mod second_opinion;
