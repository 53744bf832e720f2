//! Azure on loopback: a cloud that keeps what it is given and says what Azure would say.
//!
//! ```text
//! dsctl -> a proxy (records, fails on order: `dialect`) -> serve -> check (Microsoft's contract) -> arm | blobs -> world
//!          arm: groups, resources (kinds: networks, addresses, interfaces, machines, disks, identities, storage, containers),
//!               access, locks, registrations, catalogue, operations
//! account lists everything alive past all that; python/azure_account.py lists it with Microsoft's own clients
//! ```
//! The contract is `python/azure_contract.py`'s, from Microsoft's clients for Python: a request or an answer that differs from it is
//! refused, and the test that made it fails when its [`Azure`] goes. `openapi` is the same for a validator that we did not write.

pub mod access;
pub mod account;
mod actions;
mod addresses;
mod arm;
mod ask;
mod blob_access;
mod blob_list;
mod blob_store;
mod blobs;
mod catalogue;
mod check;
pub mod cloud;
mod conditions;
mod containers;
pub mod contract;
pub mod dialect;
mod disks;
mod groups;
mod identities;
pub mod images;
mod interfaces;
mod kinds;
mod lists;
mod locks;
mod machine_checks;
mod machines;
mod nested;
mod networks;
pub mod openapi;
mod operations;
mod place;
mod prices;
mod quota;
pub mod reader;
mod registrations;
mod resources;
mod serve;
mod settings;
pub mod sizes;
mod storage;
mod tags;
#[cfg(test)]
mod tests;
mod world;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

use self::serve::{Shared, arrive};
pub use self::settings::{CALLER, Looks, Price, Restriction, SUBSCRIPTION, Shortage, TENANT};
use self::world::World;
use crate::http::{Answer, ask, client};
use crate::proxy::{lock, serve};

/// As dsctl sends it.
const BLOB_VERSION: &str = "2024-11-04";

/// The variables that lead dsctl to an endpoint on loopback and away from everything of the developer's own.
pub fn variables(endpoint: &str, region: &str) -> Vec<(&'static str, String)> {
    let pairs = [
        ("DSCTL_AZURE_ENDPOINT", endpoint),
        ("DSCTL_AZURE_PRICES", endpoint),
        ("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION),
        ("AZURE_LOCATION", region),
        ("AZURE_CONFIG_DIR", "/nonexistent"),
    ];
    pairs.map(|(name, value)| (name, value.to_owned())).into()
}

/// The token of a principal, as far as the fake reads tokens.
pub fn token(principal: &str) -> String {
    let claims = json!({"oid": principal, "tid": TENANT, "upn": "ada@example.org"});
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2lnbmF0dXJl", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims))
}

/// One subscription. Serves until the process ends; a violation of the contract fails the test when it goes.
#[derive(Debug)]
pub struct Azure {
    address: SocketAddr,
    /// Where its callers think it is: what it says of itself begins with it.
    origin: Mutex<String>,
    shared: Arc<Shared>,
}

impl Azure {
    #[track_caller]
    pub fn start() -> Self {
        contract::prepare();
        // The world must know its own address, which is known once it is served.
        let shared = Arc::new(Shared::new(""));
        let address = serve(Router::new().fallback(arrive).with_state(Arc::clone(&shared)));
        let azure = Self { address, origin: Mutex::default(), shared };
        azure.served_at(&azure.url());
        azure
    }

    /// Where ARM is, and blobs under `/ACCOUNT/CONTAINER/KEY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As it was at first: nothing in it, everything after one look. Violations stay.
    pub fn reset(&self) {
        *lock(&self.shared.world) = World::new(&lock(&self.origin));
    }

    /// Callers come by another address: a proxy's. Everything is forgotten.
    pub fn served_at(&self, origin: &str) {
        origin.clone_into(&mut lock(&self.origin));
        self.reset();
    }

    /// What a request made does not show in so many looks at it.
    fn hide(&self, asked: &ask::Asked, looks: u32) {
        self.with(|world| world.hide(asked, looks));
    }

    fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut lock(&self.shared.world))
    }

    pub fn set_looks(&self, looks: Looks) {
        self.with(|world| world.settings.looks = looks);
    }

    /// How many machines of a size there is room for in a zone (none: for those that name no zone), and how it is said
    /// that there are no more.
    pub fn set_room(&self, size: &str, zone: Option<&str>, machines: u32, how: Shortage) {
        let place = (size.to_lowercase(), zone.map(str::to_owned));
        self.with(|world| world.settings.room.insert(place, (machines, how)));
    }

    /// Cores by family, `cores`, `lowPriorityCores`, in every region.
    pub fn set_quota(&self, name: &str, limit: i64) {
        self.with(|world| world.settings.quotas.insert(name.to_lowercase(), limit));
    }

    pub fn restrict(&self, restriction: Restriction) {
        self.with(|world| world.settings.restrictions.push(restriction));
    }

    pub fn set_price(&self, price: Price) {
        self.with(|world| world.settings.prices.push(price));
    }

    /// None of them: the image was withdrawn.
    pub fn set_image_versions(&self, versions: &[&str]) {
        self.with(|world| world.settings.image_versions = versions.iter().map(|it| (*it).to_owned()).collect());
    }

    /// A storage account of somebody else's has this name.
    pub fn take_name(&self, account: &str) {
        self.with(|world| world.settings.taken.insert(account.to_owned()));
    }

    /// The subscription does not use a service.
    pub fn unregister(&self, namespace: &str) {
        self.with(|world| world.settings.unregistered.insert(namespace.to_lowercase()));
    }

    /// Whether the subscription may encrypt at the host.
    pub fn set_encryption_at_host(&self, is_enabled: bool) {
        self.with(|world| world.settings.encryption_at_host = is_enabled);
    }

    /// Entries of a page of a list.
    pub fn set_page(&self, entries: usize) {
        self.with(|world| world.settings.page = entries);
    }

    /// What a machine writes on its console.
    #[track_caller]
    pub fn set_console(&self, machine: &str, text: &str) {
        self.with(|world| world.thing_mut(machine).expect("a machine").note["console"] = text.into());
    }

    /// Everything that goes on comes to its end.
    pub fn pass_time(&self) {
        self.with(World::pass_time);
    }

    /// Everything alive, by kind: [`account::list`](mod@account) says what. What goes on comes to its end first.
    pub fn account(&self) -> Value {
        self.with(|world| {
            world.pass_time();
            account::list(world)
        })
    }

    /// Text of a blob.
    pub fn blob(&self, account: &str, container: &str, key: &str) -> Option<String> {
        let text = self.with(|world| blobs::text(world, account, container, key));
        text.and_then(|text| text.as_str().map(str::to_owned))
    }

    /// Puts a blob as a machine would, or somebody else who may.
    pub fn put_blob(&self, account: &str, container: &str, key: &str, body: &str) {
        self.with(|world| world.blobs.write(account, container, key, body.to_owned().into()));
    }

    /// One call of somebody else's, done to its end: `azure.somebody(Method::DELETE, "/subscriptions/…?api-version=…",
    /// None)`.
    #[track_caller]
    pub fn somebody(&self, method: Method, target: &str, body: Option<&Value>) -> Answer {
        let request = client().request(method, format!("{}{target}", self.url())).bearer_auth(token(CALLER));
        // Blob storage demands its version, Resource Manager knows no such header.
        let is_blob = !target.starts_with("/subscriptions/");
        let request = if is_blob { request.header("x-ms-version", BLOB_VERSION) } else { request };
        let answer = ask(match body {
            Some(body) => request.json(body),
            None => request,
        });
        self.pass_time();
        answer
    }

    /// What was asked or answered otherwise than Microsoft's contract says.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.shared.violations).clone()
    }

    /// Takes them, for a test that is about them.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.violations))
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        let violations = self.violations();
        if !violations.is_empty() && !std::thread::panicking() {
            panic!("Microsoft's contract says otherwise:\n{}", violations.join("\n"));
        }
    }
}
