//! What a machine that nobody boots would say: reports in the bucket, as the agent writes them.

use serde_json::{Value, json};

use super::account::things;
use super::cloud::Cloud;
use crate::cloud_home::CloudHome;

pub(crate) const DESIRED: &str = "host/main/desired.json";
pub(crate) const STATUS: &str = "host/main/status.json";
pub(crate) const THEN: &str = "2026-11-24T12:00:00Z";

impl Cloud {
    /// The host spec as it lies in the bucket.
    #[track_caller]
    pub fn desired(&self, home: &CloudHome) -> Value {
        serde_json::from_str(&self.object(home, DESIRED)).expect("a host spec")
    }

    /// Text of an object in the deployment's bucket.
    #[track_caller]
    pub fn object(&self, home: &CloudHome, key: &str) -> String {
        let place = json!({"Bucket": home.id("bucket.main"), "Key": key});
        let object = self.call(&home.region, ("s3", "get_object"), &place);
        object["Body"].as_str().expect("an object of text").to_owned()
    }

    #[track_caller]
    pub fn put_object(&self, home: &CloudHome, key: &str, body: &str) {
        let object = json!({"Bucket": home.id("bucket.main"), "Key": key, "Body": body});
        self.call(&home.region, ("s3", "put_object"), &object);
    }

    /// The machine reports that a real token was generated with the host spec as it is now.
    #[track_caller]
    pub fn report_ready(&self, home: &CloudHome) {
        self.report(home, first_token(), json!(THEN));
    }

    /// The machine reports that its weights could not be had.
    #[track_caller]
    pub fn report_failed(&self, home: &CloudHome, message: &str) {
        self.report(home, no_weights(message), Value::Null);
    }

    /// The machine reports what came of an act.
    #[track_caller]
    pub fn report_outcome(&self, home: &CloudHome, action: &str, said: &str) {
        self.report_ready(home);
        let mut status: Value = serde_json::from_str(&self.object(home, STATUS)).expect("a status");
        status["outcomes"] = json!([{"id": action, "at": THEN, "result": {"Ok": said}}]);
        self.put_object(home, STATUS, &status.to_string());
    }

    /// By an agent that began with the machine that the state names.
    #[track_caller]
    fn report(&self, home: &CloudHome, phases: Value, ready_since: Value) {
        let (desired, id) = (self.desired(home), home.id("machine.main"));
        let account = self.account(&home.region);
        let machine = things(&account, "instances").find(|it| it["id"] == id.as_str()).expect("the machine");
        self.put_object(home, STATUS, &status(&desired, &machine["launched"], phases, ready_since).to_string());
    }
}

/// A report of an agent that began at a time.
pub(crate) fn status(desired: &Value, started_at: &Value, phases: Value, ready_since: Value) -> Value {
    json!({
        "deployment": desired["deployment"], "host": desired["host"], "generation": desired["generation"],
        "written_at": THEN, "agent": {"pid": 1, "version": "0.1.0", "started_at": started_at},
        "phases": phases, "weights": [], "units": [], "ready_since": ready_since, "outcomes": [],
    })
}

/// A real token was generated.
pub(crate) fn first_token() -> Value {
    json!([{"phase": "first-token", "state": "done", "detail": "a token in 0.4 s", "progress": null,
        "started_at": THEN, "ended_at": THEN, "failure": null}])
}

/// The weights could not be had.
pub(crate) fn no_weights(message: &str) -> Value {
    let failure = json!({"message": message, "log_tail": [], "next": "dsctl up"});
    json!([{"phase": "weights", "state": "failed", "detail": message, "progress": null,
        "started_at": THEN, "ended_at": THEN, "failure": failure}])
}
