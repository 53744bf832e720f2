//! What a deployment on AWS consists of, as a whole.

use std::collections::BTreeMap;

use engine::graph::{Address, Desired, Graph, order};
use serde_json::{Value, json};
use spec::amount::Usd;
use spec::deployment::Cloud;
use spec::machine::{
    Disk, Egress, Exposure, Gpu, MachineCandidate, Market, MonthlyCosts, Offer, Records, ResolvedMachine,
    ResolvedNetwork,
};
use spec::monitoring::MonitoringWish;
use spec::resolved::{PortChoice, ResolvedBaseline, ResolvedDaemon, ResolvedModel, ResolvedSpec};
use spec::weights::WeightsSpec;

use super::graph::{build, laid_out};
use crate::cloud::{Begun, CloudFacts, CloudGraphError, Identity, Image, LaidOut};
use crate::local::facts::Binary;
use crate::secret::Revisions;

fn offer(machine_type: &str, hourly: &str) -> Offer {
    Offer {
        cloud: Cloud::Aws,
        machine_type: machine_type.to_owned(),
        region: "eu-west-1".to_owned(),
        zones: Vec::new(),
        vcpus: 48,
        memory_mib: 1 << 19,
        gpu: Some(Gpu { name: "L40S".to_owned(), memory_mib: 45_776 }),
        gpu_count: 4,
        on_demand_hourly: hourly.parse().ok(),
        spot_hourly: None,
        price_as_of: None,
        price_source: String::new(),
        on_demand_quota: None,
        spot_quota: None,
    }
}

fn candidate(machine_type: &str, zone: &str, hourly: &str) -> MachineCandidate {
    let offer = offer(machine_type, hourly);
    MachineCandidate { offer, zone: Some(format!("eu-west-1{zone}")), market: Market::OnDemand }
}

fn machine() -> ResolvedMachine {
    let usd = |text: &str| text.parse::<Usd>().ok();
    ResolvedMachine {
        region: "eu-west-1".to_owned(),
        candidates: vec![
            candidate("g6e.12xlarge", "b", "10"),
            candidate("g6e.12xlarge", "a", "10"),
            candidate("p4d.24xlarge", "a", "20"),
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
            disk: usd("14"),
            nat_gateway: usd("40"),
            public_address: usd("3.65"),
            interface_endpoint: usd("8"),
            egress: usd("0"),
            source: String::new(),
        },
    }
}

fn spec(machine: ResolvedMachine) -> ResolvedSpec {
    let weights = WeightsSpec {
        name: "70b-int8".parse().unwrap(),
        sources: vec!["s3://weights/70b.gguf".parse().unwrap()],
        sha256: None,
        size: Some(7),
    };
    ResolvedSpec {
        name: "default".parse().unwrap(),
        cloud: Cloud::Aws,
        model: ResolvedModel { name: "70b-int8".parse().unwrap(), served_name: "m".to_owned(), weights: vec![weights] },
        gateway_port: PortChoice::Fixed(443),
        tls: spec::resolved::ResolvedTls::Plain,
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
        identity: Identity { account: "1".to_owned(), caller: "c".to_owned() },
        image: Image { id: "ami-1".to_owned(), source: "s".to_owned() },
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

fn names(graph: &Graph) -> Vec<&str> {
    graph.iter().map(|it| it.address.as_str()).collect()
}

#[test]
fn a_default_deployment_is_private_and_leads_out_by_nat() {
    let graph = graph(|_| {});
    assert_eq!(
        names(&graph),
        [
            "artifact.dsctl",
            "artifact.dsgate",
            "artifact.dsserve",
            "bucket.main",
            "elastic-ip.nat",
            "endpoint.s3",
            "host-spec.main",
            "instance-profile.machine",
            "internet-gateway.main",
            "machine.main",
            "nat-gateway.main",
            "network.main",
            "role.machine",
            "route-table.private",
            "route-table.public",
            "secret.admin-token",
            "secret.api-key",
            "secret.daemon-key",
            "security-group.machine",
            "subnet.private-eu-west-1a",
            "subnet.private-eu-west-1b",
            "subnet.public-eu-west-1b",
        ]
    );
    let machine = get(&graph, "machine.main");
    assert_eq!(machine.inputs["public"], false);
    assert_eq!(machine.inputs["subnet"], "subnet.private-eu-west-1b");
    assert_eq!(machine.inputs["termination_protection"], true);
    assert_eq!(order(&graph.edges()).unwrap().last().unwrap().as_str(), "machine.main");
    let group = &get(&graph, "security-group.machine").inputs;
    assert_eq!((&group["port"], &group["allow"]), (&json!(443), &json!(["10.0.0.0/8"])));
    assert!(get(&graph, "nat-gateway.main").depends_on.contains(&Address::new("internet-gateway", "main")));
}

#[test]
fn a_candidate_brings_its_type_its_subnet_and_its_price() {
    let graph = graph(|_| {});
    let machine = get(&graph, "machine.main");
    let second = machine.with_candidate(1);
    assert_eq!(second.inputs["subnet"], "subnet.private-eu-west-1a");
    assert_eq!(machine.with_candidate(2).inputs["machine_type"], "p4d.24xlarge");
    assert_eq!(machine.monthly_usd, Some(10.0 * 730.0 + 14.0));
    let all: Option<f64> = graph.iter().map(|it| it.monthly_usd).sum();
    assert_eq!(all, Some(10.0 * 730.0 + 14.0 + 40.0 + 3.65));
}

#[test]
fn zones_have_their_ranges_by_letter_and_keep_them() {
    let before = graph(|_| {});
    let range = |graph: &Graph, subnet: &str| get(graph, subnet).inputs["range"].as_str().unwrap().to_owned();
    assert_eq!(range(&before, "subnet.private-eu-west-1a"), "10.77.0.0/20");
    assert_eq!(range(&before, "subnet.private-eu-west-1b"), "10.77.16.0/20");
    assert_eq!(range(&before, "subnet.public-eu-west-1b"), "10.77.144.0/20");
    // What is there stays, though no candidate is in it any more.
    let begun: Begun = before.iter().map(|it| (it.address.clone(), it.inputs.clone())).collect();
    let facts = CloudFacts { laid_out: laid_out(&begun), ..facts() };
    let mut machine = machine();
    machine.candidates = vec![candidate("g6e.12xlarge", "c", "9")];
    let after = build(&spec(machine), &facts).unwrap();
    assert!(before.iter().all(|it| after.get(&it.address).is_some()), "something would go");
    assert_eq!(range(&after, "subnet.private-eu-west-1c"), "10.77.32.0/20");
    assert_eq!(get(&after, "nat-gateway.main").inputs, get(&before, "nat-gateway.main").inputs);
}

#[test]
fn what_is_laid_out_is_read_from_inputs() {
    let graph = graph(|_| {});
    let begun: Begun = graph.iter().map(|it| (it.address.clone(), it.inputs.clone())).collect();
    let found = laid_out(&begun);
    assert_eq!(found.region.as_deref(), Some("eu-west-1"));
    assert_eq!(found.egress_zone.as_deref(), Some("eu-west-1b"));
    assert_eq!(found.zones.len(), 2);
    let machine = found.machine.unwrap();
    assert_eq!((machine.zone.as_deref(), machine.image.as_str()), (Some("eu-west-1b"), "ami-1"));
    assert_eq!(laid_out(&BTreeMap::new()), LaidOut::default());
}

#[test]
fn endpoints_alone_need_no_gateway_and_a_public_machine_no_nat() {
    let closed = graph(|machine| machine.network.egress = Egress::Endpoints);
    let has = |graph: &Graph, address: &str| graph.get(&Address::parse(address).unwrap()).is_some();
    assert!(!has(&closed, "internet-gateway.main") && !has(&closed, "nat-gateway.main"));
    assert_eq!(get(&closed, "route-table.private").inputs["default_route"], Value::Null);
    assert_eq!(get(&closed, "endpoint.ssm").monthly_usd, Some(16.0), "one in each of two zones");
    let public = graph(|machine| machine.network.public = Exposure::Public);
    assert!(!has(&public, "nat-gateway.main") && !has(&public, "subnet.private-eu-west-1a"));
    assert_eq!(get(&public, "machine.main").inputs["subnet"], "subnet.public-eu-west-1b");
    assert_eq!(get(&public, "machine.main").monthly_usd, Some(10.0 * 730.0 + 14.0 + 3.65));
}

#[test]
fn the_hipaa_pack_keeps_and_logs() {
    let bucket = graph(|machine| machine.records = Records { audit_days: Some(2192), access_log: true });
    assert_eq!(
        get(&bucket, "bucket.main").inputs,
        json!({"account": "1", "region": "eu-west-1", "audit_days": 2192, "access_log": true})
    );
}

#[test]
fn what_can_not_be_is_refused() {
    let refused = |spec: ResolvedSpec, facts: CloudFacts| match build(&spec, &facts) {
        Err(CloudGraphError::Spec(message)) => message,
        other => panic!("{other:?}"),
    };
    let long = CloudFacts { boot_script: "x".repeat(20_000), ..facts() };
    assert!(refused(spec(machine()), long).contains("EC2 takes at most 16384"));
    let mut closed = spec(machine());
    closed.machine.as_mut().unwrap().network.egress = Egress::Endpoints;
    closed.model.weights[0].sources = vec!["https://host/m.gguf".parse().unwrap()];
    assert!(refused(closed, facts()).contains("network.egress"));
    let mut local = spec(machine());
    local.baseline = Some(ResolvedBaseline::Local(local.model.clone()));
    assert!(refused(local, facts()).contains("baseline: local:MODEL"));
}

#[test]
fn no_secret_and_no_id_stands_in_the_graph() {
    let text = serde_json::to_string(&graph(|_| {})).unwrap();
    for word in ["vpc-", "subnet-0", "sk-", "AKIA"] {
        assert!(!text.contains(word), "{word}");
    }
}
