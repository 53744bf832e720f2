//! What goes wrong on a machine, and how it comes back.

use serde_json::json;
use tests::booted::machine::Machine;

use crate::scene::{Scene, becomes};

/// The console's words of each phase, after which the power goes.
const MOMENTS: [&str; 4] = ["dsctl-boot: fetching dsctl", "the agent was started", "weights: ", "daemon: dsserve"];

#[test]
fn after_a_power_cut_in_any_phase_the_machine_comes_up_by_itself() {
    let mut scene = Scene::start();
    let mut moments = MOMENTS.iter().peekable();
    let up = scene.up_while(&[], |machine| {
        let Some(moment) = moments.next_if(|moment| machine.console().contains(**moment)) else { return };
        eprintln!("power cut at {moment:?}");
        machine.power_off();
        machine.power_on();
    });
    up.exits(0).says("is ready");
    assert_eq!(moments.len(), 0, "it was not cut at {:?}", moments.collect::<Vec<_>>());
    let machine = scene.machine();
    machine.power_off();
    machine.power_on();
    let boots = |text: &str| text.matches("ready, host spec 1").count();
    let before = boots(&scene.machine().console());
    let machine = scene.machine();
    becomes(machine, "it serves after a reboot", || boots(&machine.console()) > before);
    scene.down();
}

#[test]
fn a_program_of_another_digest_is_never_run_and_the_next_up_puts_it_right() {
    let mut scene = Scene::start();
    // Nobody has looked at the cloud yet: the machine has not booted.
    scene.up_unseen().exits(0);
    let key = the_artifact(&scene, "dsserve");
    scene.hypervisor.cloud.put_object(&scene.home, &key, "not a program");
    scene.hypervisor.look();
    let machine = scene.machine();
    becomes(machine, "it says so", || machine.console().contains("programs: FAILED"));
    assert!(machine.console().contains(&format!("{key} has digest ")), "{}", machine.console());
    let says = || scene.home.dsctl(&["status"]).transcript().contains("has digest");
    becomes(&scene.hypervisor.machines[0].1, "dsctl status says so", says);
    scene.up(&[]).exits(0).says("is ready");
    scene.down();
}

#[test]
fn a_dead_unit_comes_back_and_a_dead_agent_takes_nothing_with_it() {
    let mut scene = Scene::start();
    let up = scene.up(&["--json"]).exits(0).json();
    let machine = scene.machine();
    let pid_of = |unit: &str| {
        let asked = ["systemctl", "show", "--property=MainPID", "--value", unit];
        machine.run(&asked).exits(0).stdout.trim().to_owned()
    };
    let (daemon, gateway) = (pid_of("dsctl-dsserve.service"), pid_of("dsctl-dsgate.service"));
    machine.run(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", "dsctl-agent.service"]).exits(0);
    becomes(machine, "a new agent", || machine.console().matches("ready, host spec 1").count() > 1);
    assert_eq!((pid_of("dsctl-dsserve.service"), pid_of("dsctl-dsgate.service")), (daemon.clone(), gateway.clone()));

    machine.run(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", "dsctl-dsserve.service"]).exits(0);
    becomes(machine, "a new daemon", || !["0", &daemon].contains(&pid_of("dsctl-dsserve.service").as_str()));
    scene.serves_again("with a new daemon");
    let answer = scene.complete(&up);
    assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");

    // One that lives and does nothing is as good as dead.
    let machine = scene.machine();
    machine.run(&["systemctl", "kill", "--kill-who=main", "--signal=STOP", "dsctl-dsgate.service"]).exits(0);
    becomes(machine, "a new gateway", || !["0", &gateway].contains(&gateway_process(machine).as_str()));
    scene.serves_again("with a new gateway");
    scene.down();
}

/// What is on the disk is enough, and the bucket hears of it once it is there again.
#[test]
fn a_machine_that_reboots_without_its_bucket_serves() {
    let mut scene = Scene::start();
    scene.up(&[]).exits(0);
    let machine = scene.machine();
    machine.network.close(true);
    machine.power_off();
    machine.power_on();
    becomes(machine, "it serves without its bucket", || machine.console().matches("ready, host spec 1").count() > 1);
    machine.network.close(false);
    scene.serves_again("with its bucket again");
    scene.down();
}

#[test]
fn a_full_disk_is_named_with_the_next_step() {
    let mut scene = Scene::start();
    scene.hypervisor.disk_mib = Some(100);
    let failed = scene.up(&[]).exits(4);
    failed.says("weights: ").says("space");
    scene.down();
}

/// Without a gap in the service, and for good: also after a reboot.
#[test]
fn another_dsctl_takes_the_agents_place_and_one_that_does_not_run_there_does_not() {
    let mut scene = Scene::start();
    let up = scene.up(&["--json"]).exits(0).json();
    let gateway = gateway_process(scene.machine());

    scene.home.add_to_program("dsctl", b"\n");
    scene.up(&[]).exits(0).says("is ready");
    let wanted = scene.hypervisor.cloud.desired(&scene.home)["agent"]["sha256"].as_str().expect("a digest").to_owned();
    let machine = scene.machine();
    let runs = || {
        let of = "sha256sum /proc/$(systemctl show --property=MainPID --value dsctl-agent.service)/exe";
        machine.run(&["sh", "-c", of]).stdout.starts_with(&wanted)
    };
    assert!(runs(), "the agent that is ready is the new one");
    assert_eq!(gateway_process(machine), gateway);

    scene.home.replace_program("dsctl", b"not a program");
    scene.up(&[]).exits(4).says("can't be the agent here");
    let machine = scene.machine();
    assert_eq!(gateway_process(machine), gateway);
    scene.complete(&up);
    let machine = scene.machine();
    machine.power_off();
    machine.power_on();
    becomes(machine, "it serves after a reboot", || machine.console().matches("ready, host spec 2").count() > 1);
    scene.down();
}

/// The new one starts and ends; whoever asks for it learns why, and clients are served by the one before.
#[test]
fn an_upgrade_that_does_not_come_to_serve_goes_back_by_itself() {
    let mut scene = Scene::start();
    let up = scene.up(&["--json"]).exits(0).json();
    scene.home.replace_program("dsserve", b"#!/bin/sh\necho the new one is broken\nexit 3\n");
    let failed = scene.up(&[]).exits(4);
    failed.says("did not come to serve").says("the new one is broken");
    let machine = scene.machine();
    becomes(machine, "the one before serves", || machine.console().matches("first token: done").count() > 1);
    let answer = scene.complete(&up);
    assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");

    scene.home.with_program_again("dsserve");
    scene.up(&[]).exits(0).says("is ready");
    scene.down();
}

fn gateway_process(machine: &Machine) -> String {
    let asked = ["systemctl", "show", "--property=MainPID", "--value", "dsctl-dsgate.service"];
    machine.run(&asked).exits(0).stdout.trim().to_owned()
}

/// Its key in the bucket.
fn the_artifact(scene: &Scene, name: &str) -> String {
    let desired = scene.hypervisor.cloud.desired(&scene.home);
    let units = desired["units"].as_array().expect("units");
    let artifact = units.iter().map(|unit| &unit["program"]["artifact"]).find(|artifact| artifact["name"] == name);
    let sha256 = artifact.map_or(json!(null), |artifact| artifact["sha256"].clone());
    format!("artifacts/{}/{name}", sha256.as_str().expect("a digest"))
}
