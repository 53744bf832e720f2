//! What is done with a thing by `POST`: machines are started and stopped, their console is read, policies are locked.

use serde_json::{Value, json};

use super::arm::not_served;
use super::ask::{Answer, Asked, Refusal};
use super::containers;
use super::kinds::{self, Style};
use super::operations::{self, Doing, Where};
use super::world::{Thing, World, written};

pub(super) fn answer(world: &mut World, asked: &Asked, id: &str, action: &str) -> Result<Answer, Refusal> {
    let kind = world.thing(id).map_or("", |thing| thing.kind.name);
    match (kind, action.to_ascii_lowercase().as_str()) {
        (kinds::MACHINE, "start" | "restart" | "redeploy" | "reapply") => Ok(power(world, id, "running")),
        (kinds::MACHINE, "poweroff") => Ok(power(world, id, "stopped")),
        (kinds::MACHINE, "deallocate") => Ok(power(world, id, "deallocated")),
        (kinds::MACHINE, "simulateeviction") => evict(world, id),
        (kinds::MACHINE, "instanceview") => Ok(Answer::json(200, &instance_view(world.thing(id).expect("a machine")))),
        (kinds::MACHINE, "retrievebootdiagnosticsdata") => console(world, id),
        (kinds::IMMUTABILITY, "lock") => containers::lock_immutability(world, id),
        _ => Err(not_served(asked)),
    }
}

fn power(world: &mut World, id: &str, power: &'static str) -> Answer {
    let looks = world.settings.looks.machine;
    let name = world.begin(id, Doing::Power(power), looks, None);
    let location = world.thing(id).map(|thing| thing.location().to_owned()).unwrap_or_default();
    let url = |place| operations::url(world, Style::Machine, &location, &name, place);
    Answer::empty(202)
        .with("azure-asyncoperation", &url(Where::Async))
        .with("location", &url(Where::Location))
        .with("retry-after", "0")
}

/// Azure takes a spot machine back.
fn evict(world: &mut World, id: &str) -> Result<Answer, Refusal> {
    let machine = world.thing_mut(id).expect("a machine");
    if machine.body["properties"]["priority"] != "Spot" {
        let message = "The operation is only supported for a Spot virtual machine.";
        return Err(Refusal::new(409, "OperationNotAllowed", message));
    }
    if machine.body["properties"]["evictionPolicy"] == "Delete" {
        world.forget(id);
    } else {
        machine.note["power"] = "deallocated".into();
    }
    Ok(Answer::empty(204))
}

/// The console's text lies under an address of its own, which nobody has to show a token at.
fn console(world: &World, id: &str) -> Result<Answer, Refusal> {
    let machine = world.thing(id).expect("a machine");
    if machine.body["properties"]["diagnosticsProfile"]["bootDiagnostics"]["enabled"] != true {
        let message = format!("Boot diagnostics is not enabled for VM '{}'.", machine.name());
        return Err(Refusal::new(409, "BootDiagnosticsNotEnabled", message));
    }
    let unique = machine.body["properties"]["vmId"].as_str().unwrap_or_default();
    let url = |what: &str| format!("{}/console/{unique}/{what}", world.origin);
    let shown =
        json!({"consoleScreenshotBlobUri": url("screenshot.bmp"), "serialConsoleLogBlobUri": url("serial.log")});
    Ok(Answer::json(200, &shown))
}

pub(super) fn console_log(world: &World, unique: &str) -> Answer {
    let machine = world.of_kind(kinds::MACHINE).find(|machine| machine.body["properties"]["vmId"] == unique);
    let Some(machine) = machine else { return Answer::empty(404) };
    let text = machine.note["console"].as_str().unwrap_or_default().to_owned();
    Answer { body: text.into(), ..Answer::empty(200) }.with("content-type", "text/plain")
}

/// What a machine says of itself just now.
pub(super) fn instance_view(machine: &Thing) -> Value {
    let time = written(machine.made);
    let status = |code: String, level: &str, text: &str| json!({"code": code, "level": level, "displayStatus": text, "time": time});
    let mut statuses = vec![match machine.note["failure"]["code"].as_str() {
        Some(code) => {
            let mut status = status(format!("ProvisioningState/failed/{code}"), "Error", "Provisioning failed");
            status["message"] = machine.note["failure"]["message"].clone();
            status
        }
        None => status(format!("ProvisioningState/{}", machine.state().to_lowercase()), "Info", "Provisioning"),
    }];
    if let Some(power) = machine.note["power"].as_str() {
        statuses.push(status(format!("PowerState/{power}"), "Info", &format!("VM {power}")));
    }
    json!({ "statuses": statuses })
}
