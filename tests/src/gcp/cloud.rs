//! A Google Cloud of a test's own, and a home whose `dsctl` goes there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::dialect::GcpDialect;
use super::{Google, REGION, account, openapi, variables};
use crate::cloud_home::CloudHome;
use crate::proxy::Proxy;
use crate::second_opinion::SecondOpinion;

pub const MODEL: &str = "70b-int8";
/// What the machine reports.
const STATUS: &str = "/host/main/status.json";

/// The fake, and the proxy before it.
#[derive(Debug)]
pub struct Cloud {
    pub proxy: Proxy<GcpDialect>,
    pub google: Arc<Google>,
}

impl Cloud {
    pub fn start() -> Self {
        let google = Arc::new(Google::start());
        let url = google.url();
        Self::at(google, url)
    }

    /// The same, and Prism reads all that is said.
    #[track_caller]
    pub fn with_second_opinion() -> (Self, SecondOpinion) {
        let google = Arc::new(Google::start());
        let opinion = SecondOpinion::start(&openapi::document(), &google.url(), openapi::is_described);
        (Self::at(google, opinion.url().to_owned()), opinion)
    }

    fn at(google: Arc<Google>, url: String) -> Self {
        Self { proxy: Proxy::start(GcpDialect::new(&google, url)), google }
    }

    /// As it was at first: nothing in it, no faults.
    pub fn reset(&self) {
        self.proxy.reset();
        self.google.reset();
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
        CloudHome::new("gcp", MODEL, region, variables(&self.proxy.url(), region))
    }

    /// That what is alive is what the state records, each once, and nothing that costs money lies about.
    #[track_caller]
    pub fn agrees_with(&self, home: &CloudHome, when: &str) {
        let account = self.google.account();
        let mut alive = account::alive(&account);
        alive.retain(|id| !id.ends_with(STATUS) && !id.contains("/access-log/"));
        assert_eq!(alive, home.recorded(), "{when}: alive on the left, in the state on the right");
        assert_eq!(account::orphans(&account), BTreeSet::new(), "{when}: orphans");
    }

    /// That nothing of dsctl's is left.
    #[track_caller]
    pub fn is_empty(&self, when: &str) {
        let account = self.google.account();
        assert_eq!(account::alive(&account), Vec::<String>::new(), "{when}");
        assert_eq!(account::orphans(&account), BTreeSet::new(), "{when}: orphans");
    }

    /// The things of a kind, as Google shows them.
    pub fn bodies(&self, kind: &str) -> Vec<Value> {
        account::things(&self.google.account(), kind).map(|thing| thing["body"].clone()).collect()
    }
}
