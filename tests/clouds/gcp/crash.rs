//! Google Cloud under the crash matrix.

use tests::cloud_home::CloudHome;
use tests::gcp::cloud::Cloud;
use tests::gcp::dialect::GcpDialect;
use tests::proxy::{Call, Proxy};

use crate::crash::{Ground, matrix};

#[test]
fn after_a_crash_at_any_call_one_plain_command_leaves_no_orphan_and_no_duplicate() {
    matrix::<Gcp>("GCP");
}

pub struct Gcp {
    cloud: Cloud,
    home: CloudHome,
}

impl Gcp {
    pub fn on(cloud: Cloud) -> Self {
        let home = cloud.home();
        Self { cloud, home }
    }
}

impl Ground for Gcp {
    type Dialect = GcpDialect;
    const CLOUD: &'static str = "gcp";
    const ROUNDS_A_CLOUD: u32 = 100;
    const MACHINE: &'static str = "compute.instances.insert";

    fn start() -> Self {
        Self::on(Cloud::start())
    }

    fn reset(&self) {
        self.cloud.reset();
    }

    fn proxy(&self) -> &Proxy<GcpDialect> {
        &self.cloud.proxy
    }

    fn home(&self) -> &CloudHome {
        &self.home
    }

    fn agrees(&self, when: &str) {
        self.cloud.agrees_with(&self.home, when);
    }

    fn is_empty(&self, when: &str) {
        self.cloud.is_empty(when);
        assert_eq!(self.home.home.deployments(), Vec::<String>::new(), "{when}: folders");
    }

    /// Of the rest, what was made shows as soon as its operation does.
    fn makes(call: &Call) -> bool {
        ["compute.instances.insert", "iam.projects.serviceAccounts.create"].contains(&call.operation.as_str())
    }
}
