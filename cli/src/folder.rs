//! The folder of a deployment on this machine, and how it goes: aside in one move, then away.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use spec::id::DeploymentName;

use crate::context::Context;
use crate::exit::Failure;

/// No deployment's name begins so.
const GONE: &str = ".gone-";

/// Nobody sees half of it: what begins anew at once under this name has a folder of its own.
pub fn remove(context: &Context, name: &DeploymentName) -> Result<(), Failure> {
    let root = context.home.deployment(name).root().to_owned();
    let aside = context.home.deployments().join(format!("{GONE}{}-{name}", std::process::id()));
    // Of an earlier process with this number, which was killed.
    away(&aside)?;
    let moved = there(fs::rename(&root, &aside)).map_err(|error| failed(&root, &error))?;
    if moved { away(&aside) } else { Ok(()) }
}

/// What a removal that was killed left aside: keys are in it.
pub fn sweep(context: &Context) -> Result<(), Failure> {
    let folders = fs::read_dir(context.home.deployments()).into_iter().flatten().flatten();
    let mut left = folders.filter(|entry| entry.file_name().to_string_lossy().starts_with(GONE));
    left.try_for_each(|entry| away(&entry.path()))
}

fn away(path: &Path) -> Result<(), Failure> {
    // Another may sweep it at the same time.
    there(fs::remove_dir_all(path)).map(|_| ()).map_err(|error| failed(path, &error))
}

/// False for what was not there.
fn there(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_no_error_and_other_errors_are() {
        let folder = tempfile::tempdir().unwrap();
        assert!(away(&folder.path().join("nothing")).is_ok());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(away(&file).is_err(), "a file is no folder");
    }
}
