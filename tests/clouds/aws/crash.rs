//! AWS under the crash matrix.

use tests::aws::cloud::{Cloud, REGION};
use tests::aws::dialect::AwsDialect;
use tests::cloud_home::CloudHome;
use tests::proxy::{Call, Proxy};

use crate::crash::{Ground, matrix};

#[test]
fn after_a_crash_at_any_call_one_plain_command_leaves_no_orphan_and_no_duplicate() {
    matrix::<Aws>("AWS");
}

pub struct Aws {
    cloud: Cloud,
    home: CloudHome,
}

impl Ground for Aws {
    type Dialect = AwsDialect;
    const CLOUD: &'static str = "aws";
    const ROUNDS_A_CLOUD: u32 = 8;
    const MACHINE: &'static str = "RunInstances";

    fn start() -> Self {
        let cloud = Cloud::start();
        cloud.reset();
        let home = cloud.home();
        Self { cloud, home }
    }

    fn reset(&self) {
        self.cloud.reset();
    }

    fn proxy(&self) -> &Proxy<AwsDialect> {
        &self.cloud.proxy
    }

    fn home(&self) -> &CloudHome {
        &self.home
    }

    fn agrees(&self, when: &str) {
        self.cloud.agrees_with(&self.home, when);
    }

    fn is_empty(&self, when: &str) {
        self.cloud.is_empty(REGION, when);
        assert_eq!(self.home.home.deployments(), Vec::<String>::new(), "{when}: folders");
    }

    /// What S3 and IAM make shows at once.
    fn makes(call: &Call) -> bool {
        call.service == "ec2" && ["Create", "Run", "Allocate"].iter().any(|verb| call.operation.starts_with(verb))
    }
}
