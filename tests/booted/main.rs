//! From a bare machine to an endpoint with nobody logged in, on machines that really boot. `.ci/booted` runs this.

#![cfg(test)]

mod conformance;
mod faults;
mod life;
mod scene;
mod watched;
