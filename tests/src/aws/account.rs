//! Everything that is alive in the account, asked of moto itself by a python of Amazon's own client, past proxy and faults;
//! and what somebody else does there.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::process;
use crate::proxy::lock;

/// Starting python and reading Amazon's models takes a second: one process serves a whole test.
#[derive(Debug)]
pub struct Account {
    process: Child,
    talk: Mutex<Talk>,
}

#[derive(Debug)]
struct Talk {
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Account {
    /// `environment` is the virtual environment with boto3.
    #[track_caller]
    pub fn start(environment: &Path) -> Self {
        let mut command = Command::new(environment.join("bin/python"));
        crate::home::environment(&mut command, Path::new("/nonexistent"));
        let script = crate::python::sources().join("aws_account.py");
        let piped = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.spawn().expect("python");
        let questions = process.stdin.take().expect("a pipe to python");
        let answers = BufReader::new(process.stdout.take().expect("a pipe from python"));
        Self { process, talk: Mutex::new(Talk { questions, answers }) }
    }

    /// By kind, in lists: `instances`, `volumes`, `vpcs`, `subnets`, `internet_gateways`, `addresses`, `nat_gateways`,
    /// `route_tables`, `endpoints`, `security_groups`, `interfaces`, `spot_requests`, `buckets`, `roles`,
    /// `instance_profiles`. Each has `id` and `tags`; the rest is as `python/aws_account.py` writes it.
    #[track_caller]
    pub fn list(&self, url: &str, region: &str) -> Value {
        self.ask(&json!({"endpoint": url, "region": region}))
    }

    /// One call of boto3's, as somebody else in the account would make it; gives its answer.
    #[track_caller]
    pub fn call(&self, url: &str, region: &str, (service, operation): (&str, &str), arguments: &Value) -> Value {
        self.ask(&json!({
            "endpoint": url, "region": region, "service": service, "operation": operation, "arguments": arguments,
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

impl Drop for Account {
    fn drop(&mut self) {
        process::kill(self.process.id());
        let _ = self.process.wait();
    }
}

/// Kinds whose ids a state records as they are.
const BY_ID: [&str; 12] = [
    "instances",
    "vpcs",
    "subnets",
    "internet_gateways",
    "addresses",
    "nat_gateways",
    "route_tables",
    "endpoints",
    "security_groups",
    "buckets",
    "roles",
    "instance_profiles",
];

/// Of everything that a deployment's state records: ids of EC2, the bucket's name, `s3://bucket/key` of its objects, names
/// of roles and instance profiles. Volumes and interfaces are their machine's; [`orphans`] tells those that have none.
pub fn alive_ids(account: &Value) -> BTreeSet<String> {
    alive(account).into_iter().collect()
}

/// The same, sorted, with what two things share as often as there are: a role and an instance profile of one name.
pub fn alive(account: &Value) -> Vec<String> {
    let ids = BY_ID.iter().flat_map(|kind| things(account, kind)).map(|thing| text(&thing["id"]));
    let objects = things(account, "buckets").flat_map(|bucket| {
        let keys = bucket["keys"].as_array().into_iter().flatten();
        keys.map(|key| format!("s3://{}/{}", text(&bucket["id"]), text(key)))
    });
    let mut alive: Vec<String> = ids.chain(objects).collect();
    alive.sort();
    alive
}

/// What costs money and belongs to no machine: free volumes and interfaces, addresses that nothing uses.
pub fn orphans(account: &Value) -> BTreeSet<String> {
    let free =
        |kind| things(account, kind).filter(|thing| thing["attached_to"].is_null()).map(|thing| text(&thing["id"]));
    ["volumes", "interfaces", "addresses"].into_iter().flat_map(free).collect()
}

/// The things of a kind.
pub fn things<'a>(account: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let list = account[kind].as_array().unwrap_or_else(|| panic!("no {kind} in {account}"));
    list.iter()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
