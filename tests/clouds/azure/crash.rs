//! Azure under the crash matrix.

use tests::azure::cloud::Cloud;
use tests::azure::dialect::AzureDialect;
use tests::cloud_home::CloudHome;
use tests::proxy::{Call, Proxy};

use crate::crash::{Ground, matrix};

#[test]
fn after_a_crash_at_any_call_one_plain_command_leaves_no_orphan_and_no_duplicate() {
    matrix::<Azure>("Azure");
}

pub struct Azure {
    cloud: Cloud,
    home: CloudHome,
}

impl Azure {
    pub fn on(cloud: Cloud) -> Self {
        let home = cloud.home();
        Self { cloud, home }
    }
}

impl Ground for Azure {
    type Dialect = AzureDialect;
    const CLOUD: &'static str = "azure";
    const ROUNDS_A_CLOUD: u32 = 100;
    const MACHINE: &'static str = "VirtualMachines_CreateOrUpdate";

    fn start() -> Self {
        Self::on(Cloud::start())
    }

    fn reset(&self) {
        self.cloud.reset();
    }

    fn proxy(&self) -> &Proxy<AzureDialect> {
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

    fn makes(call: &Call) -> bool {
        call.operation.ends_with("_CreateOrUpdate") && !call.path.contains("blobServices")
    }
}
