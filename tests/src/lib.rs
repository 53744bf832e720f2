//! The harness of the whole-program tests: real processes, real files, real HTTP on loopback.
//!
//! ```text
//! binaries  builds dsctl, dsserve and dsgate once, as the tests were built      weights  fetched once a machine, by dsctl
//! home      a DSCTL_HOME of a test's own; its deployments end with it           python   a virtual environment with pip
//! gate      a dsgate of a test's own, with a configuration written by hand      mock     a scripted OpenAI API
//! process   what a command said; signals; pids          wait, http, load        looking, asking, asking all the time
//! shelf     a web server with one file and a brake              proxy    before a cloud's API: records, and fails on order
//! prism     a validator of HTTP by OpenAPI documents      second_opinion    of a whole cloud of the tests, through it
//! aws, gcp, azure  clouds on loopback                   cloud_home  a home whose dsctl goes to one of them
//! booted    machines that really boot, one for each instance of the AWS of the tests
//! webhook   whoever is told of alerts                      redact   what differs from run to run, out of snapshots
//! ```
//! The programs are driven from outside only: nothing of theirs is linked in but the contracts of `spec`.

pub mod aws;
pub mod azure;
pub mod binaries;
#[cfg(feature = "booted")]
pub mod booted;
pub mod cloud_home;
pub mod gate;
pub mod gcp;
pub mod home;
pub mod http;
pub mod load;
pub mod mock;
pub mod prism;
pub mod process;
pub mod proxy;
pub mod python;
pub mod redact;
pub mod second_opinion;
pub mod shelf;
pub mod wait;
pub mod webhook;
pub mod weights;
