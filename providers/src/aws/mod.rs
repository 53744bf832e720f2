//! AWS as a cloud: so far what needs no call. The shapes of inputs, the ownership tags, the script of the first boot, and how a
//! machine gets from its inputs to others; the calls themselves come with the adapter.

pub mod boot;
pub mod kind;
pub mod machine;
pub mod tags;
