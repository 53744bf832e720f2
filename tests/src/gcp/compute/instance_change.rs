//! What can be changed of a machine that is there.

use serde_json::{Value, json};

use super::super::call::{Call, Refusal, Reply, items, text};
use super::super::storage::merge;
use super::super::world::World;
use super::instance::access_config;
use super::kind::Kind;
use super::{check, operation, target};

/// A change by its verb: what is checked, and what is different afterwards.
type Change = Box<dyn FnOnce(&mut Value) + Send>;

pub(super) fn answer(world: &mut World, call: &Call, kind: &Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    let before = world.usable(&path)?.body.clone();
    let verb = call.act().1;
    let change: Change = match verb {
        "setLabels" => labels(world, call, &before)?,
        "setMetadata" => within(world, call, &before, "metadata")?,
        "setTags" => within(world, call, &before, "tags")?,
        "setDeletionProtection" => {
            // Google's default for a parameter that is left out.
            let is_on = call.query("deletionProtection") != Some("false");
            Box::new(move |body| body["deletionProtection"] = json!(is_on))
        }
        "setScheduling" => {
            let asked = call.body.clone();
            Box::new(move |body| merge(&mut body["scheduling"], &asked))
        }
        "setServiceAccount" => stopped(&before).map(|()| service_account(&call.body))?,
        "updateShieldedInstanceConfig" => {
            let asked = call.body.clone();
            Box::new(move |body| merge(&mut body["shieldedInstanceConfig"], &asked))
        }
        "start" | "stop" | "suspend" | "resume" => power(world, verb, &before)?,
        "addAccessConfig" => add_access(world, call, &before)?,
        "deleteAccessConfig" => delete_access(call, &before)?,
        _ => return Err(Refusal::unserved(call.method)),
    };
    Ok(operation::change(world, call, (&path, verb), change))
}

fn labels(world: &mut World, call: &Call, before: &Value) -> Result<Change, Refusal> {
    check::labels(&call.body["labels"])?;
    check::fingerprint(&call.body["labelFingerprint"], &before["labelFingerprint"], "labels")?;
    let (labels, print) = (call.body["labels"].clone(), world.fingerprint());
    Ok(Box::new(move |body| {
        body["labels"] = if labels.is_null() { json!({}) } else { labels };
        body["labelFingerprint"] = json!(print);
    }))
}

/// Metadata and tags: replaced as a whole by who saw what is there.
fn within(world: &mut World, call: &Call, before: &Value, field: &'static str) -> Result<Change, Refusal> {
    if field == "metadata" {
        check::metadata(&call.body)?;
    }
    check::fingerprint(&call.body["fingerprint"], &before[field]["fingerprint"], field)?;
    let mut after = call.body.clone();
    after["fingerprint"] = json!(world.fingerprint());
    if field == "metadata" {
        after["kind"] = json!("compute#metadata");
    }
    Ok(Box::new(move |body| body[field] = after))
}

/// Only of one that is off.
fn stopped(before: &Value) -> Result<(), Refusal> {
    if before["status"] == "TERMINATED" {
        return Ok(());
    }
    let message = "The instance must be stopped before the service account can be changed.";
    Err(Refusal::new(400, "invalid", message))
}

fn service_account(asked: &Value) -> Change {
    let accounts = match asked["email"].as_str() {
        Some(_) => json!([asked]),
        None => json!([]),
    };
    Box::new(move |body| body["serviceAccounts"] = accounts)
}

/// On and off, and to sleep: only from where that leads.
fn power(world: &World, verb: &str, before: &Value) -> Result<Change, Refusal> {
    let (from, after, field) = match verb {
        "start" => (["TERMINATED", "RUNNING"], "RUNNING", "lastStartTimestamp"),
        "resume" => (["SUSPENDED", "SUSPENDED"], "RUNNING", "lastStartTimestamp"),
        "suspend" => (["RUNNING", "RUNNING"], "SUSPENDED", "lastSuspendedTimestamp"),
        _ => (["RUNNING", "TERMINATED"], "TERMINATED", "lastStopTimestamp"),
    };
    let status = text(&before["status"]).to_owned();
    if !from.contains(&status.as_str()) {
        let message = format!("Invalid resource state: an instance that is {status} cannot {verb}.");
        return Err(Refusal::new(400, "resourceNotReady", message));
    }
    let time = world.local_time();
    Ok(Box::new(move |body| {
        body["status"] = json!(after);
        body[field] = json!(time);
    }))
}

/// The number of the interface that a call names.
fn interface(call: &Call, before: &Value) -> Result<usize, Refusal> {
    let name = call.query("networkInterface").unwrap_or_default();
    let at = items(&before["networkInterfaces"]).position(|interface| interface["name"] == name);
    at.ok_or_else(|| Refusal::invalid("networkInterface", &json!(name), "There is no such network interface."))
}

fn add_access(world: &mut World, call: &Call, before: &Value) -> Result<Change, Refusal> {
    let at = interface(call, before)?;
    if items(&before["networkInterfaces"][at]["accessConfigs"]).next().is_some() {
        let message = "At most one access config currently supported.";
        return Err(Refusal::new(400, "invalid", message));
    }
    let mut config = call.body.clone();
    access_config(world, &mut config);
    Ok(Box::new(move |body| body["networkInterfaces"][at]["accessConfigs"] = json!([config])))
}

fn delete_access(call: &Call, before: &Value) -> Result<Change, Refusal> {
    let at = interface(call, before)?;
    let name = call.query("accessConfig").unwrap_or_default();
    let has = items(&before["networkInterfaces"][at]["accessConfigs"]).any(|config| config["name"] == name);
    if !has {
        return Err(Refusal::invalid("accessConfig", &json!(name), "There is no such access config."));
    }
    Ok(Box::new(move |body| {
        body["networkInterfaces"][at].as_object_mut().map(|interface| interface.remove("accessConfigs"));
    }))
}
