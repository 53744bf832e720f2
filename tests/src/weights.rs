//! The real model, fetched once a machine by dsctl itself, from the catalogue's own sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::binaries;
use crate::home::environment;
use crate::process::run;

pub const MODEL: &str = "smollm2-135m";

/// A GGUF file and its digest.
#[derive(Debug)]
pub struct Weights {
    pub path: PathBuf,
    pub sha256: String,
    /// The home whose cache it lies in.
    home: PathBuf,
}

/// The model that the tests serve. Fails where it can't be fetched.
pub fn model() -> &'static Weights {
    static WEIGHTS: OnceLock<Weights> = OnceLock::new();
    WEIGHTS.get_or_init(pull)
}

impl Weights {
    /// `--weights` and `--weights-sha256` for `dsctl up`.
    pub fn flags(&self) -> [String; 4] {
        let source = format!("file:{}", self.path.display());
        ["--weights".to_owned(), source, "--weights-sha256".to_owned(), self.sha256.clone()]
    }

    /// Puts the file into another home's cache, as if it had been fetched there.
    pub fn seed(&self, home: &Path) {
        for folder in ["blobs", "names"] {
            let (from, to) = (self.home.join("weights").join(folder), home.join("weights").join(folder));
            fs::create_dir_all(&to).expect("a folder of the cache");
            for entry in fs::read_dir(&from).expect("the cache's folder") {
                let entry = entry.expect("an entry of the cache");
                fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy in the cache");
            }
        }
    }
}

/// dsctl's own lock makes two test processes fetch once.
fn pull() -> Weights {
    let home = binaries::kept("test-weights");
    let mut command = Command::new(binaries::folder().join("dsctl"));
    environment(&mut command, &home);
    let files = run(command.args(["weights", "pull", MODEL, "--json"])).exits(0).json();
    assert_eq!(files.as_array().map(Vec::len), Some(1), "{MODEL} is one file: {files}");
    let text = |field: &str| files[0][field].as_str().unwrap_or_else(|| panic!("no {field} in {files}")).to_owned();
    Weights { path: text("path").into(), sha256: text("sha256"), home }
}
