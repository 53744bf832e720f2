//! Microsoft's contract of the resource manager as a document of OpenAPI, for [`crate::second_opinion`].

use std::path::Path;
use std::process::Command;

use super::contract::{REQUIREMENTS, written};
use super::{ask, operations, serve};
use crate::process::run;
use crate::proxy::message::Asked;
use crate::python;

const SCRIPT: &str = "azure_openapi.py";

/// Of the operations that a deployment calls.
#[track_caller]
pub fn document() -> String {
    let mut command = Command::new(python::environment(REQUIREMENTS).join("bin/python"));
    crate::home::environment(&mut command, Path::new("/nonexistent"));
    run(command.arg(python::sources().join(SCRIPT)).arg(written())).exits(0).stdout
}

/// Blobs, prices and consoles are other services; how far something is, is asked under an address of Azure's choice.
pub fn is_described(asked: &Asked) -> bool {
    let asked = ask::Asked::from(asked);
    let is_managed = ["/subscriptions", "/providers"].iter().any(|path| asked.path().starts_with(path));
    is_managed && !serve::is_blob(&asked) && operations::asked_for(&asked).is_none()
}
