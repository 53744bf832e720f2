//! IAM v1: service accounts and their keys.

use serde_json::{Value, json};

use super::call::{Call, Refusal, Reply, items, text};
use super::compute::list::cut;
use super::contract;
use super::world::World;

/// Bytes that Google takes: <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts>.
const LONGEST_DESCRIPTION: usize = 256;
const LONGEST_NAME: usize = 100;
const ACCOUNT_ID: &str = "[a-z]([-a-z0-9]{4,28}[a-z0-9])";
const PAGE: usize = 100;

#[derive(Debug)]
pub(super) struct Account {
    pub body: Value,
    pub keys: Vec<Value>,
    /// Policies that do not know it yet.
    pub unseen: u32,
}

pub(super) fn answer(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    match call.act() {
        ("serviceAccounts", "create") => create(world, call),
        ("serviceAccounts", "list") => list(world, call),
        ("serviceAccounts", "get") => Ok(Reply::Json(account(world, call)?.body.clone())),
        ("serviceAccounts", "patch") => patch(world, call),
        ("serviceAccounts", "delete") => delete(world, call),
        ("serviceAccounts", "enable") => enable(world, call),
        ("serviceAccounts", "disable") => disable(world, call),
        ("keys", "list") => keys(world, call),
        ("keys", "create") => create_key(world, call),
        ("keys", "delete") => delete_key(world, call),
        _ => Err(Refusal::unserved(call.method)),
    }
}

/// `projects/P/serviceAccounts/E/keys/K` in its parts; what is not there is empty.
fn parts(name: &str) -> [&str; 3] {
    let mut parts = name.split('/').skip(1).step_by(2);
    [(); 3].map(|()| parts.next().unwrap_or_default())
}

/// Of a project, whose own domain may come before its name.
pub(super) fn email(id: &str, project: &str) -> String {
    match project.split_once(':') {
        Some((domain, project)) => format!("{id}@{project}.{domain}.iam.gserviceaccount.com"),
        None => format!("{id}@{project}.iam.gserviceaccount.com"),
    }
}

fn project_of(world: &World, call: &Call) -> Result<String, Refusal> {
    let [project, ..] = parts(call.path("name"));
    if world.has_project(project) {
        return Ok(project.to_owned());
    }
    let message = format!("Permission denied on project {project} (or it may not exist).");
    Err(Refusal::new(403, "forbidden", message))
}

/// By its e-mail or its number.
fn account<'a>(world: &'a mut World, call: &Call) -> Result<&'a mut Account, Refusal> {
    let [project, wanted, _] = parts(call.path("name"));
    let known = |account: &Account| {
        let is_meant = [&account.body["email"], &account.body["uniqueId"]].iter().any(|name| *name == wanted);
        is_meant && (project == "-" || account.body["projectId"] == project)
    };
    let found = world.accounts.values_mut().find(|account| known(account));
    found.ok_or_else(|| Refusal::new(404, "notFound", format!("Unknown service account: {wanted}")))
}

fn create(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let project = project_of(world, call)?;
    let id = call.text("accountId");
    if !contract::fits(ACCOUNT_ID, id).unwrap_or(false) {
        let message = format!("The account ID \"{id}\" does not have a length between 6 and 30.");
        return Err(Refusal::new(400, "badRequest", message));
    }
    let told = &call.body["serviceAccount"];
    is_short(told)?;
    let email = email(id, &project);
    let name = format!("projects/{project}/serviceAccounts/{email}");
    if world.accounts.contains_key(&email) {
        let message = format!("Service account {id} already exists within project projects/{project}.");
        let detail = json!({"@type": "type.googleapis.com/google.rpc.ResourceInfo", "resourceName": name});
        return Err(Refusal::new(409, "alreadyExists", message).with_detail(detail));
    }
    let number = world.id();
    let mut body = json!({
        "name": name, "projectId": project, "uniqueId": number, "email": email, "oauth2ClientId": number,
        "etag": world.fingerprint(),
    });
    for field in ["displayName", "description"] {
        if told[field].is_string() {
            body[field] = told[field].clone();
        }
    }
    let unseen = world.settings.looks.account;
    world.accounts.insert(email, Account { body: body.clone(), keys: Vec::new(), unseen });
    Ok(Reply::Json(body))
}

fn is_short(told: &Value) -> Result<(), Refusal> {
    for (field, most) in [("description", LONGEST_DESCRIPTION), ("displayName", LONGEST_NAME)] {
        if text(&told[field]).len() > most {
            let message = format!("service_account.{field} must be at most {most} UTF-8 bytes.");
            return Err(Refusal::new(400, "badRequest", message));
        }
    }
    Ok(())
}

fn list(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let project = project_of(world, call)?;
    let own = world.accounts.values().filter(|account| account.body["projectId"] == project.as_str());
    let asked = call.number("pageSize").and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
    let size = asked.unwrap_or(20).min(PAGE).min(world.settings.page);
    let (page, next) = cut(own.map(|account| account.body.clone()).collect(), call.query("pageToken"), size)?;
    let mut body = json!({});
    if !page.is_empty() {
        body["accounts"] = json!(page);
    }
    if let Some(next) = next {
        body["nextPageToken"] = json!(next);
    }
    Ok(Reply::Json(body))
}

fn patch(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let told = call.body["serviceAccount"].clone();
    is_short(&told)?;
    let etag = world.fingerprint();
    let account = account(world, call)?;
    let named: Vec<String> = call.text("updateMask").split(',').map(str::to_owned).collect();
    for field in named {
        let field = if field == "display_name" { "displayName" } else { field.as_str() };
        if !["displayName", "description"].contains(&field) {
            let message = format!("update_mask contains an unsupported path: {field}");
            return Err(Refusal::new(400, "badRequest", message));
        }
        account.body[field] = json!(text(&told[field]));
    }
    account.body["etag"] = json!(etag);
    Ok(Reply::Json(account.body.clone()))
}

/// Policies name it as a deleted one from then on, by its number: another of the same name gets nothing of it.
fn delete(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let body = account(world, call)?.body.clone();
    let (email, number) = (text(&body["email"]), text(&body["uniqueId"]));
    world.accounts.remove(email);
    let (named, deleted) = (format!("serviceAccount:{email}"), format!("deleted:serviceAccount:{email}?uid={number}"));
    world.buckets.values_mut().for_each(|bucket| bucket.policy.rename(&named, &deleted));
    Ok(Reply::Json(json!({})))
}

/// Google says nothing of one that is as it should be.
fn enable(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let account = account(world, call)?;
    account.body.as_object_mut().map(|body| body.remove("disabled"));
    Ok(Reply::Json(json!({})))
}

fn disable(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    account(world, call)?.body["disabled"] = json!(true);
    Ok(Reply::Json(json!({})))
}

fn keys(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let wanted: Vec<&str> = call.all("keyTypes").collect();
    let account = account(world, call)?;
    let fits = |key: &&Value| wanted.is_empty() || wanted.contains(&text(&key["keyType"]));
    let fitting: Vec<&Value> = account.keys.iter().filter(fits).collect();
    Ok(Reply::Json(if fitting.is_empty() { json!({}) } else { json!({"keys": fitting}) }))
}

fn create_key(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (number, time) = (world.count(), world.time());
    let account = account(world, call)?;
    let key = json!({
        "name": format!("{}/keys/{number:040x}", text(&account.body["name"])), "keyType": "USER_MANAGED",
        "keyAlgorithm": "KEY_ALG_RSA_2048", "keyOrigin": "GOOGLE_PROVIDED", "validAfterTime": time,
        "validBeforeTime": "9999-12-31T23:59:59Z",
    });
    account.keys.push(key.clone());
    Ok(Reply::Json(key))
}

fn delete_key(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let [.., key] = parts(call.path("name"));
    let account = account(world, call)?;
    let before = account.keys.len();
    account.keys.retain(|it| !text(&it["name"]).ends_with(&format!("/{key}")));
    if account.keys.len() == before {
        return Err(Refusal::new(404, "notFound", format!("Service account key {key} does not exist.")));
    }
    Ok(Reply::Json(json!({})))
}

/// Whether a policy may name an account; naming it is a look at it.
pub(super) fn is_known(world: &mut World, email: &str) -> bool {
    match world.accounts.get_mut(email) {
        None => false,
        Some(account) if account.unseen > 0 => {
            account.unseen -= 1;
            false
        }
        Some(_) => true,
    }
}

/// E-mails of the accounts that members of a policy name.
pub(super) fn named(members: &Value) -> Vec<String> {
    let accounts = items(members).filter_map(|member| text(member).strip_prefix("serviceAccount:"));
    accounts.map(str::to_owned).collect()
}
