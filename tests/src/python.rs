//! A Python with the packages of a file of requirements, in a virtual environment made once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::binaries;
use crate::home::Endpoint;
use crate::process::{Outcome, run};

pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// Runs a script of `python/` against an endpoint.
pub fn script(name: &str, endpoint: &Endpoint) -> Outcome {
    let mut command = Command::new(environment("requirements.txt").join("bin/python"));
    crate::home::environment(&mut command, Path::new("/nonexistent"));
    command.arg(sources().join(name)).env("OPENAI_BASE_URL", &endpoint.url).env("OPENAI_API_KEY", &endpoint.key);
    run(&mut command)
}

/// The virtual environment of a file of requirements of `python/`: half-made ones are made anew, whole ones are kept.
pub fn environment(requirements: &str) -> PathBuf {
    let requirements = sources().join(requirements);
    let text = fs::read(&requirements).expect("the requirements");
    let folder = binaries::kept("test-python").join(&hex::encode(Sha256::digest(&text))[..12]);
    let lock = File::create(binaries::kept("test-locks").join("python")).expect("a lock file");
    lock.lock().expect("the environment's lock");
    let mark = folder.join("whole");
    if !mark.is_file() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).exits(0);
        let mut pip = Command::new(folder.join("bin/python"));
        run(pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements)).exits(0);
        fs::write(mark, "").expect("a mark");
    }
    folder
}
