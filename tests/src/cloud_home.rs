//! A home whose `dsctl` goes to a cloud of the tests, with programs for its host that nobody runs.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::home::{Home, VISIBILITY_VARIABLE};
use crate::process::{Outcome, Running, run};

/// How long what was just made may not show: short, since the tests' clouds show it at once.
const VISIBILITY: &str = "300ms";
/// Where a client's trust comes from. One root is enough for clouds on the loopback; reading all those of the machine is
/// a fifth of what a debug build does in such a command.
const TRUST_VARIABLE: &str = "SSL_CERT_FILE";
/// ISRG Root X1.
const ONE_ROOT: &str = include_str!("one_root.pem");

/// A home whose `dsctl` goes to a cloud of the tests.
#[derive(Debug)]
pub struct CloudHome {
    pub home: Home,
    pub binaries: PathBuf,
    pub region: String,
    /// As `--cloud` takes it.
    cloud: String,
    model: String,
}

impl CloudHome {
    /// Its commands see `variables`, which lead them to the cloud.
    #[track_caller]
    pub fn new(cloud: &str, model: &str, region: &str, variables: Vec<(&'static str, String)>) -> Self {
        let home = variables
            .into_iter()
            .fold(Home::light().without("DSCTL_MONITORING"), |home, (name, value)| home.variable(name, &value))
            .variable(VISIBILITY_VARIABLE, VISIBILITY);
        let trust = home.scratch().join("one_root.pem");
        std::fs::write(&trust, ONE_ROOT).expect("a file of roots");
        let home = home.variable(TRUST_VARIABLE, &trust.display().to_string());
        let binaries = home.scratch().join("binaries");
        std::fs::create_dir(&binaries).expect("a folder for the host's programs");
        for name in ["dsctl", "dsserve", "dsgate"] {
            std::fs::write(binaries.join(name), format!("{name} of the host")).expect("a program of the host");
        }
        let (cloud, model, region) = (cloud.to_owned(), model.to_owned(), region.to_owned());
        Self { home, binaries, region, cloud, model }
    }

    /// With the very programs that are tested for the host, in place of some that nobody runs; without their debug lines, which are
    /// most of their bytes.
    #[must_use]
    pub fn with_programs(self) -> Self {
        for name in ["dsctl", "dsserve", "dsgate"] {
            self.with_program_again(name);
        }
        self
    }

    /// The very program that is tested, in place of what was put there.
    pub fn with_program_again(&self, name: &str) {
        let program = crate::binaries::folder().join(name);
        run(Command::new("strip").arg("-o").arg(self.binaries.join(name)).arg(program)).exits(0);
    }

    /// Another program of the same behaviour: what stands behind its last section is not looked at.
    pub fn add_to_program(&self, name: &str, more: &[u8]) {
        let mut bytes = std::fs::read(self.binaries.join(name)).expect("a program");
        bytes.extend_from_slice(more);
        self.replace_program(name, &bytes);
    }

    /// A new file, since the old one may be running.
    pub fn replace_program(&self, name: &str, bytes: &[u8]) {
        let path = self.binaries.join(name);
        std::fs::remove_file(&path).expect("a program");
        std::fs::write(&path, bytes).expect("a file");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let binaries = self.binaries.display().to_string();
        let spec = ["--cloud", &self.cloud, "--model", &self.model, "--binaries", &binaries];
        let takes_spec = words.first().is_some_and(|word| ["up", "plan"].contains(word));
        let spec = if takes_spec { spec.to_vec() } else { Vec::new() };
        words.iter().take(1).chain(&spec).chain(words.iter().skip(1)).map(|word| (*word).to_owned()).collect()
    }

    /// A variable more that every command sees.
    #[must_use]
    pub fn variable(self, name: &str, value: &str) -> Self {
        Self { home: self.home.variable(name, value), ..self }
    }

    /// The same, and what it makes is looked for elsewhere.
    #[must_use]
    pub fn in_region(self, region: &str) -> Self {
        Self { region: region.to_owned(), ..self }
    }

    /// `dsctl` with these words; `up` and `plan` are about the tests' model on this cloud.
    pub fn command(&self, words: &[&str]) -> Command {
        let words = self.words(words);
        self.home.command(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn dsctl(&self, words: &[&str]) -> Outcome {
        run(&mut self.command(words))
    }

    pub fn start(&self, words: &[&str]) -> Running {
        Running::start(&mut self.command(words))
    }

    /// `up` that does not wait for a machine that nobody boots.
    pub fn up(&self, more: &[&str]) -> Outcome {
        let words: Vec<&str> = ["up", "--yes", "--no-wait"].iter().chain(more).copied().collect();
        self.dsctl(&words)
    }

    /// The deployment's state; none if there is none.
    pub fn state(&self) -> Option<Value> {
        let path = self.home.deployment().state().join("state.json");
        let bytes = std::fs::read(path).ok()?;
        Some(serde_json::from_slice(&bytes).expect("a state"))
    }

    /// Remote ids in the state, sorted.
    pub fn recorded(&self) -> Vec<String> {
        let state = self.state().unwrap_or_default();
        let resources = state["resources"].as_object().into_iter().flat_map(|all| all.values());
        let replaced = state["replaced"].as_array().into_iter().flatten().map(|it| &it["resource"]);
        let ids = resources.chain(replaced).filter_map(|it| it["remote_id"].as_str());
        let mut ids: Vec<String> = ids.map(str::to_owned).collect();
        ids.sort();
        ids
    }

    /// The remote id of an address.
    #[track_caller]
    pub fn id(&self, address: &str) -> String {
        let state = self.state().expect("a state");
        let id = state["resources"][address]["remote_id"].as_str();
        id.unwrap_or_else(|| panic!("no {address} in {state}")).to_owned()
    }
}
