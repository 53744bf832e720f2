//! `dsctl up --cloud aws` and everything that follows, against moto.

mod crash;
mod end_to_end;
