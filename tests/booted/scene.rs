//! A cloud whose machines boot, and a home whose `dsctl` goes there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::aws::cloud::REGION;
use tests::booted::hypervisor::Hypervisor;
use tests::booted::machine::Machine;
use tests::cloud_home::CloudHome;
use tests::process::{Outcome, run};

const MODEL: &str = "smollm2-135m";
/// Without a graphics card: its processors serve the small model.
const MACHINE_TYPE: &str = "c7i.2xlarge";
/// For a boot, 94 MiB of weights and a first token, on a crowded machine.
pub const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(300);

pub struct Scene {
    pub hypervisor: Hypervisor,
    pub home: CloudHome,
    weights: [String; 4],
}

impl Scene {
    pub fn start() -> Self {
        let hypervisor = Hypervisor::start();
        let weights = hypervisor.shelve_weights();
        let home = hypervisor.cloud.home_of(MODEL, REGION).with_programs();
        Self { hypervisor, home, weights }
    }

    /// `up` until it ends, while the cloud boots what it makes.
    pub fn up(&mut self, more: &[&str]) -> Outcome {
        self.up_while(more, |_| {})
    }

    /// `up` that does not wait; the cloud has the machine, and nobody boots it yet.
    pub fn up_unseen(&self) -> Outcome {
        let weights: Vec<&str> = self.weights.iter().map(String::as_str).collect();
        self.home.dsctl(&[&["up", "--yes", "--no-wait", "--machine-type", MACHINE_TYPE], weights.as_slice()].concat())
    }

    /// `up`; somebody does something to the machine whenever there is one.
    pub fn up_while(&mut self, more: &[&str], mut meanwhile: impl FnMut(&mut Machine)) -> Outcome {
        let weights: Vec<&str> = self.weights.iter().map(String::as_str).collect();
        let words = [&["up", "--yes", "--machine-type", MACHINE_TYPE], weights.as_slice(), more].concat();
        let mut up = self.home.start(&words);
        let begun = Instant::now();
        while !up.is_over() {
            self.hypervisor.look();
            if let Some((_, machine)) = self.hypervisor.machines.first_mut() {
                meanwhile(machine);
                assert!(begun.elapsed() < PATIENCE, "up takes long\n{}\n{}", machine.console(), machine.journal());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        up.end()
    }

    pub fn machine(&mut self) -> &mut Machine {
        self.hypervisor.machine()
    }

    /// Asks `dsctl status` until it says so, in its exit code.
    pub fn serves_again(&mut self, when: &str) {
        let begun = Instant::now();
        while self.home.dsctl(&["status"]).code != 0 {
            if begun.elapsed() > PATIENCE {
                let machine = self.machine();
                panic!("{when}: it does not serve\n{}\n{}", machine.console(), machine.journal());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A completion, asked for in the machine's own network, at the endpoint and with the authority that `up --json` printed.
    #[track_caller]
    pub fn complete(&mut self, up: &Value) -> Value {
        let text = |field: &str| up[field].as_str().unwrap_or_else(|| panic!("no {field} in {up}")).to_owned();
        let endpoint = text("endpoint");
        assert!(endpoint.starts_with("https://"), "{endpoint}");
        let key = self.hypervisor.cloud.object(&self.home, "secrets/api-key");
        let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8});
        let mut curl = self.machine().network.command("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "60", "--noproxy", "*"]);
        curl.args(["--cacert", &text("ca_file")]);
        curl.args([
            "--header",
            &format!("authorization: Bearer {}", key.trim()),
            "--header",
            "content-type: application/json",
        ]);
        curl.args(["--data", &body.to_string(), &format!("{endpoint}/chat/completions")]);
        run(&mut curl).exits(0).json()
    }

    pub fn down(&self) {
        self.home.dsctl(&["down", "--yes"]).exits(0);
    }
}

/// Waits until the machine is so; its console and journal are told if it never is.
#[track_caller]
pub fn becomes(machine: &Machine, what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}\n{}\n{}", machine.console(), machine.journal());
        std::thread::sleep(LOOK_EVERY);
    }
}
