//! The fake against what is known of Google, by plain HTTP.

mod contract;
mod deployment;
mod iam;
mod instances;
mod lists;
mod networks;
mod objects;
mod operations;
mod policies;
mod quotas;
mod reader;
mod state;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Google, PROJECT};
use crate::http::{Answer, ask, client};

pub(super) const ZONE: &str = "us-central1-a";
pub(super) const MACHINE: &str = "g2-standard-4";
const LOOKS_ENOUGH: usize = 20;

/// Who asks.
pub(super) struct Desk {
    pub google: Google,
}

/// `/compute/v1/projects/P/` and what follows.
pub(super) fn compute(rest: &str) -> String {
    format!("/compute/v1/projects/{PROJECT}/{rest}")
}

impl Desk {
    pub fn start() -> Self {
        Self { google: Google::start() }
    }

    #[track_caller]
    pub fn ask(&self, verb: &str, path: &str, body: Option<&Value>) -> Answer {
        let method = Method::from_bytes(verb.as_bytes()).expect("a method");
        let request = client().request(method, format!("{}{path}", self.google.url()));
        ask(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None).has_status(200).json()
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, Some(body)).has_status(200).json()
    }

    /// That a call is refused with a status and a reason; gives the message.
    #[track_caller]
    pub fn refused(&self, (verb, path): (&str, &str), body: Option<&Value>, status: u16, reason: &str) -> String {
        let error = self.ask(verb, path, body).has_status(status).json()["error"].clone();
        assert_eq!((&error["code"], &error["errors"][0]["reason"]), (&json!(status), &json!(reason)), "{error}");
        assert_eq!(
            (&error["errors"][0]["message"], &error["errors"][0]["domain"]),
            (&error["message"], &json!("global"))
        );
        error["message"].as_str().expect("a message").to_owned()
    }

    /// Where an operation is looked at.
    pub fn place(operation: &Value) -> String {
        let link = operation["selfLink"].as_str().expect("an operation's link");
        link.strip_prefix("https://www.googleapis.com").expect("a link of Google's").to_owned()
    }

    /// An operation as it is at its end.
    #[track_caller]
    pub fn ended(&self, operation: &Value) -> Value {
        assert_eq!(operation["kind"], "compute#operation", "{operation}");
        let place = Self::place(operation);
        let mut looks = (0..LOOKS_ENOUGH).map(|_| self.get(&place));
        looks.find(|it| it["status"] == "DONE").expect("an operation that ends")
    }

    /// A call that begins an operation, and its good end.
    #[track_caller]
    pub fn done(&self, verb: &str, path: &str, body: Option<&Value>) -> Value {
        let operation = self.ask(verb, path, body).has_status(200).json();
        let ended = self.ended(&operation);
        assert!(ended["error"].is_null(), "{ended}");
        ended
    }

    #[track_caller]
    pub fn made(&self, path: &str, body: &Value) -> Value {
        self.done("POST", path, Some(body))
    }

    /// A network `net` and a subnetwork `sub` in it.
    #[track_caller]
    pub fn with_network(self) -> Self {
        self.made(&compute("global/networks"), &network("net"));
        self.made(&compute("regions/us-central1/subnetworks"), &subnetwork("sub", "net", "10.0.0.0/24"));
        self
    }
}

pub(super) fn network(name: &str) -> Value {
    json!({"name": name, "autoCreateSubnetworks": false, "routingConfig": {"routingMode": "REGIONAL"}})
}

pub(super) fn subnetwork(name: &str, network: &str, range: &str) -> Value {
    let network = format!("projects/{PROJECT}/global/networks/{network}");
    json!({"name": name, "network": network, "ipCidrRange": range, "privateIpGoogleAccess": true, "stackType": "IPV4_ONLY"})
}

/// A machine as dsctl asks for one, without an account.
pub(super) fn instance(name: &str, machine: &str) -> Value {
    let disk_type = if machine.starts_with("g4") { "hyperdisk-balanced" } else { "pd-balanced" };
    json!({
        "name": name, "machineType": format!("zones/{ZONE}/machineTypes/{machine}"),
        "labels": {"dsctl-deployment": "a", "dsctl-address": "machine-main", "dsctl-token": "t", "dsctl-lineage": "l"},
        "canIpForward": false, "deletionProtection": false,
        "disks": [{"boot": true, "autoDelete": true, "initializeParams": {
            "sourceImage": "projects/deeplearning-platform-release/global/images/common-cu129-ubuntu-2204-nvidia-580-v20260818",
            "diskSizeGb": "200", "diskType": format!("zones/{ZONE}/diskTypes/{disk_type}"), "diskName": name,
            "labels": {"dsctl-deployment": "a"},
        }}],
        "networkInterfaces": [{"subnetwork": format!("projects/{PROJECT}/regions/us-central1/subnetworks/sub")}],
        "metadata": {"items": [{"key": "user-data", "value": "#cloud-config"}, {"key": "enable-oslogin", "value": "TRUE"}]},
        "scheduling": {"onHostMaintenance": "TERMINATE", "automaticRestart": true, "provisioningModel": "STANDARD"},
        "shieldedInstanceConfig": {"enableSecureBoot": false, "enableVtpm": true, "enableIntegrityMonitoring": true},
    })
}

pub(super) fn spot(name: &str, machine: &str) -> Value {
    let mut body = instance(name, machine);
    body["scheduling"] = json!({"onHostMaintenance": "TERMINATE", "automaticRestart": false, "provisioningModel": "SPOT",
        "instanceTerminationAction": "DELETE"});
    body
}

pub(super) fn instances() -> String {
    compute(&format!("zones/{ZONE}/instances"))
}
