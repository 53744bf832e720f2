//! A Python with the packages of a file of requirements, in a virtual environment made once.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::binaries;
use crate::home::Endpoint;
use crate::process::{Outcome, kill, run};
use crate::proxy::lock;

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

/// A script that answers questions, a line of JSON each. Starting python and reading a client's models takes a second: one
/// process serves a whole test.
#[derive(Debug)]
pub struct Conversation {
    process: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Conversation {
    /// `environment` is a virtual environment, `script` one of `python/`.
    #[track_caller]
    pub fn start(environment: &Path, script: &str) -> Self {
        let mut command = Command::new(environment.join("bin/python"));
        crate::home::environment(&mut command, Path::new("/nonexistent"));
        let piped = command.arg(sources().join(script)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.spawn().expect("python");
        let questions = process.stdin.take().expect("a pipe to python");
        let answers = BufReader::new(process.stdout.take().expect("a pipe from python"));
        Self { process, pipes: Mutex::new((questions, answers)) }
    }

    /// An answer with `error` fails the test.
    #[track_caller]
    pub fn ask(&self, question: &Value) -> Value {
        let mut pipes = lock(&self.pipes);
        let (questions, answers) = &mut *pipes;
        writeln!(questions, "{question}").expect("python listens");
        let mut line = String::new();
        answers.read_line(&mut line).expect("python answers");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(answer["error"].is_null(), "{}", answer["error"].as_str().unwrap_or_default());
        answer
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        kill(self.process.id());
        let _ = self.process.wait();
    }
}
