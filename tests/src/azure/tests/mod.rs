//! Each behaviour of Azure that dsctl relies on, by plain HTTP.

mod access;
mod blobs;
mod contract;
mod groups;
mod machines;
mod networks;
mod readers;
mod shortages;
mod storage;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{Azure, CALLER, Looks, SUBSCRIPTION, token};
use crate::http::{client, wait};

/// What was answered, with its headers.
#[derive(Debug, Clone)]
pub struct Told {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Told {
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Refused with a code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.json()["error"]["code"].as_str()), (status, Some(code)), "{self:?}");
    }

    /// Refused by the blob service.
    #[track_caller]
    pub fn refused_blob(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.header("x-ms-error-code")), (status, Some(code)), "{self:?}");
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

#[track_caller]
pub fn send(method: Method, url: &str, headers: &[(&str, &str)], body: Option<String>) -> Told {
    let request =
        headers.iter().fold(client().request(method, url), |request, (name, value)| request.header(*name, *value));
    let request = match body {
        Some(body) => request.body(body),
        None => request,
    };
    wait(async {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Told { status, headers, body: response.text().await.expect("a body") }
    })
}

/// The API version that dsctl calls a kind with.
fn version(path: &str) -> &'static str {
    let path = path.to_lowercase();
    if path.split('/').nth(3) == Some("providers") && path.split('/').count() < 7 && !path.ends_with("/skus") {
        // The service itself; or all of its kind in the subscription.
        let is_service = path.split('/').nth(5).is_none_or(|word| word == "register");
        if is_service {
            return "2025-04-01";
        }
    }
    let versions = [
        ("microsoft.features", "2021-07-01"),
        ("/locks", "2020-05-01"),
        ("/roleassignments", "2022-04-01"),
        ("/roledefinitions", "2022-04-01"),
        ("microsoft.compute/skus", "2021-07-01"),
        ("microsoft.compute/disks", "2025-01-02"),
        ("microsoft.compute", "2025-04-01"),
        ("microsoft.network", "2025-05-01"),
        ("microsoft.storage", "2025-01-01"),
        ("microsoft.managedidentity", "2024-11-30"),
    ];
    let known = versions.iter().find(|(word, _)| path.contains(word)).map(|(_, version)| *version);
    let is_subscription = path.split('/').count() == 3;
    known.unwrap_or(if is_subscription { "2022-12-01" } else { "2025-04-01" })
}

pub fn group() -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/g")
}

/// `thing("Microsoft.Network/virtualNetworks/main")`.
pub fn thing(rest: &str) -> String {
    format!("{}/providers/{rest}", group())
}

pub fn tags(token: &str) -> Value {
    json!({"dsctl-deployment": "demo", "dsctl-token": token})
}

impl Azure {
    #[track_caller]
    fn call(&self, method: Method, target: &str, body: Option<&Value>) -> Told {
        self.call_with(method, target, &[], body)
    }

    #[track_caller]
    fn call_with(&self, method: Method, target: &str, more: &[(&str, &str)], body: Option<&Value>) -> Told {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let url = format!("{}{path}?api-version={}&{query}", self.url(), version(path));
        let bearer = format!("Bearer {}", token(CALLER));
        let headers = [&[("authorization", bearer.as_str()), ("content-type", "application/json")], more].concat();
        send(method, url.trim_end_matches('&'), &headers, body.map(Value::to_string))
    }

    #[track_caller]
    fn get(&self, target: &str) -> Told {
        self.call(Method::GET, target, None)
    }

    #[track_caller]
    fn put(&self, target: &str, body: &Value) -> Told {
        self.call(Method::PUT, target, Some(body))
    }

    #[track_caller]
    fn delete(&self, target: &str) -> Told {
        self.call(Method::DELETE, target, None)
    }

    /// An address that an answer gave.
    #[track_caller]
    fn follow(&self, url: &str) -> Told {
        assert!(url.starts_with(&self.url()), "{url} leads elsewhere");
        send(Method::GET, url, &[("authorization", &format!("Bearer {}", token(CALLER)))], None)
    }

    /// Puts something and waits for its end; gives it as it is then.
    #[track_caller]
    fn made(&self, target: &str, body: &Value) -> Value {
        let told = self.put(target, body);
        assert!([200, 201, 202].contains(&told.status), "{told:?}");
        self.pass_time();
        self.get(target).is(200).json()
    }

    #[track_caller]
    fn gone(&self, target: &str) {
        let told = self.delete(target);
        assert!([200, 202].contains(&told.status), "{told:?}");
        self.pass_time();
    }

    /// With a group in it.
    #[track_caller]
    fn ready() -> Self {
        let azure = Self::start();
        azure.set_looks(Looks::NONE);
        azure.put(&group(), &json!({"location": "eastus", "tags": tags("g")})).is(201);
        azure
    }
}

/// A network with one subnet, `machines`; gives the subnet's id.
#[track_caller]
pub fn network(azure: &Azure) -> String {
    let body = json!({"location": "eastus", "tags": tags("n"), "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/24"]},
        "subnets": [{"name": "machines", "properties": {"addressPrefix": "10.0.0.0/24"}}],
    }});
    let made = azure.made(&thing("Microsoft.Network/virtualNetworks/main"), &body);
    made["properties"]["subnets"][0]["id"].as_str().expect("a subnet").to_owned()
}

/// The body of a machine with an interface of its own.
pub fn machine(subnet: &str, size: &str) -> Value {
    let key = format!("ssh-ed25519 {}", "A".repeat(68));
    let address = json!({"name": "main", "properties": {"primary": true, "subnet": {"id": subnet}}});
    json!({
        "location": "eastus", "tags": tags("m"),
        "properties": {
            "hardwareProfile": {"vmSize": size},
            "storageProfile": {
                "imageReference": {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2204", "version": "22.04.2026101501"},
                "osDisk": {"name": "main-disk", "createOption": "FromImage", "deleteOption": "Delete", "diskSizeGB": 200,
                    "managedDisk": {"storageAccountType": "Premium_LRS"}},
            },
            "osProfile": {"computerName": "dsctl-demo", "adminUsername": "dsctl", "customData": "I2Nsb3VkLWNvbmZpZw==",
                "linuxConfiguration": {"disablePasswordAuthentication": true,
                    "ssh": {"publicKeys": [{"path": "/home/dsctl/.ssh/authorized_keys", "keyData": key}]}}},
            "networkProfile": {"networkApiVersion": "2022-11-01", "networkInterfaceConfigurations": [
                {"name": "main", "tags": tags("m"), "properties": {"primary": true, "deleteOption": "Delete",
                    "enableAcceleratedNetworking": true, "ipConfigurations": [address]}}]},
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": true}},
        },
    })
}

pub const MACHINE: &str = "Microsoft.Compute/virtualMachines/main";
pub const SIZE: &str = "Standard_NC24ads_A100_v4";
