//! What a deployment on Azure consists of, as a whole.

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
use spec::resolved::{PortChoice, ResolvedBaseline, ResolvedDaemon, ResolvedModel, ResolvedSpec, ResolvedTls};
use spec::weights::WeightsSpec;

use super::graph::{build, laid_out};
use crate::cloud::{Begun, CloudFacts, CloudGraphError, Identity, Image, LaidOut};
use crate::local::facts::Binary;
use crate::secret::Revisions;

const IMAGE: &str = "microsoft-dsvm:ubuntu-hpc:2204:22.04.2026072801";

fn offer(machine_type: &str, hourly: &str) -> Offer {
    Offer {
        cloud: Cloud::Azure,
        machine_type: machine_type.to_owned(),
        region: "westeurope".to_owned(),
        zones: Vec::new(),
        vcpus: 24,
        memory_mib: 225_280,
        gpu: Some(Gpu { name: "A100 80GB".to_owned(), memory_mib: 81_920 }),
        gpu_count: 1,
        on_demand_hourly: hourly.parse().ok(),
        spot_hourly: hourly.parse().ok(),
        price_as_of: None,
        price_source: String::new(),
        on_demand_quota: None,
        spot_quota: None,
    }
}

fn candidate(machine_type: &str, zone: Option<&str>, hourly: &str) -> MachineCandidate {
    let zone = zone.map(|zone| format!("westeurope-{zone}"));
    MachineCandidate { offer: offer(machine_type, hourly), zone, market: Market::OnDemand }
}

fn machine() -> ResolvedMachine {
    let usd = |text: &str| text.parse::<Usd>().ok();
    ResolvedMachine {
        region: "westeurope".to_owned(),
        candidates: vec![
            candidate("Standard_NC24ads_A100_v4", None, "4"),
            candidate("Standard_NC24ads_A100_v4", Some("1"), "4"),
            candidate("Standard_NC48ads_A100_v4", None, "8"),
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
            disk: usd("20"),
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
        sources: vec!["az://weights/70b.gguf".parse().unwrap()],
        sha256: None,
        size: Some(7),
    };
    ResolvedSpec {
        name: "default".parse().unwrap(),
        cloud: Cloud::Azure,
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
        identity: Identity { account: "11111111-2222".to_owned(), caller: "ada@example.org".to_owned() },
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

fn names(graph: &Graph) -> Vec<&str> {
    graph.iter().map(|it| it.address.as_str()).collect()
}

#[test]
fn a_default_deployment_is_private_and_leads_out_by_nat() {
    let graph = graph(|_| {});
    assert_eq!(
        names(&graph),
        [
            "access.machine",
            "access.operator",
            "artifact.dsctl",
            "artifact.dsgate",
            "artifact.dsserve",
            "bucket.main",
            "group.main",
            "host-spec.main",
            "identity.machine",
            "machine.main",
            "nat-gateway.main",
            "network.main",
            "public-address.nat",
            "secret.admin-token",
            "secret.api-key",
            "secret.daemon-key",
            "secret.tls-ca",
            "security-group.machine",
            "storage.main",
        ]
    );
    let machine = &get(&graph, "machine.main").inputs;
    assert_eq!((&machine["public"], &machine["zone"]), (&json!(false), &Value::Null));
    assert_eq!((&machine["termination_protection"], &machine["image"]), (&json!(true), &json!(IMAGE)));
    let group = &get(&graph, "security-group.machine").inputs;
    assert_eq!((&group["port"], &group["allow"]), (&json!(443), &json!(["10.0.0.0/8"])));
}

#[test]
fn ranges_that_lie_in_each_other_are_one() {
    let ranges = ["10.1.0.0/16", "192.168.4.0/24", "10.0.0.0/8"];
    let graph = graph(|machine| machine.network.allow = ranges.map(|range| range.parse().unwrap()).into());
    assert_eq!(get(&graph, "security-group.machine").inputs["allow"], json!(["10.0.0.0/8", "192.168.4.0/24"]));
}

#[test]
fn what_is_written_into_the_bucket_comes_after_the_right_to_write_and_goes_before_it() {
    let graph = graph(|_| {});
    let order: Vec<String> = order(&graph.edges()).unwrap().iter().map(ToString::to_string).collect();
    let at = |address: &str| order.iter().position(|it| it == address).unwrap();
    assert_eq!(at("group.main"), 0);
    assert_eq!(at("machine.main"), order.len() - 1);
    assert!(at("storage.main") < at("access.operator") && at("access.operator") < at("bucket.main"));
    assert!(at("bucket.main") < at("secret.api-key") && at("identity.machine") < at("access.machine"));
    assert!(at("nat-gateway.main") < at("network.main") && at("security-group.machine") < at("network.main"));
}

#[test]
fn a_candidate_brings_its_type_its_zone_and_its_price() {
    let graph = graph(|_| {});
    let machine = get(&graph, "machine.main");
    assert_eq!(machine.with_candidate(1).inputs["zone"], "westeurope-1");
    assert_eq!(machine.with_candidate(2).inputs["machine_type"], "Standard_NC48ads_A100_v4");
    assert_eq!(machine.monthly_usd, Some(4.0 * 730.0 + 20.0));
    let all: Option<f64> = graph.iter().map(|it| it.monthly_usd).sum();
    assert_eq!(all, Some(4.0 * 730.0 + 20.0 + 40.0 + 3.65));
}

#[test]
fn a_spot_machine_is_not_locked() {
    let graph = graph(|machine| machine.candidates.iter_mut().for_each(|it| it.market = Market::Spot));
    let machine = &get(&graph, "machine.main").inputs;
    assert_eq!((&machine["market"], &machine["termination_protection"]), (&json!("spot"), &json!(false)));
}

#[test]
fn what_is_laid_out_is_read_from_inputs() {
    let graph = graph(|machine| machine.candidates.swap(0, 1));
    let begun: Begun = graph.iter().map(|it| (it.address.clone(), it.inputs.clone())).collect();
    let found = laid_out(&begun);
    assert_eq!((found.account.as_deref(), found.region.as_deref()), (Some("11111111-2222"), Some("westeurope")));
    let machine = found.machine.unwrap();
    assert_eq!((machine.zone.as_deref(), machine.image.as_str()), (Some("westeurope-1"), IMAGE));
    assert_eq!(found.zones.into_iter().collect::<Vec<_>>(), ["westeurope-1"], "the machine's own is not left out");
    assert_eq!(laid_out(&BTreeMap::new()), LaidOut::default());
}

#[test]
fn endpoints_alone_and_a_public_address_need_no_gateway() {
    let has = |graph: &Graph, address: &str| graph.get(&Address::parse(address).unwrap()).is_some();
    for change in [
        (|machine: &mut ResolvedMachine| machine.network.egress = Egress::Endpoints) as fn(&mut ResolvedMachine),
        |machine| machine.network.public = Exposure::Public,
    ] {
        let graph = graph(change);
        assert!(!has(&graph, "nat-gateway.main") && !has(&graph, "public-address.nat"));
        assert_eq!(get(&graph, "network.main").inputs["nat_gateway"], Value::Null);
    }
    let public = graph(|machine| machine.network.public = Exposure::Public);
    assert_eq!(get(&public, "machine.main").inputs["public"], true);
    assert_eq!(get(&public, "machine.main").monthly_usd, Some(4.0 * 730.0 + 20.0 + 3.65));
}

#[test]
fn the_hipaa_pack_keeps_and_logs() {
    let graph = graph(|machine| machine.records = Records { audit_days: Some(2192), access_log: true });
    let expected = json!({"group": "group.main", "audit_days": 2192, "access_log": true});
    assert_eq!(get(&graph, "storage.main").inputs, expected);
}

#[test]
fn what_can_not_be_is_refused() {
    let refused = |spec: ResolvedSpec, facts: CloudFacts| match build(&spec, &facts) {
        Err(CloudGraphError::Spec(message)) => message,
        other => panic!("{other:?}"),
    };
    let long = CloudFacts { boot_script: "x".repeat(70_000), ..facts() };
    assert!(refused(spec(machine()), long).contains("Azure takes at most 65535"));
    let mut closed = spec(machine());
    closed.machine.as_mut().unwrap().network.egress = Egress::Endpoints;
    closed.model.weights[0].sources = vec!["https://host/m.gguf".parse().unwrap()];
    assert!(refused(closed, facts()).contains("network.egress"));
    let mut small = spec(machine());
    small.machine.as_mut().unwrap().network.range = "10.77.0.0/30".parse().unwrap();
    assert!(refused(small, facts()).contains("network.range"));
    let mut local = spec(machine());
    local.baseline = Some(ResolvedBaseline::Local(local.model.clone()));
    assert!(refused(local, facts()).contains("baseline: local:MODEL"));
}

#[test]
fn no_secret_and_no_id_stands_in_the_graph() {
    let text = serde_json::to_string(&graph(|_| {})).unwrap();
    for word in ["/subscriptions/", "sk-", "roleAssignments", "ssh-"] {
        assert!(!text.contains(word), "{word}");
    }
}
