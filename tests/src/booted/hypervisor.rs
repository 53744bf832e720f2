//! Boots what the cloud of the tests has, and takes the power from what it has no longer.

use std::net::SocketAddr;

use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::{Value, json};

use super::machine::{Birth, Machine};
use crate::aws::ACCESS_KEY;
use crate::aws::cloud::{Cloud, REGION};
use crate::http::wait;
use crate::weights;

/// Where the tests' weights lie in the cloud: a host without a way to the world fetches them from there.
const SHELF: &str = "shelf-of-weights";

/// A cloud whose machines boot.
#[derive(Debug)]
pub struct Hypervisor {
    pub cloud: Cloud,
    pub machines: Vec<(String, Machine)>,
    /// How much a machine's agent may keep; none = as much as there is here.
    pub disk_mib: Option<u32>,
}

impl Hypervisor {
    #[track_caller]
    pub fn start() -> Self {
        let cloud = Cloud::start();
        cloud.reset();
        Self { cloud, machines: Vec::new(), disk_mib: None }
    }

    /// Puts the model into a bucket of the cloud; the words that lead `dsctl up` there.
    #[track_caller]
    pub fn shelve_weights(&self) -> [String; 4] {
        self.cloud.call(REGION, ("s3", "create_bucket"), &json!({"Bucket": SHELF}));
        let weights = weights::model();
        let bytes = std::fs::read(&weights.path).expect("the weights");
        self.put(SHELF, "model.gguf", bytes);
        let source = format!("s3://{SHELF}/model.gguf");
        ["--weights".to_owned(), source, "--weights-sha256".to_owned(), weights.sha256.clone()]
    }

    #[track_caller]
    fn put(&self, bucket: &str, key: &str, bytes: Vec<u8>) {
        let store = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(REGION)
            .with_endpoint(self.cloud.moto.url())
            .with_allow_http(true)
            .with_access_key_id(ACCESS_KEY)
            .with_secret_access_key(ACCESS_KEY)
            .build()
            .expect("a bucket");
        wait(store.put(&key.into(), PutPayload::from(bytes))).expect("an object in the bucket");
    }

    /// That nothing is left but what the tests put there themselves.
    #[track_caller]
    pub fn is_empty_but_for_the_shelf(&self) {
        self.cloud.call(REGION, ("s3", "delete_object"), &json!({"Bucket": SHELF, "Key": "model.gguf"}));
        self.cloud.call(REGION, ("s3", "delete_bucket"), &json!({"Bucket": SHELF}));
        self.cloud.is_empty(REGION, "after down");
    }

    /// One look at the cloud.
    #[track_caller]
    pub fn look(&mut self) {
        let running = json!({"Filters": [{"Name": "instance-state-name", "Values": ["running"]}]});
        let answer = self.cloud.call(REGION, ("ec2", "describe_instances"), &running);
        let reservations = answer["Reservations"].as_array().into_iter().flatten();
        let instances: Vec<&Value> =
            reservations.flat_map(|it| it["Instances"].as_array().into_iter().flatten()).collect();
        self.machines.retain(|(id, _)| instances.iter().any(|it| it["InstanceId"] == id.as_str()));
        for instance in instances {
            let birth = self.birth(instance);
            if !self.machines.iter().any(|(known, _)| *known == birth.instance) {
                self.machines.push((birth.instance.clone(), Machine::boot(birth)));
            }
        }
    }

    #[track_caller]
    fn birth(&self, instance: &Value) -> Birth {
        let id = &instance["InstanceId"];
        let asked = json!({"InstanceId": id, "Attribute": "userData"});
        let answer = self.cloud.call(REGION, ("ec2", "describe_instance_attribute"), &asked);
        let user_data = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            answer["UserData"]["Value"].as_str().unwrap_or_default(),
        );
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let proxy = self.cloud.proxy.url();
        let cloud: SocketAddr = proxy.trim_start_matches("http://").trim_end_matches('/').parse().expect("an address");
        Birth {
            instance: text(id),
            region: REGION.to_owned(),
            zone: text(&instance["Placement"]["AvailabilityZone"]),
            address: text(&instance["PrivateIpAddress"]).parse().expect("an address"),
            user_data: user_data.expect("user data"),
            cloud,
            disk_mib: self.disk_mib,
        }
    }

    /// The only machine there is.
    #[track_caller]
    pub fn machine(&mut self) -> &mut Machine {
        assert_eq!(self.machines.len(), 1, "machines");
        &mut self.machines[0].1
    }
}
