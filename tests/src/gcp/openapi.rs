//! Google's documents as one of OpenAPI, for [`crate::second_opinion`].

use std::path::Path;
use std::process::Command;

use super::contract::{REQUIREMENTS, folder};
use crate::process::run;
use crate::proxy::message::{Asked, field};
use crate::python;

const SCRIPT: &str = "gcp_openapi.py";
const PATHS: [&str; 4] = ["/compute/", "/storage/", "/v1/", "/v3/"];

/// Of the methods that a deployment calls.
#[track_caller]
pub fn document() -> String {
    let mut command = Command::new(python::environment(REQUIREMENTS).join("bin/python"));
    crate::home::environment(&mut command, Path::new("/nonexistent"));
    run(command.arg(python::sources().join(SCRIPT)).arg(folder())).exits(0).stdout
}

/// Content of objects is no JSON: it goes up and down elsewhere, or by a parameter. So is the state, which is XML.
pub fn is_described(asked: &Asked) -> bool {
    let is_content = field(&asked.query(), "alt") == Some("media");
    PATHS.iter().any(|path| asked.path().starts_with(path)) && !is_content
}
