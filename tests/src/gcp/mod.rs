//! Google Cloud on loopback: an account that keeps what it is given and behaves as Google where dsctl stands on it.
//!
//! ```text
//! request -> server -> contract (Google's own documents: is it a call at all?) -> the room of its service
//!                                        world: everything there is, and what a test set      |
//!            answer <- contract (is it an answer of Google's?) <---- reply or refusal --------+
//!
//! compute  networks, machines, disks, operations        iam      service accounts      project  Resource Manager
//! storage  buckets, policies, objects; XML for the state         catalog  machine types, zones, images
//! key      keys of somebody's own that things are encrypted by
//! account  what is alive, for a test                    reader   the same, read by python with Google's own client
//! openapi  the same documents for a validator that we did not write
//! ```
//! One port serves all services under their paths at Google's. There is no journal and there are no broken connections:
//! those are a proxy's in front. What is against the contract is refused, and fails the test at its end.

pub mod account;
mod call;
mod catalog;
pub mod cloud;
mod compute;
mod contract;
pub mod dialect;
mod failure;
mod fields;
mod host;
mod iam;
mod key;
pub mod openapi;
mod project;
pub mod reader;
mod server;
mod storage;
#[cfg(test)]
mod tests;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::call;
use crate::proxy::{lock, serve};
pub use catalog::{IMAGE_PROJECT, PLAIN_IMAGE_PROJECT};
pub use contract::{REQUIREMENTS, name as method};
pub use failure::Failure;
use server::Shared;
use world::World;
pub use world::{Looks, PROJECT};

/// Where the fake has machines that hold the tests' models.
pub const REGION: &str = "us-central1";

/// The variables that lead dsctl to an endpoint on loopback and away from everything of the developer's own.
pub fn variables(endpoint: &str, region: &str) -> Vec<(&'static str, String)> {
    let fixed = [
        ("DSCTL_GCP_ENDPOINT", endpoint),
        ("GOOGLE_CLOUD_PROJECT", PROJECT),
        ("CLOUDSDK_COMPUTE_REGION", region),
        ("CLOUDSDK_CONFIG", "/nonexistent"),
    ];
    fixed.map(|(name, value)| (name, value.to_owned())).into()
}

/// Serves until the process ends. Dropped, it fails the test if anything was against Google's contract.
#[derive(Debug)]
pub struct Google {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Google {
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let address = serve(Router::new().fallback(server::arrive).with_state(Arc::clone(&shared)));
        Self { address, shared }
    }

    /// Without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets everything that was made and set. Violations stay.
    pub fn reset(&self) {
        *lock(&self.shared.world) = World::default();
    }

    /// What was against the contract until now; it is forgotten, for tests that are about it.
    pub fn violations(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.violations))
    }

    pub fn set_looks(&self, looks: Looks) {
        self.set(|world| world.settings.looks = looks);
    }

    /// Another project of the same people.
    pub fn add_project(&self, project: &str, number: u64) {
        self.set(|world| {
            world.settings.projects.insert(project.to_owned(), number);
        });
    }

    /// A bucket of somebody's own.
    #[track_caller]
    pub fn add_bucket(&self, name: &str) {
        let url = format!("{}/storage/v1/b?project={PROJECT}", self.url());
        call(Method::POST, &url, project::TOKEN, Some(&json!({"name": name}))).has_status(200);
    }

    /// `place` is `global` or a region; the metric is as Google names it, `NVIDIA_L4_GPUS`.
    pub fn set_quota(&self, place: &str, metric: &str, limit: f64) {
        self.set(|world| {
            world.settings.quotas.insert((place.to_owned(), metric.to_owned()), limit);
        });
    }

    /// So many machines of a type fit into a zone; none: as many as one likes.
    pub fn set_capacity(&self, zone: &str, machine_type: &str, machines: Option<usize>) {
        let key = (zone.to_owned(), machine_type.to_owned());
        self.set(|world| match machines {
            Some(machines) => {
                world.settings.capacity.insert(key, machines);
            }
            None => {
                world.settings.capacity.remove(&key);
            }
        });
    }

    /// The zone is down: it says so, and holds no new machines.
    pub fn take_zone_down(&self, zone: &str) {
        self.set(|world| {
            world.settings.zones_down.insert(zone.to_owned());
        });
    }

    /// The zone does not offer a type that the table has there.
    pub fn withdraw_machine_type(&self, machine_type: &str, zone: &str) {
        self.set(|world| {
            world.settings.missing.insert((machine_type.to_owned(), zone.to_owned()));
        });
    }

    /// Google renamed a family: nobody answers to the old name. Its images stay.
    pub fn withdraw_image_family(&self, family: &str) {
        self.set(|world| {
            world.settings.families.remove(family);
        });
    }

    /// There is a newer image in a family; the earlier ones stay.
    pub fn release_image(&self, family: &str, image: &str) {
        self.set(|world| {
            world.settings.families.insert(family.to_owned(), image.to_owned());
            world.settings.images.insert(image.to_owned(), family.to_owned());
        });
    }

    /// An image is no more.
    pub fn remove_image(&self, image: &str) {
        self.set(|world| {
            world.settings.images.remove(image);
        });
    }

    /// Somebody else in the world has a bucket of this name.
    pub fn take_bucket_name(&self, name: &str) {
        self.set(|world| {
            world.settings.foreign_buckets.insert(name.to_owned());
        });
    }

    /// Text of an object that is there.
    pub fn object(&self, bucket: &str, key: &str) -> Option<String> {
        lock(&self.shared.world).buckets.get(bucket)?.text(key)
    }

    /// Somebody with every right writes text.
    #[track_caller]
    pub fn put_object(&self, bucket: &str, key: &str, text: &str) {
        self.set(|world| storage::write(world, bucket, key, text));
    }

    /// A service that nobody enabled in the project: `iam`, `storage`, `compute`.
    pub fn disable_service(&self, service: &str) {
        self.set(|world| {
            world.settings.disabled.insert(service.to_owned());
        });
    }

    pub fn enable_service(&self, service: &str) {
        self.set(|world| {
            world.settings.disabled.remove(service);
        });
    }

    /// A service that the owners of keys did not let use any: `compute`, `storage`.
    pub fn lock_out(&self, service: &str) {
        self.set(|world| {
            world.settings.locked_out.insert(service.to_owned());
        });
    }

    pub fn let_in(&self, service: &str) {
        self.set(|world| {
            world.settings.locked_out.remove(service);
        });
    }

    /// No page of a list has more items.
    pub fn set_page(&self, items: usize) {
        self.set(|world| world.settings.page = items);
    }

    /// The next operations of a method (`compute.instances.insert`), so many, end in this error.
    pub fn fail_operations(&self, method: &str, times: u32, failure: Failure) {
        self.set(|world| world.settings.failures.push((method.to_owned(), times, failure)));
    }

    /// What the first serial port of an instance has said. The path is `projects/P/zones/Z/instances/N`.
    pub fn set_serial_port(&self, instance: &str, contents: &str) {
        self.set(|world| {
            world.settings.serial_ports.insert(instance.to_owned(), contents.to_owned());
        });
    }

    /// Google takes a spot machine back: it goes as its termination action says.
    #[track_caller]
    pub fn preempt(&self, instance: &str) {
        self.set(|world| account::preempt(world, instance));
    }

    /// Time goes on.
    pub fn pass(&self, time: Duration) {
        let time = SignedDuration::try_from(time).expect("a time that fits");
        self.set(|world| world.pass(time));
    }

    /// Every operation that goes on comes to its end.
    pub fn settle(&self) {
        self.set(World::settle);
    }

    /// Everything that is alive once all has come to its end: see [`account`].
    pub fn account(&self) -> Value {
        let mut world = lock(&self.shared.world);
        world.settle();
        account::of(&world)
    }

    fn set(&self, set: impl FnOnce(&mut World)) {
        set(&mut lock(&self.shared.world));
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        let violations = self.violations();
        if !violations.is_empty() && !std::thread::panicking() {
            panic!("against Google's contract:\n{}", violations.join("\n"));
        }
    }
}
