//! A `DSCTL_HOME` of a test's own. Whatever was started in it is taken down when the value goes, also by a panic.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::Value;
use spec::layout::{DeploymentLayout, HomeLayout};

use crate::binaries;
use crate::http::{Answer, call};
use crate::process::{self, Outcome, Running, is_alive, run};
use crate::weights;

/// How long a cloud may not show what was just made, as dsctl is told.
pub const VISIBILITY_VARIABLE: &str = "DSCTL_VISIBILITY";

/// Small enough for several on one machine, large enough for every prompt of the tests.
const CONTEXT: &str = "1024";

#[derive(Debug)]
pub struct Home {
    layout: HomeLayout,
    scratch: tempfile::TempDir,
    variables: Vec<(String, String)>,
    /// Released last: by then nothing runs any more.
    _machine: Option<File>,
}

/// A deployment that answers.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Ends in `/v1`.
    pub url: String,
    pub key: String,
    pub key_file: PathBuf,
}

impl Home {
    /// For commands that start nothing.
    pub fn light() -> Self {
        Self::with(None)
    }

    /// For deployments: waits until no other test runs one.
    pub fn alone() -> Self {
        Self::with(Some(binaries::alone()))
    }

    fn with(machine: Option<File>) -> Self {
        let scratch = binaries::scratch();
        let layout = HomeLayout::new(scratch.path().join("home"));
        std::fs::create_dir(scratch.path().join("tmp")).expect("a folder for temporary files");
        // Whether this machine has Prometheus installed is not what most tests are about.
        let variables = vec![("DSCTL_MONITORING".to_owned(), "none".to_owned())];
        Self { layout, scratch, variables, _machine: machine }
    }

    /// A variable that every command of this home sees.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without one that every home has.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    pub fn layout(&self) -> &HomeLayout {
        &self.layout
    }

    /// A folder beside the home, for a test's own files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub fn deployment(&self) -> DeploymentLayout {
        self.layout.deployment(&"default".parse().expect("a deployment's name"))
    }

    /// Names of all folders beside that deployment's.
    pub fn deployments(&self) -> Vec<String> {
        let folders = std::fs::read_dir(self.layout.deployments()).into_iter().flatten().flatten();
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Writes a file beside the home; gives its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.scratch.path().join(name);
        std::fs::write(&path, text).expect("a file of the test");
        path.display().to_string()
    }

    /// `dsctl` with these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binaries::folder().join("dsctl"));
        command.args(words);
        self.dress(&mut command);
        command
    }

    /// Any command, in this home's environment, with `dsctl` on its path.
    pub fn dress(&self, command: &mut Command) {
        environment(command, self.layout.root());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", binaries::folder().display()));
        command.env("TMPDIR", self.scratch.path().join("tmp"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    pub fn dsctl(&self, words: &[&str]) -> Outcome {
        run(&mut self.command(words))
    }

    pub fn start(&self, words: &[&str]) -> Running {
        Running::start(&mut self.command(words))
    }

    /// The words of an `up` of the tests' model on any free port, and more.
    pub fn up_words(more: &[&str]) -> Vec<String> {
        let fixed = ["up", "--cloud", "local", "--model", weights::MODEL, "--yes", "--port", "0", "--context", CONTEXT];
        let words = fixed.iter().chain(more).map(|word| (*word).to_owned());
        words.chain(weights::model().flags()).collect()
    }

    /// Brings the tests' model up.
    #[track_caller]
    pub fn up(&self, more: &[&str]) -> Endpoint {
        let words = Self::up_words(more);
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--json"]).collect();
        endpoint_of(&self.dsctl(&words).exits(0).json())
    }

    /// `dsctl status --json`, whatever its exit code says.
    #[track_caller]
    pub fn status(&self) -> Status {
        Status(self.dsctl(&["status", "--json"]).json())
    }

    /// Every process that the deployments of this home are known to have.
    pub fn pids(&self) -> Vec<u32> {
        let folders = std::fs::read_dir(self.layout.deployments()).into_iter().flatten().flatten();
        let names = folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        names.flat_map(|name| pids_of(&self.layout.deployment(&name))).collect()
    }

    /// The gateway's admin API, as `dsctl` calls it.
    #[track_caller]
    pub fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let secret = self.deployment().bucket().secrets().join("admin-token");
        let token = std::fs::read_to_string(secret).expect("the admin token");
        let config = std::fs::read_to_string(self.deployment().host().files().join("gateway.json"));
        let config: Value = serde_json::from_str(&config.expect("the gateway's configuration")).expect("JSON");
        let address = config["admin_listen"].as_str().expect("the admin API's address");
        call(method, &format!("http://{address}{path}"), token.trim(), body)
    }
}

/// From what `up --json` printed.
#[track_caller]
pub fn endpoint_of(report: &Value) -> Endpoint {
    let text = |field: &str| report[field].as_str().unwrap_or_else(|| panic!("no {field} in {report}")).to_owned();
    let key_file = PathBuf::from(text("api_key_file"));
    let key = std::fs::read_to_string(&key_file).expect("the API key's file").trim().to_owned();
    Endpoint { url: text("endpoint"), key, key_file }
}

/// What every command of the tests sees: no terminal, no colour, no proxy, nothing of the developer's own settings.
pub fn environment(command: &mut Command, home: &Path) {
    for name in ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE", "RUST_LOG", "OPENAI_API_KEY", "CLICOLOR_FORCE", "FORCE_COLOR"]
    {
        command.env_remove(name);
    }
    command
        .env("DSCTL_HOME", home)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8");
    command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
}

fn pids_of(layout: &DeploymentLayout) -> Vec<u32> {
    let units = std::fs::read_dir(layout.host().root().join("units")).into_iter().flatten().flatten();
    let files = units.map(|entry| entry.path()).chain([layout.bucket().root().join("host/local/status.json")]);
    let read = |path: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok();
    let found = files.filter_map(read).flat_map(|json| {
        let places = ["/process/pid", "/agent/pid"].map(|place| json.pointer(place).and_then(Value::as_u64));
        places.into_iter().flatten().filter_map(|pid| u32::try_from(pid).ok()).collect::<Vec<_>>()
    });
    found.collect()
}

impl Drop for Home {
    fn drop(&mut self) {
        let pids = self.pids();
        // What a killed `down` had moved aside already is no deployment.
        for name in self.deployments().into_iter().filter(|name| !name.starts_with('.')) {
            let down = self.dsctl(&["down", "--name", &name, "--yes", "--force"]);
            if down.code != 0 {
                pids.iter().filter(|pid| is_alive(**pid)).for_each(|pid| process::kill(*pid));
                assert!(std::thread::panicking(), "a deployment could not be taken down\n{}", down.transcript());
            }
        }
    }
}

/// What `status --json` printed.
#[derive(Debug, Clone)]
pub struct Status(pub Value);

impl Status {
    pub fn summary(&self) -> &str {
        self.0["host"]["summary"].as_str().unwrap_or_default()
    }

    pub fn agent(&self) -> &str {
        self.0["host"]["agent"].as_str().unwrap_or_default()
    }

    pub fn agent_pid(&self) -> u32 {
        pid(&self.0["host"]["status"]["agent"]).unwrap_or_else(|| panic!("no agent in {}", self.0))
    }

    fn unit(&self, name: &str) -> &Value {
        let units = self.0["host"]["units"].as_array();
        let found = units.and_then(|units| units.iter().find(|unit| unit["name"] == name));
        found.unwrap_or_else(|| panic!("no unit {name} in {}", self.0))
    }

    pub fn state(&self, unit: &str) -> &str {
        self.unit(unit)["state"].as_str().unwrap_or_default()
    }

    /// The unit's process, if it is alive.
    pub fn pid(&self, unit: &str) -> Option<u32> {
        pid(&self.unit(unit)["process"])
    }

    /// The same, for a unit that must have one.
    #[track_caller]
    pub fn living(&self, unit: &str) -> u32 {
        self.pid(unit).unwrap_or_else(|| panic!("{unit} has no process: {}", self.0))
    }
}

fn pid(value: &Value) -> Option<u32> {
    value["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}
