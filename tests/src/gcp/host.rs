//! What a machine that nobody boots would say: reports in the bucket, as the agent writes them.

use serde_json::{Value, json};

use super::account::things;
use super::cloud::Cloud;
use crate::aws::host::{self, DESIRED, STATUS, THEN};
use crate::cloud_home::CloudHome;

impl Cloud {
    /// Text of an object in the deployment's bucket.
    #[track_caller]
    pub fn object(&self, home: &CloudHome, key: &str) -> String {
        let bucket = home.id("bucket.main");
        self.google.object(&bucket, key).unwrap_or_else(|| panic!("no {key} in {bucket}"))
    }

    /// The host spec as it lies in the bucket.
    #[track_caller]
    pub fn desired(&self, home: &CloudHome) -> Value {
        serde_json::from_str(&self.object(home, DESIRED)).expect("a host spec")
    }

    /// The machine reports that a real token was generated with the host spec as it is now.
    #[track_caller]
    pub fn report_ready(&self, home: &CloudHome) {
        self.report(home, host::first_token(), json!(THEN));
    }

    /// The machine reports that its weights could not be had.
    #[track_caller]
    pub fn report_failed(&self, home: &CloudHome, message: &str) {
        self.report(home, host::no_weights(message), Value::Null);
    }

    /// By an agent that began with the machine that the state names.
    #[track_caller]
    fn report(&self, home: &CloudHome, phases: Value, ready_since: Value) {
        let (account, id) = (self.google.account(), home.id("machine.main"));
        let machine = things(&account, "instances").find(|it| it["id"] == id.as_str()).expect("the machine");
        let started_at = &machine["body"]["lastStartTimestamp"];
        let status = host::status(&self.desired(home), started_at, phases, ready_since);
        self.google.put_object(&home.id("bucket.main"), STATUS, &status.to_string());
    }
}
