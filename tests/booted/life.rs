//! A whole life: `dsctl up` unchanged until it prints an endpoint, a completion, `dsctl down`.

use tests::binaries;
use tests::booted::machine::Machine;

use crate::scene::Scene;

#[test]
fn a_bare_machine_becomes_an_endpoint_and_goes_without_a_trace() {
    let mut scene = Scene::start();
    let up = scene.up(&["--json"]).exits(0).json();
    assert_eq!(up["ready"], true, "{up}");
    let answer = scene.complete(&up);
    assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
    assert!(answer["usage"]["completion_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{answer}");

    scene.home.dsctl(&["status"]).exits(0);
    let key = scene.hypervisor.cloud.object(&scene.home, "secrets/api-key");
    let machine = scene.machine();
    each_unit_is_a_user_of_its_own(machine);
    secrets_are_for_their_units_alone(machine, &key);
    each_phase_is_on_the_console(machine);
    units_are_confined(machine);
    the_driver_stays(machine);
    first_boots_are_valid(machine);

    scene.up(&["--expect-no-changes"]).exits(0).says("No changes");
    scene.down();
    scene.hypervisor.is_empty_but_for_the_shelf();
}

fn each_unit_is_a_user_of_its_own(machine: &Machine) {
    for unit in ["dsserve", "dsgate"] {
        let asked =
            ["systemctl", "show", "--property=User,NoNewPrivileges,ProtectSystem", &format!("dsctl-{unit}.service")];
        machine
            .run(&asked)
            .exits(0)
            .says(&format!("User={unit}"))
            .says("NoNewPrivileges=yes")
            .says("ProtectSystem=strict");
        let asked = format!("systemctl show --property=MainPID --value dsctl-{unit} | xargs ps -o user= -p");
        machine.run(&["sh", "-c", &asked]).exits(0).says(unit);
    }
}

/// Each sees its own secrets, and neither sees the agent's folder.
fn secrets_are_for_their_units_alone(machine: &Machine, key: &str) {
    let secrets = "/var/lib/dsctl/deployments/default/bucket/secrets";
    let of = |unit: &str| {
        let pid =
            machine.run(&["systemctl", "show", "--property=MainPID", "--value", &format!("dsctl-{unit}.service")]);
        let seen = machine.run(&["nsenter", "--mount", "--target", pid.stdout.trim(), "ls", secrets]).exits(0);
        seen.stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("dsserve"), ["daemon-key"]);
    assert_eq!(of("dsgate"), ["admin-token", "api-key", "daemon-key"]);
    let nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "cat"];
    for path in
        [format!("{secrets}/api-key"), "/var/lib/dsctl/deployments/default/bucket/host/main/desired.json".to_owned()]
    {
        let read = machine.run(&["cat", &path]).exits(0);
        assert!(!read.stdout.contains(key.trim()), "a client's key in {path}");
        machine.run(&[&nobody[..], &[&path]].concat()).exits(1).says("Permission denied");
    }
}

/// Apt itself reads the list that unattended upgrades go by.
fn the_driver_stays(machine: &Machine) {
    let asked = ["apt-config", "dump", "Unattended-Upgrade::Package-Blacklist"];
    machine.run(&asked).exits(0).says("\"^nvidia-\"").says("\"^linux-image-\"");
}

fn each_phase_is_on_the_console(machine: &Machine) {
    let console = machine.console();
    for line in [
        "dsctl-boot: checking dsctl",
        "programs: done",
        "weights: done",
        "daemon: done",
        "gateway: done",
        "first token: done",
        "ready, host spec 1",
    ] {
        assert!(console.contains(line), "no {line} in\n{console}");
    }
}

/// Those of all clouds, by cloud-init's own schema.
fn first_boots_are_valid(machine: &Machine) {
    for cloud in ["aws", "gcp", "azure"] {
        let template = binaries::workspace().join(format!("templates/data/cloud-init/{cloud}.yaml"));
        let text = std::fs::read_to_string(template).expect("a template");
        assert!(text.lines().count() <= 60, "{cloud}: {} lines", text.lines().count());
        let inside = format!("/opt/{cloud}.yaml");
        std::fs::write(machine.file(&inside), text).expect("a copy on the machine");
        machine.run(&["cloud-init", "schema", "--config-file", &inside]).exits(0).says("Valid");
    }
}

/// The lower the better; docs/security.md has the targets.
fn units_are_confined(machine: &Machine) {
    for (unit, target) in [("dsctl-dsgate.service", 2.5), ("dsctl-dsserve.service", 3.0), ("dsctl-agent.service", 8.5)]
    {
        let report = machine.run(&["systemd-analyze", "security", "--no-pager", unit]).exits(0);
        let line =
            report.stdout.lines().find(|line| line.contains("Overall exposure level")).expect("a level").to_owned();
        let level: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
        eprintln!("{unit}: exposure {level}, target {target}");
        assert!(level <= target, "{line}\n{}", report.stdout);
    }
}
