//! Buckets: their names are everybody's, their settings change by patches.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::call::{Call, Refusal, Reply, text};
use super::super::compute::check::labels;
use super::super::compute::list::cut;
use super::super::contract;
use super::super::key;
use super::super::world::World;
use super::object::Object;
use super::{Conditions, merge, next, policy};

const NAME: &str = "[a-z0-9][-_.a-z0-9]{1,61}[a-z0-9]";
/// How long removed objects are kept unless a bucket says otherwise.
const SOFT_DELETE_SECONDS: &str = "604800";

#[derive(Debug)]
pub(in crate::gcp) struct Bucket {
    pub body: Value,
    pub policy: policy::Policy,
    /// Generations by name, the oldest first.
    pub(super) objects: BTreeMap<String, Vec<Object>>,
}

impl Bucket {
    /// Names of what is there, and how many generations there are of everything.
    pub fn contents(&self) -> (Vec<&str>, usize) {
        let live = self.objects.iter().filter(|(_, all)| all.iter().any(Object::is_live));
        (live.map(|(name, _)| name.as_str()).collect(), self.objects.values().map(Vec::len).sum())
    }

    /// What is told of an object that is there.
    pub fn told(&self, name: &str) -> Option<&Value> {
        self.objects.get(name)?.iter().find(|object| object.is_live()).map(|object| &object.body)
    }

    /// Of its settings or of its policy.
    pub(super) fn count_change(&mut self) {
        self.body["metageneration"] = next(&self.body, "metageneration");
        self.body["etag"] = json!(policy::etag(text(&self.body["metageneration"]).parse().unwrap_or_default()));
    }

    /// The version of somebody's own key that new objects are encrypted by.
    pub(super) fn key_version(&self) -> Option<String> {
        self.body["encryption"]["defaultKmsKeyName"].as_str().map(key::version)
    }

    pub(super) fn keeps_generations(&self) -> bool {
        self.body["versioning"]["enabled"] == true
    }

    /// Seconds for which nothing may be removed.
    pub(super) fn retention(&self) -> Option<i64> {
        self.body["retentionPolicy"]["retentionPeriod"].as_str().and_then(|period| period.parse().ok())
    }
}

/// A bucket of ours; somebody else's cannot be looked into.
pub(super) fn named<'a>(world: &'a mut World, name: &str) -> Result<&'a mut Bucket, Refusal> {
    if world.settings.foreign_buckets.contains(name) {
        let message = format!(
            "tests@example.com does not have storage.buckets.get access to the Google Cloud Storage bucket. \
             Permission 'storage.buckets.get' denied on resource '{name}' (or it may not exist)."
        );
        return Err(Refusal::new(403, "forbidden", message));
    }
    world.buckets.get_mut(name).ok_or_else(|| Refusal::new(404, "notFound", "The specified bucket does not exist."))
}

pub(super) fn insert(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (project, name) = (call.query("project").unwrap_or_default(), call.text("name"));
    if !world.has_project(project) {
        return Err(Refusal::new(400, "invalid", format!("Unknown project id: {project}")));
    }
    if !contract::fits(NAME, name).unwrap_or(false) || name.starts_with("goog") || name.contains("google") {
        return Err(Refusal::new(400, "invalid", format!("Invalid bucket name: '{name}'")));
    }
    labels(&call.body["labels"])?;
    if world.settings.foreign_buckets.contains(name) {
        let message = "The requested bucket name is not available. The bucket namespace is shared by all users of the \
                       system. Please select a different name and try again.";
        return Err(Refusal::new(409, "conflict", message));
    }
    if world.buckets.contains_key(name) {
        let message = "Your previous request to create the named bucket succeeded and you already own it.";
        return Err(Refusal::new(409, "conflict", message));
    }
    let body = begun(world, project, &call.body);
    encrypted(world, &call.body, &body)?;
    let policy = policy::Policy::new(world, project, &body);
    let bucket = Bucket { body: body.clone(), policy, objects: BTreeMap::new() };
    world.buckets.insert(name.to_owned(), bucket);
    Ok(Reply::Json(body))
}

/// With all that Google says of a bucket that the caller did not.
fn begun(world: &mut World, project: &str, asked: &Value) -> Value {
    let (time, name) = (world.time(), text(&asked["name"]));
    let location = asked["location"].as_str().unwrap_or("US").to_uppercase();
    let mut body = json!({
        "kind": "storage#bucket", "id": name, "selfLink": format!("https://www.googleapis.com/storage/v1/b/{name}"),
        "projectNumber": world.project_number(project).to_string(), "generation": world.generation(),
        "metageneration": "1", "etag": "CAE=", "timeCreated": time, "updated": time, "storageClass": "STANDARD",
        "softDeletePolicy": {"retentionDurationSeconds": SOFT_DELETE_SECONDS},
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": false}, "publicAccessPrevention": "inherited"},
    });
    merge(&mut body, asked);
    body["locationType"] = json!(if location.len() > 4 { "region" } else { "multi-region" });
    body["location"] = json!(location);
    told_by_google(&mut body, &time);
    body
}

/// Times and twins of what was set.
fn told_by_google(body: &mut Value, time: &str) {
    let access = body["iamConfiguration"]["uniformBucketLevelAccess"].clone();
    body["iamConfiguration"]["bucketPolicyOnly"] = json!({"enabled": access["enabled"] == true});
    for section in ["softDeletePolicy", "retentionPolicy"] {
        if body[section].is_object() && body[section]["effectiveTime"].is_null() {
            body[section]["effectiveTime"] = json!(time);
        }
    }
}

pub(super) fn get(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let body = named(world, call.path("bucket"))?.body.clone();
    Conditions::of(call).hold(Some(&body))?;
    Ok(Reply::Json(body))
}

pub(super) fn list(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let number = world.project_number(call.query("project").unwrap_or_default()).to_string();
    let prefix = call.query("prefix").unwrap_or_default();
    let own = world
        .buckets
        .iter()
        .filter(|(name, it)| name.starts_with(prefix) && it.body["projectNumber"] == number.as_str());
    let size = call.number("maxResults").and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
    let all = own.map(|(_, bucket)| bucket.body.clone()).collect();
    let (page, next) = cut(all, call.query("pageToken"), size.min(world.settings.page).max(1))?;
    let mut body = json!({"kind": "storage#buckets"});
    if !page.is_empty() {
        body["items"] = json!(page);
    }
    if let Some(next) = next {
        body["nextPageToken"] = json!(next);
    }
    Ok(Reply::Json(body))
}

pub(super) fn patch(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let time = world.time();
    let now = named(world, call.path("bucket"))?.body.clone();
    Conditions::of(call).hold(Some(&now))?;
    labels(&call.body["labels"])?;
    encrypted(world, &call.body, &now)?;
    let bucket = named(world, call.path("bucket"))?;
    may_become(&bucket.body, &call.body)?;
    let mut body = bucket.body.clone();
    merge(&mut body, &call.body);
    told_by_google(&mut body, &time);
    body["updated"] = json!(time);
    bucket.body = body;
    bucket.count_change();
    Ok(Reply::Json(bucket.body.clone()))
}

/// That the key of somebody's own that is asked for, if one is, can be the bucket's.
fn encrypted(world: &World, asked: &Value, bucket: &Value) -> Result<(), Refusal> {
    match asked["encryption"]["defaultKmsKeyName"].as_str() {
        Some(written) => key::of_bucket(world, written, text(&bucket["location"])),
        None => Ok(()),
    }
}

/// What a bucket keeps once it has it.
fn may_become(now: &Value, asked: &Value) -> Result<(), Refusal> {
    for field in ["name", "location"] {
        let is_same = text(&asked[field]).eq_ignore_ascii_case(text(&now[field]));
        if asked[field].is_string() && !is_same {
            return Err(Refusal::new(400, "invalid", format!("The {field} of a bucket cannot be changed.")));
        }
    }
    let is_locked = now["retentionPolicy"]["isLocked"] == true;
    if is_locked && asked.get("retentionPolicy").is_some() {
        let message = "Cannot reduce retention duration of a locked Retention Policy for bucket.";
        return Err(Refusal::new(403, "forbidden", message));
    }
    Ok(())
}

/// Only without objects, and without earlier generations of any.
pub(super) fn delete(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let name = call.path("bucket");
    let bucket = named(world, name)?;
    Conditions::of(call).hold(Some(&bucket.body))?;
    if !bucket.objects.is_empty() {
        return Err(Refusal::new(409, "conflict", "The bucket you tried to delete is not empty."));
    }
    world.buckets.remove(name);
    Ok(Reply::Nothing)
}
