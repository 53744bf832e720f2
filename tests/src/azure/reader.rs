//! Somebody who looks into the subscription with Microsoft's own clients, past the fake's knowledge of itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::contract::REQUIREMENTS;
use super::{Azure, CALLER, SUBSCRIPTION, token};
use crate::proxy::lock;
use crate::{process, python};

/// Starting python and importing the clients takes seconds: one process serves a whole test.
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
        let script = python::sources().join("azure_account.py");
        let piped = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.spawn().expect("python");
        let questions = process.stdin.take().expect("a pipe to python");
        let answers = BufReader::new(process.stdout.take().expect("a pipe from python"));
        Self { process, talk: Mutex::new(Talk { questions, answers }) }
    }

    /// By kind, in lists, under the names that [`Azure::account`] has; what is in them is as `python/azure_account.py`
    /// writes it.
    #[track_caller]
    pub fn list(&self, azure: &Azure) -> Value {
        azure.pass_time();
        let question = json!({"endpoint": azure.url(), "subscription": SUBSCRIPTION, "token": token(CALLER)});
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
