//! An Azure of a test's own and a home whose `dsctl` goes there, what the two must agree on, and what a machine that nobody boots would say.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::account::{alive, orphans, things};
use super::dialect::AzureDialect;
use super::{Azure, openapi, variables};
use crate::aws::host;
use crate::cloud_home::CloudHome;
use crate::proxy::Proxy;
use crate::second_opinion::SecondOpinion;

pub const REGION: &str = "eastus";
pub const MODEL: &str = "70b-int8";
/// The container of every deployment.
const CONTAINER: &str = "dsctl";

/// The fake, and the proxy before it.
#[derive(Debug)]
pub struct Cloud {
    pub proxy: Proxy<AzureDialect>,
    pub azure: Arc<Azure>,
}

impl Cloud {
    #[track_caller]
    pub fn start() -> Self {
        let azure = Arc::new(Azure::start());
        let url = azure.url();
        Self::at(azure, url)
    }

    /// The same, and Prism reads all that is said.
    #[track_caller]
    pub fn with_second_opinion() -> (Self, SecondOpinion) {
        let azure = Arc::new(Azure::start());
        let opinion = SecondOpinion::start(&openapi::document(), &azure.url(), openapi::is_described);
        (Self::at(azure, opinion.url().to_owned()), opinion)
    }

    fn at(azure: Arc<Azure>, url: String) -> Self {
        let proxy = Proxy::start(AzureDialect::new(&azure, url));
        azure.served_at(&proxy.url());
        Self { proxy, azure }
    }

    /// As it was at first: nothing in it, no faults.
    pub fn reset(&self) {
        self.proxy.reset();
        self.azure.reset();
    }

    /// A home whose commands go to this cloud.
    #[track_caller]
    pub fn home(&self) -> CloudHome {
        self.home_in(REGION)
    }

    #[track_caller]
    pub fn home_in(&self, region: &str) -> CloudHome {
        CloudHome::new("azure", MODEL, region, variables(&self.proxy.url(), region))
    }

    /// A home whose deployment is of another model.
    #[track_caller]
    pub fn home_for(&self, model: &str) -> CloudHome {
        CloudHome::new("azure", model, REGION, variables(&self.proxy.url(), REGION))
    }

    /// What a command asked of the cloud that changes something, in its order.
    pub fn changes(&self) -> Vec<String> {
        self.proxy.calls().into_iter().filter(|call| call.mutating).map(|call| call.operation).collect()
    }

    /// That nothing was changed since the calls were cleared.
    #[track_caller]
    pub fn is_untouched(&self, when: &str) {
        assert_eq!(self.changes(), Vec::<String>::new(), "{when}: calls that change something");
    }

    /// That what is alive is what the state records, each once, and nothing that costs money lies about.
    #[track_caller]
    pub fn agrees_with(&self, home: &CloudHome, when: &str) {
        let account = self.azure.account();
        let mut alive = alive(&account);
        // What the machine reports.
        alive.retain(|id| !id.ends_with(host::STATUS));
        let mut recorded: Vec<String> = home.recorded().iter().map(|id| id.to_lowercase()).collect();
        recorded.sort();
        assert_eq!(alive, recorded, "{when}: alive on the left, in the state on the right");
        assert_eq!(orphans(&account), BTreeSet::new(), "{when}: orphans");
    }

    /// That nothing of dsctl's is left.
    #[track_caller]
    pub fn is_empty(&self, when: &str) {
        let account = self.azure.account();
        assert_eq!(alive(&account), Vec::<String>::new(), "{when}");
        assert_eq!(orphans(&account), BTreeSet::new(), "{when}: orphans");
    }

    /// The name of the deployment's storage account.
    #[track_caller]
    pub fn storage_of(&self, home: &CloudHome) -> String {
        super::place::name_of(&home.id("storage.main")).to_owned()
    }

    /// Text of an object in the deployment's container.
    #[track_caller]
    pub fn object(&self, home: &CloudHome, key: &str) -> String {
        let account = self.storage_of(home);
        self.azure.blob(&account, CONTAINER, key).unwrap_or_else(|| panic!("no {key} in {account}"))
    }

    /// The host spec as it lies in the container.
    #[track_caller]
    pub fn desired(&self, home: &CloudHome) -> Value {
        serde_json::from_str(&self.object(home, host::DESIRED)).expect("a host spec")
    }

    /// The machine reports that a real token was generated with the host spec as it is now.
    #[track_caller]
    pub fn report_ready(&self, home: &CloudHome) {
        self.report(home, host::first_token(), json!(host::THEN));
    }

    /// The machine reports that its weights could not be had.
    #[track_caller]
    pub fn report_failed(&self, home: &CloudHome, message: &str) {
        self.report(home, host::no_weights(message), Value::Null);
    }

    /// By an agent that began with the machine that the state names.
    #[track_caller]
    fn report(&self, home: &CloudHome, phases: Value, ready_since: Value) {
        let (account, id) = (self.azure.account(), home.id("machine.main"));
        let is_it = |machine: &&Value| machine["id"].as_str().is_some_and(|of_it| of_it.eq_ignore_ascii_case(&id));
        let machine = things(&account, "machines").find(is_it).expect("the machine");
        let status = host::status(&self.desired(home), &machine["properties"]["timeCreated"], phases, ready_since);
        self.azure.put_blob(&self.storage_of(home), CONTAINER, host::STATUS, &status.to_string());
    }
}
