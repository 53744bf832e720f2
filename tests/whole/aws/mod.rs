//! `dsctl up --cloud aws` and everything that follows, against moto.

mod end_to_end;
