//! What a deployment on GCP consists of, as a whole.

use std::collections::BTreeMap;

use engine::graph::{Address, Desired, Graph, order};
use serde_json::json;
use spec::amount::Usd;
use spec::deployment::Cloud;
use spec::encryption_key::EncryptionKey;
use spec::machine::{
    Disk, Egress, Exposure, Gpu, MachineCandidate, Market, MonthlyCosts, Offer, Records, ResolvedMachine,
    ResolvedNetwork,
};
use spec::monitoring::MonitoringWish;
use spec::resolved::{PortChoice, ResolvedBaseline, ResolvedDaemon, ResolvedModel, ResolvedSpec, ResolvedTls};
use spec::weights::WeightsSpec;

use super::graph::{build, laid_out};
use crate::cloud::{Begun, CloudFacts, CloudGraphError, Identity, Image, LaidOut};
use crate::local::facts::Binary;
use crate::secret::Revisions;

const IMAGE: &str = "projects/deeplearning-platform-release/global/images/i-v1";

fn offer(machine_type: &str, hourly: &str) -> Offer {
    Offer {
        cloud: Cloud::Gcp,
        machine_type: machine_type.to_owned(),
        region: "europe-west4".to_owned(),
        zones: Vec::new(),
        vcpus: 48,
        memory_mib: 192 << 10,
        gpu: Some(Gpu { name: "L4".to_owned(), memory_mib: 23_034 }),
        gpu_count: 4,
        on_demand_hourly: hourly.parse().ok(),
        spot_hourly: hourly.parse().ok(),
        price_as_of: None,
        price_source: String::new(),
        on_demand_quota: None,
        spot_quota: None,
    }
}

fn candidate(machine_type: &str, zone: &str, hourly: &str) -> MachineCandidate {
    let offer = offer(machine_type, hourly);
    MachineCandidate { offer, zone: Some(format!("europe-west4-{zone}")), market: Market::OnDemand }
}

fn machine() -> ResolvedMachine {
    let usd = |text: &str| text.parse::<Usd>().ok();
    ResolvedMachine {
        region: "europe-west4".to_owned(),
        candidates: vec![
            candidate("g2-standard-48", "b", "4"),
            candidate("g2-standard-48", "a", "4"),
            candidate("a2-ultragpu-1g", "a", "6"),
        ],
        disk: Disk { gib: 160, iops: 3000, mib_a_second: 125 },
        image: None,
        network: ResolvedNetwork {
            range: "10.77.0.0/16".parse().unwrap(),
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            public: Exposure::Private,
            egress: Egress::Nat,
        },
        records: Records::default(),
        egress_gb: 100,
        around: MonthlyCosts {
            disk: usd("16"),
            nat_gateway: usd("5.5"),
            public_address: usd("3.65"),
            interface_endpoint: None,
            egress: usd("12"),
            source: String::new(),
        },
    }
}

fn spec(machine: ResolvedMachine) -> ResolvedSpec {
    let weights = WeightsSpec {
        name: "70b-int8".parse().unwrap(),
        sources: vec!["gs://weights/70b.gguf".parse().unwrap()],
        sha256: None,
        size: Some(7),
    };
    ResolvedSpec {
        name: "default".parse().unwrap(),
        cloud: Cloud::Gcp,
        model: ResolvedModel { name: "70b-int8".parse().unwrap(), served_name: "m".to_owned(), weights: vec![weights] },
        gateway_port: PortChoice::Fixed(443),
        tls: ResolvedTls::Issued,
        daemon: ResolvedDaemon { context: None, max_sequences: 8, threads: None, memory_utilization: None },
        spare: None,
        guards: None,
        cache: None,
        audit: None,
        baseline: None,
        monitoring: MonitoringWish::default().resolve().unwrap(),
        encryption_key: None,
        machine: Some(machine),
    }
}

fn facts() -> CloudFacts {
    let binary = Binary { sha256: "0".repeat(64).parse().unwrap(), size: 1 };
    CloudFacts {
        identity: Identity { account: "p".to_owned(), caller: "c".to_owned() },
        image: Image { id: IMAGE.to_owned(), source: "s".to_owned() },
        binaries: ["dsctl", "dsgate", "dsserve"].map(|name| (name.to_owned(), binary.clone())).into(),
        boot_script: "@BUCKET@ @REGION@ @DSCTL_SHA256@ @ENDPOINT@".to_owned(),
        salt: "salt".to_owned(),
        revisions: Revisions::default(),
        machine_hourly: None,
        gpus: 1,
        laid_out: LaidOut::default(),
    }
}

fn graph(change: impl FnOnce(&mut ResolvedMachine)) -> Graph {
    let mut machine = machine();
    change(&mut machine);
    build(&spec(machine), &facts()).unwrap()
}

fn get<'a>(graph: &'a Graph, address: &str) -> &'a Desired {
    graph.get(&Address::parse(address).unwrap()).unwrap_or_else(|| panic!("no {address}"))
}

fn has(graph: &Graph, address: &str) -> bool {
    graph.get(&Address::parse(address).unwrap()).is_some()
}

#[test]
fn a_default_deployment_is_private_and_leads_out_by_nat() {
    let graph = graph(|_| {});
    let names: Vec<&str> = graph.iter().map(|it| it.address.as_str()).collect();
    assert_eq!(
        names,
        [
            "access.machine",
            "artifact.dsctl",
            "artifact.dsgate",
            "artifact.dsserve",
            "bucket.main",
            "firewall.gateway",
            "host-spec.main",
            "machine.main",
            "network.main",
            "router.main",
            "secret.admin-token",
            "secret.api-key",
            "secret.daemon-key",
            "secret.tls-ca",
            "service-account.machine",
            "subnet.main",
        ]
    );
    assert_eq!(get(&graph, "network.main").inputs, json!({"account": "p", "region": "europe-west4"}));
    assert_eq!(get(&graph, "subnet.main").inputs, json!({"network": "network.main", "range": "10.77.0.0/16"}));
    assert_eq!(get(&graph, "router.main").inputs, json!({"network": "network.main", "subnet": "subnet.main"}));
    assert_eq!(
        get(&graph, "firewall.gateway").inputs,
        json!({"network": "network.main", "service_account": "service-account.machine", "port": 443, "allow": ["10.0.0.0/8"]})
    );
    assert_eq!(
        get(&graph, "access.machine").inputs,
        json!({"bucket": "bucket.main", "service_account": "service-account.machine"})
    );
    let machine = get(&graph, "machine.main");
    assert_eq!((&machine.inputs["public"], &machine.inputs["image"]), (&json!(false), &json!(IMAGE)));
}

#[test]
fn what_stands_on_something_comes_after_it_and_the_network_goes_last() {
    let graph = graph(|_| {});
    let order = order(&graph.edges()).unwrap();
    let at = |address: &str| order.iter().position(|it| it.as_str() == address).unwrap();
    assert_eq!(order.last().unwrap().as_str(), "machine.main");
    assert!(at("network.main") < at("subnet.main") && at("subnet.main") < at("router.main"));
    assert!(at("service-account.machine") < at("firewall.gateway") && at("bucket.main") < at("access.machine"));
    let stands = |address: &str| get(&graph, address).depends_on.contains(&Address::new("network", "main"));
    assert!(["subnet.main", "router.main", "firewall.gateway", "service-account.machine"].into_iter().all(stands));
}

#[test]
fn a_candidate_brings_its_type_its_zone_and_its_price() {
    let graph = graph(|machine| machine.candidates[2].market = Market::Spot);
    let machine = get(&graph, "machine.main");
    assert_eq!(
        (&machine.inputs["zone"], &machine.inputs["deletion_protection"]),
        (&json!("europe-west4-b"), &json!(true))
    );
    assert_eq!(machine.with_candidate(1).inputs["zone"], "europe-west4-a");
    let spot = machine.with_candidate(2);
    assert_eq!((&spot.inputs["machine_type"], &spot.inputs["market"]), (&json!("a2-ultragpu-1g"), &json!("spot")));
    assert_eq!(spot.inputs["deletion_protection"], false, "Google ends it by itself");
    assert_eq!(machine.monthly_usd, Some(4.0 * 730.0 + 16.0 + 12.0));
    let all: Option<f64> = graph.iter().map(|it| it.monthly_usd).sum();
    assert_eq!(all, Some(4.0 * 730.0 + 16.0 + 12.0 + 5.5 + 3.65));
}

#[test]
fn a_machine_in_another_zone_needs_no_other_network() {
    let before = graph(|_| {});
    let begun: Begun = before.iter().map(|it| (it.address.clone(), it.inputs.clone())).collect();
    let facts = CloudFacts { laid_out: laid_out(&begun), ..facts() };
    let mut machine = machine();
    machine.candidates = vec![candidate("g2-standard-48", "c", "4")];
    let after = build(&spec(machine), &facts).unwrap();
    for wanted in before.iter().filter(|wanted| wanted.address.kind() != "machine") {
        assert_eq!(Some(&wanted.inputs), after.get(&wanted.address).map(|it| &it.inputs), "{}", wanted.address);
    }
    assert_eq!(get(&after, "machine.main").inputs["zone"], "europe-west4-c");
}

#[test]
fn what_is_laid_out_is_read_from_inputs() {
    let graph = graph(|_| {});
    let begun: Begun = graph.iter().map(|it| (it.address.clone(), it.inputs.clone())).collect();
    let found = laid_out(&begun);
    assert_eq!((found.account.as_deref(), found.region.as_deref()), (Some("p"), Some("europe-west4")));
    let machine = found.machine.unwrap();
    assert_eq!((machine.zone.as_deref(), machine.image.as_str()), (Some("europe-west4-b"), IMAGE));
    assert_eq!(laid_out(&BTreeMap::new()), LaidOut::default());
}

#[test]
fn googles_own_services_need_no_router_and_neither_does_a_public_machine() {
    let closed = graph(|machine| machine.network.egress = Egress::Endpoints);
    assert!(!has(&closed, "router.main") && has(&closed, "subnet.main"));
    let public = graph(|machine| machine.network.public = Exposure::Public);
    assert!(!has(&public, "router.main"));
    let machine = get(&public, "machine.main");
    assert_eq!(
        (&machine.inputs["public"], machine.monthly_usd),
        (&json!(true), Some(4.0 * 730.0 + 16.0 + 12.0 + 3.65))
    );
}

#[test]
fn the_hipaa_pack_keeps_and_logs() {
    let bucket = graph(|machine| machine.records = Records { audit_days: Some(2192), access_log: true });
    assert_eq!(
        get(&bucket, "bucket.main").inputs,
        json!({"account": "p", "region": "europe-west4", "audit_days": 2192, "access_log": true})
    );
}

#[test]
fn a_key_of_the_users_own_encrypts_disk_and_bucket_and_the_plan_says_so() {
    let key = "projects/k/locations/europe-west4/keyRings/r/cryptoKeys/k";
    let plain = graph(|_| {});
    let encryption_key = EncryptionKey::read(Cloud::Gcp, key).unwrap();
    let spec = ResolvedSpec { encryption_key: Some(encryption_key), ..spec(machine()) };
    let graph = build(&spec, &facts()).unwrap();
    for address in ["bucket.main", "machine.main"] {
        assert_eq!(get(&graph, address).inputs["encryption_key"], key, "{address}");
        assert!(get(&graph, address).summary.contains(&format!("encrypted by {key}")), "{address}");
        assert_eq!(get(&plain, address).inputs.get("encryption_key"), None, "{address}");
    }
    let differs = |wanted: &&Desired| plain.get(&wanted.address).map(|it| &it.inputs) != Some(&wanted.inputs);
    let others: Vec<&str> = graph.iter().filter(differs).map(|it| it.address.as_str()).collect();
    assert_eq!(others, ["bucket.main", "machine.main"]);
}

#[test]
fn what_can_not_be_is_refused() {
    let refused = |spec: ResolvedSpec, facts: CloudFacts| match build(&spec, &facts) {
        Err(CloudGraphError::Spec(message)) => message,
        other => panic!("{other:?}"),
    };
    let long = CloudFacts { boot_script: "x".repeat(300_000), ..facts() };
    assert!(refused(spec(machine()), long).contains("Compute Engine takes at most 262144"));
    let mut closed = spec(machine());
    closed.machine.as_mut().unwrap().network.egress = Egress::Endpoints;
    closed.model.weights[0].sources = vec!["https://host/m.gguf".parse().unwrap()];
    assert!(refused(closed, facts()).contains("give weights.sources an gs: one"));
    let mut nowhere = spec(machine());
    nowhere.machine.as_mut().unwrap().candidates[0].zone = None;
    assert!(refused(nowhere, facts()).contains("no zone"));
    let mut local = spec(machine());
    local.baseline = Some(ResolvedBaseline::Local(local.model.clone()));
    assert!(refused(local, facts()).contains("baseline: local:MODEL"));
}

#[test]
fn no_secret_and_no_id_stands_in_the_graph() {
    let text = serde_json::to_string(&graph(|_| {})).unwrap();
    for word in ["global/networks", "gserviceaccount", "sk-", "BEGIN PRIVATE"] {
        assert!(!text.contains(word), "{word}");
    }
}
