//! The whole program on clouds, from outside: real processes, the clouds' APIs on free ports, a fault proxy before them.
//!
//! A binary of its own, so that its crash matrix does not keep both cores from the tests that serve a real model.

#![cfg(test)]

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod crash;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod examples;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(any(feature = "azure", feature = "gcp"))]
mod scenes;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod screens;
#[cfg(any(feature = "azure", feature = "gcp"))]
mod second_opinion;
