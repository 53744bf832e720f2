//! A cloud of a test's own, and a home whose `dsctl` goes there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::account::{self, Account};
use super::host;
use super::moto::{self, Moto};
use super::overlay::{self, Overlay};
use super::proxy::{Looks, Proxy};
use super::variables;
use crate::home::Home;
use crate::process::{Outcome, Running, run};
use crate::python;

/// Where moto offers machines that hold the tests' model.
pub const REGION: &str = "us-east-1";
pub const MODEL: &str = "70b-int8";
/// How long what was just made may not show: short, since moto shows it at once.
const VISIBILITY: &str = "300ms";
/// The variable that says so.
pub const VISIBILITY_VARIABLE: &str = "DSCTL_VISIBILITY";

/// moto, overlay and proxy, and somebody who looks into the account past them.
#[derive(Debug)]
pub struct Cloud {
    pub moto: Moto,
    pub overlay: Overlay,
    pub proxy: Proxy,
    account: Account,
}

impl Cloud {
    #[track_caller]
    pub fn start() -> Self {
        let moto = Moto::start();
        let overlay = Overlay::start();
        let proxy = Proxy::start(&moto.url());
        proxy.route(&overlay::SERVICES, &overlay.url());
        Self { moto, overlay, proxy, account: Account::start(&python::environment(moto::REQUIREMENTS)) }
    }

    /// As it was at first: nothing in it, no faults, nothing pending.
    pub fn reset(&self) {
        self.moto.reset();
        self.overlay.reset();
        self.proxy.reset();
        self.proxy.set_pending(Looks { machine: 0, nat: 0 });
    }

    /// Everything alive in a region.
    #[track_caller]
    pub fn account(&self, region: &str) -> Value {
        self.account.list(&self.moto.url(), region)
    }

    /// What somebody else does in a region, in boto3's words: `cloud.call(REGION, ("ec2", "stop_instances"), &json!({…}))`.
    #[track_caller]
    pub fn call(&self, region: &str, operation: (&str, &str), arguments: &Value) -> Value {
        self.account.call(&self.moto.url(), region, operation, arguments)
    }

    /// What a command asked of the cloud that changes something, in its order.
    pub fn changes(&self) -> Vec<String> {
        self.proxy.calls().into_iter().filter(|call| call.mutating).map(|call| call.operation).collect()
    }

    /// That nothing was changed since the proxy was cleared.
    #[track_caller]
    pub fn is_untouched(&self, when: &str) {
        assert_eq!(self.changes(), Vec::<String>::new(), "{when}: calls that change something");
    }

    /// A home whose commands go to this cloud.
    #[track_caller]
    pub fn home(&self) -> CloudHome {
        self.home_in(REGION)
    }

    #[track_caller]
    pub fn home_in(&self, region: &str) -> CloudHome {
        CloudHome::new("aws", variables(&self.proxy.url(), region), region)
    }

    /// That what is alive is what the state records, each once, and nothing that costs money lies about.
    #[track_caller]
    pub fn agrees_with(&self, home: &CloudHome, when: &str) {
        let account = self.account(&home.region);
        let mut alive = account::alive(&account);
        // What the machine reports, and what S3 logs.
        alive.retain(|id| !id.ends_with(host::STATUS) && !id.contains("/access-log/"));
        let recorded = home.recorded();
        assert_eq!(alive, recorded, "{when}: alive on the left, in the state on the right");
        assert_eq!(account::orphans(&account), BTreeSet::new(), "{when}: orphans");
    }

    /// That nothing of dsctl's is left.
    #[track_caller]
    pub fn is_empty(&self, region: &str, when: &str) {
        let account = self.account(region);
        assert_eq!(account::alive(&account), Vec::<String>::new(), "{when}");
        assert_eq!(account::orphans(&account), BTreeSet::new(), "{when}: orphans");
    }
}

/// A home whose `dsctl` goes to a cloud of the tests.
#[derive(Debug)]
pub struct CloudHome {
    pub home: Home,
    /// As `--cloud` names it.
    pub cloud: &'static str,
    pub binaries: PathBuf,
    pub region: String,
}

impl CloudHome {
    /// With the variables that lead there.
    #[track_caller]
    pub(crate) fn new(cloud: &'static str, variables: Vec<(&'static str, String)>, region: &str) -> Self {
        let home = variables
            .into_iter()
            .fold(Home::light(), |home, (name, value)| home.variable(name, &value))
            .variable(VISIBILITY_VARIABLE, VISIBILITY);
        let binaries = home.scratch().join("binaries");
        std::fs::create_dir(&binaries).expect("a folder for the host's programs");
        for name in ["dsctl", "dsserve", "dsgate"] {
            std::fs::write(binaries.join(name), format!("{name} of the host")).expect("a program of the host");
        }
        Self { home, cloud, binaries, region: region.to_owned() }
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let binaries = self.binaries.display().to_string();
        let spec = ["--cloud", self.cloud, "--model", MODEL, "--binaries", &binaries];
        let takes_spec = words.first().is_some_and(|word| ["up", "plan"].contains(word));
        let spec = if takes_spec { spec.to_vec() } else { Vec::new() };
        words.iter().take(1).chain(&spec).chain(words.iter().skip(1)).map(|word| (*word).to_owned()).collect()
    }

    /// A variable more that every command sees.
    #[must_use]
    pub fn variable(self, name: &str, value: &str) -> Self {
        Self { home: self.home.variable(name, value), ..self }
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
