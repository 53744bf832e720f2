//! A whole life: `dsctl up` unchanged until it prints an endpoint, a completion, `dsctl down`.

use std::time::{Duration, Instant};

use tests::aws::cloud::REGION;
use tests::booted::hypervisor::Hypervisor;
use tests::cloud_home::CloudHome;
use tests::home::VISIBILITY_VARIABLE;
use tests::process::Outcome;

const MODEL: &str = "smollm2-135m";
/// For a boot, 94 MiB of weights and a first token, on a crowded machine.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn a_bare_machine_becomes_an_endpoint_and_goes_without_a_trace() {
    let mut scene = Scene::start();
    let up = scene.up(&[]).exits(0).says("is ready");
    eprintln!("{}", up.transcript());
    let machine = scene.hypervisor.machine();
    eprintln!("{}", machine.console());
    eprintln!("{}", machine.run(&["systemctl", "--no-pager", "list-units", "dsctl*"]).transcript());
    scene.home.dsctl(&["status"]).exits(0);
    scene.home.dsctl(&["down", "--yes"]).exits(0);
}

struct Scene {
    hypervisor: Hypervisor,
    home: CloudHome,
    weights: [String; 4],
}

impl Scene {
    fn start() -> Self {
        let hypervisor = Hypervisor::start();
        let weights = hypervisor.shelve_weights();
        let home = hypervisor.cloud.home_of(MODEL, REGION).with_programs();
        let _ = VISIBILITY_VARIABLE;
        Self { hypervisor, home, weights }
    }

    /// While the cloud boots what `up` makes.
    fn up(&mut self, more: &[&str]) -> Outcome {
        let weights: Vec<&str> = self.weights.iter().map(String::as_str).collect();
        let words = [&["up", "--yes", "--machine-type", "g4dn.xlarge"], weights.as_slice(), more].concat();
        let mut up = self.home.start(&words);
        let begun = Instant::now();
        while !up.is_over() {
            self.hypervisor.look();
            if begun.elapsed() > PATIENCE {
                for (_, machine) in &self.hypervisor.machines {
                    eprintln!("{}\n{}", machine.console(), machine.journal());
                }
                panic!("up takes more than {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        up.end()
    }
}
