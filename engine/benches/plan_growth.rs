//! How `plan` and `apply` grow with the number of machines, on the fake cloud and a store in memory: what is measured is the
//! engine alone. Growth is the time of a machine among so many, over that of a machine alone: 1.0 is linear.
//!
//! `cargo bench -p engine --bench plan_growth --features conformance`

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::apply::{Engine, Event, Settings};
use engine::fake::FakeProvider;
use engine::graph::{Address, Candidate, Desired, Graph};
use engine::journal::Journal;
use engine::plan::Action;
use engine::provider::{Known, Provider, Token};
use engine::state::{RemoteId, Resource, State};
use engine::store::{Expect, MemoryStore, Store};
use jiff::Timestamp;
use serde_json::{Value, json};
use spec::id::DeploymentName;

const PLANNED: [usize; 3] = [1, 100, 1000];
const APPLIED: [usize; 3] = [1, 10, 100];
/// Alternated; the median counts.
const ROUNDS: usize = 5;
const APPLY_ROUNDS: usize = 3;
/// Lengths of what the inputs of a real deployment hold.
const BOOT_SCRIPT: usize = 6000;
const HOST_SPEC: usize = 3000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        planned().await;
        applied().await;
    });
}

/// A cloud with everything of its graph in it.
struct Site {
    machines: usize,
    graph: Graph,
    provider: FakeProvider,
    store: Arc<dyn Store>,
}

impl Site {
    fn new(machines: usize) -> Self {
        let graph = Graph::new((0..machines).flat_map(deployment)).expect("a graph");
        Self { machines, graph, provider: FakeProvider::default(), store: Arc::new(MemoryStore::default()) }
    }

    async fn look(&self) -> Engine<FakeProvider> {
        let settings = Settings::default();
        Engine::look(self.store.clone(), &name(), self.provider.clone(), settings).await.expect("it is read")
    }

    /// Leaves what an apply leaves: things, journal and state, the state written once instead of after each thing.
    async fn fill(&self) {
        let (mut journal, _) = Journal::open(self.store.clone(), "journal").await.expect("a journal");
        let mut resources = BTreeMap::new();
        for (at, want) in self.graph.iter().map(|want| want.with_candidate(0)).enumerate() {
            let token = Token(format!("{at:016x}"));
            let remote_id = self.provider.create(&want, &token, &Known::empty("l")).await.expect("it is made");
            for event in [intent(&want, &token), done(&want, &token, &remote_id)] {
                journal.append(Timestamp::now(), event).await.expect("it is written");
            }
            let Desired { address, inputs, depends_on, monthly_usd, .. } = want;
            resources.insert(address, Resource { remote_id, inputs, depends_on, monthly_usd });
        }
        let state = State::of(name(), "l".to_owned(), resources);
        let bytes = serde_json::to_vec_pretty(&state).expect("JSON");
        self.store.put_if("state.json", &bytes, Expect::Absent).await.expect("it is written");
    }

    async fn apply(&self) {
        let mut engine = self.look().await;
        let plan = engine.plan(&self.graph).await.expect("a plan");
        engine.apply(&plan, &self.graph, &mut |_| {}).await.expect("it is applied");
    }
}

fn intent(want: &Desired, token: &Token) -> Event {
    Event::Intent {
        address: want.address.clone(),
        action: Action::Create,
        token: token.clone(),
        inputs: Some(want.inputs.clone()),
        depends_on: want.depends_on.iter().cloned().collect(),
        monthly_usd: want.monthly_usd,
    }
}

fn done(want: &Desired, token: &Token, remote_id: &RemoteId) -> Event {
    Event::Done { address: want.address.clone(), token: token.clone(), remote_id: Some(remote_id.clone()) }
}

async fn planned() {
    let mut sites = Vec::new();
    for machines in PLANNED {
        let site = Site::new(machines);
        site.fill().await;
        sites.push((site, Vec::new(), Vec::new()));
    }
    for _ in 0..ROUNDS {
        for (site, reads, plans) in &mut sites {
            let (read, plan) = plan_again(site).await;
            reads.push(read);
            plans.push(plan);
        }
    }
    let row = |(site, reads, plans): (Site, Vec<Duration>, Vec<Duration>)| (site, vec![median(reads), median(plans)]);
    table(&["read", "plan"], sites.into_iter().map(row).collect());
}

/// Time to read journal and state, and to look at everything and compare; each as often as makes the same work of all sizes.
async fn plan_again(site: &Site) -> (Duration, Duration) {
    let times = PLANNED[PLANNED.len() - 1] / site.machines;
    let (mut read, mut planned) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..times {
        let begun = Instant::now();
        let engine = site.look().await;
        read += begun.elapsed();
        let begun = Instant::now();
        let plan = engine.plan(&site.graph).await.expect("a plan");
        planned += begun.elapsed();
        assert!(plan.is_empty(), "what was applied is as wanted");
    }
    let times = u32::try_from(times).expect("few");
    (read / times, planned / times)
}

async fn applied() {
    let mut sizes = APPLIED.map(|machines| (machines, Vec::new()));
    for _ in 0..APPLY_ROUNDS {
        for (machines, times) in &mut sizes {
            let site = Site::new(*machines);
            let begun = Instant::now();
            site.apply().await;
            times.push(begun.elapsed());
        }
    }
    table(&["apply"], sizes.into_iter().map(|(machines, times)| (Site::new(machines), vec![median(times)])).collect());
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn table(columns: &[&str], rows: Vec<(Site, Vec<Duration>)>) {
    print!("{:>8} {:>9}", "machines", "resources");
    columns.iter().for_each(|name| print!(" {:>9} ms {:>10} {:>6}", name, "ms/machine", "growth"));
    println!();
    let of_one: Vec<f64> = rows.first().map(|(_, times)| times.iter().map(millis).collect()).unwrap_or_default();
    for (site, times) in &rows {
        print!("{:>8} {:>9}", site.machines, site.graph.iter().count());
        for (time, of_one) in times.iter().map(millis).zip(&of_one) {
            let each = time / f64::from(u32::try_from(site.machines).expect("few"));
            print!(" {time:>12.2} {each:>10.3} {:>6.2}", each / of_one);
        }
        println!();
    }
    println!();
}

fn millis(time: &Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn name() -> DeploymentName {
    "default".parse().expect("a name")
}

/// One machine with what stands around it by default on AWS: kinds, edges and lengths as in `providers/src/aws/graph.rs`.
fn deployment(at: usize) -> Vec<Desired> {
    let named = |kind: &str, name: &str| Address::new(kind, &format!("{name}-{at}"));
    let thing = |kind: &str, name: &str, on: &[Address], inputs: Value| Desired {
        address: named(kind, name),
        inputs,
        depends_on: on.iter().cloned().collect(),
        summary: format!("{kind} {name}"),
        disk_bytes: 0,
        monthly_usd: Some(0.0),
        candidates: Vec::new(),
    };
    let (network, bucket) = (named("network", "main"), named("bucket", "main"));
    let in_network = |kind: &str, name: &str| {
        let inputs = json!({"network": network, "zone": name, "range": "10.77.0.0/20"});
        thing(kind, name, std::slice::from_ref(&network), inputs)
    };
    let in_bucket = |kind: &str, name: &str, length: usize| {
        let inputs = json!({"bucket": bucket, "sha256": "0".repeat(64), "content": "x".repeat(length)});
        thing(kind, name, std::slice::from_ref(&bucket), inputs)
    };
    let mut all = vec![thing("network", "main", &[], json!({"region": "us-east-1", "range": "10.77.0.0/16"}))];
    all.push(thing("elastic-ip", "nat", &[], json!({})));
    all.push(in_network("internet-gateway", "main"));
    all.extend(["private-a", "private-b", "public-a"].map(|name| in_network("subnet", name)));
    let around = [named("subnet", "public-a"), named("elastic-ip", "nat"), named("internet-gateway", "main")];
    all.push(thing("nat-gateway", "main", &around, json!({"subnet": around[0], "elastic_ip": around[1]})));
    all.push(thing("route-table", "private", &[named("nat-gateway", "main")], json!({"network": network})));
    all.push(thing("route-table", "public", &[named("internet-gateway", "main")], json!({"network": network})));
    all.extend([in_network("endpoint", "s3"), in_network("security-group", "machine")]);
    all.push(thing("bucket", "main", &[], json!({"region": "us-east-1", "access_log": false})));
    all.extend(["dsctl", "dsserve", "dsgate"].map(|name| in_bucket("artifact", name, 0)));
    all.extend(["api-key", "admin-token", "daemon-key"].map(|name| in_bucket("secret", name, 0)));
    all.extend([in_bucket("host-spec", "main", HOST_SPEC), in_bucket("role", "machine", 0)]);
    all.push(thing("instance-profile", "machine", &[named("role", "machine")], json!({})));
    let on: BTreeSet<Address> = all.iter().map(|it| it.address.clone()).collect();
    let inputs = json!({"image": "ami-0123", "disk_gib": 200, "boot_script": "x".repeat(BOOT_SCRIPT)});
    all.push(Desired { depends_on: on, candidates: candidates(), ..thing("machine", "main", &[], inputs) });
    all
}

fn candidates() -> Vec<Candidate> {
    let candidate = |zone: &str| Candidate {
        label: format!("g6e.12xlarge in {zone}, on demand"),
        monthly_usd: Some(7659.0),
        inputs: [("subnet".to_owned(), json!(format!("subnet.private-{zone}")))].into_iter().collect(),
    };
    ["a", "b", "c"].map(candidate).into()
}
