//! What is alive, as a reader sees it that we did not write: Google's own client in python, against any endpoint.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::{REQUIREMENTS, lock};
use crate::{process, python};

/// Starting python and reading Google's documents takes a second: one process serves a whole test.
#[derive(Debug)]
pub struct Reader {
    process: Child,
    talk: Mutex<Talk>,
}

#[derive(Debug)]
struct Talk {
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    #[track_caller]
    pub fn start() -> Self {
        let mut command = Command::new(python::environment(REQUIREMENTS).join("bin/python"));
        crate::home::environment(&mut command, Path::new("/nonexistent"));
        let script = python::sources().join("gcp_account.py");
        let piped = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.spawn().expect("python");
        let questions = process.stdin.take().expect("a pipe to python");
        let answers = BufReader::new(process.stdout.take().expect("a pipe from python"));
        Self { process, talk: Mutex::new(Talk { questions, answers }) }
    }

    /// By kind, in lists: `networks`, `subnetworks`, `routers`, `firewalls`, `instances`, `disks`, `service_accounts`,
    /// `buckets`. Each has `id`, as [`super::account`] calls it, and `name`; the rest is as `python/gcp_account.py` writes it.
    #[track_caller]
    pub fn list(&self, url: &str, project: &str) -> Value {
        self.ask(&json!({"endpoint": url, "project": project}))
    }

    /// One call, as somebody else in the account would make it: `("compute", "v1", "instances.stop")`; gives its answer.
    /// A dot goes from a resource into one within it.
    #[track_caller]
    pub fn call(&self, url: &str, (service, version, method): (&str, &str, &str), arguments: &Value) -> Value {
        self.ask(&json!({
            "endpoint": url, "service": service, "version": version, "method": method, "arguments": arguments,
        }))
    }

    #[track_caller]
    fn ask(&self, question: &Value) -> Value {
        let mut talk = lock(&self.talk);
        writeln!(talk.questions, "{question}").expect("python listens");
        let mut line = String::new();
        talk.answers.read_line(&mut line).expect("python answers");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(answer["error"].is_null(), "{}", answer["error"].as_str().unwrap_or_default());
        answer
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        process::kill(self.process.id());
        let _ = self.process.wait();
    }
}
