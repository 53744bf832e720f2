//! A cloud of a test's own, and a home whose `dsctl` goes there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::account::{self, Account};
use super::dialect::{AwsDialect, Looks};
use super::host;
use super::moto::{self, Moto};
use super::overlay::{self, Overlay};
use super::variables;
use crate::cloud_home::CloudHome;
use crate::proxy::Proxy;
use crate::python;

/// Where moto offers machines that hold the tests' model.
pub const REGION: &str = "us-east-1";
pub const MODEL: &str = "70b-int8";

/// moto, overlay and proxy, and somebody who looks into the account past them.
#[derive(Debug)]
pub struct Cloud {
    pub moto: Moto,
    pub overlay: Overlay,
    pub proxy: Proxy<AwsDialect>,
    account: Account,
}

impl Cloud {
    #[track_caller]
    pub fn start() -> Self {
        let moto = Moto::start();
        let overlay = Overlay::start();
        let proxy = Proxy::start(AwsDialect::new(&moto.url(), &overlay::SERVICES, &overlay.url()));
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
        self.home_of(MODEL, region)
    }

    /// A home whose `up` is about another model.
    #[track_caller]
    pub fn home_of(&self, model: &str, region: &str) -> CloudHome {
        CloudHome::new("aws", model, region, variables(&self.proxy.url(), region))
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
