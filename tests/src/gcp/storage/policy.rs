//! The IAM policy of a bucket: read, changed and written back against its etag.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::call::{Call, Refusal, Reply, items, text};
use super::super::iam;
use super::super::world::World;
use super::{bucket, unmet};

/// The version that has conditions.
const CONDITIONAL: i64 = 3;
const EVERYBODY: [&str; 2] = ["allUsers", "allAuthenticatedUsers"];
const MEMBERS: [&str; 9] = [
    "serviceAccount",
    "user",
    "group",
    "domain",
    "projectOwner",
    "projectEditor",
    "projectViewer",
    "principal",
    "deleted",
];

#[derive(Debug)]
pub(in crate::gcp) struct Policy {
    pub bindings: Vec<Value>,
    written: u64,
}

impl Policy {
    /// What every bucket begins with: the old roles of the project's people.
    pub fn new(world: &mut World, project: &str, bucket: &Value) -> Self {
        let people = |kinds: &[&str]| kinds.iter().map(|kind| format!("{kind}:{project}")).collect::<Vec<_>>();
        let (owners, viewers) = (people(&["projectEditor", "projectOwner"]), people(&["projectViewer"]));
        let mut bindings = vec![
            json!({"role": "roles/storage.legacyBucketOwner", "members": owners}),
            json!({"role": "roles/storage.legacyBucketReader", "members": viewers}),
        ];
        if bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] == true {
            bindings.push(json!({"role": "roles/storage.legacyObjectOwner", "members": owners}));
            bindings.push(json!({"role": "roles/storage.legacyObjectReader", "members": viewers}));
        }
        Self { bindings, written: world.count() }
    }

    /// A member has another name now.
    pub fn rename(&mut self, before: &str, after: &str) {
        let lists = self.bindings.iter_mut().filter_map(|binding| binding.get_mut("members")?.as_array_mut());
        lists.flatten().filter(|member| *member == before).for_each(|member| *member = json!(after));
    }

    fn has_conditions(&self) -> bool {
        self.bindings.iter().any(|binding| binding["condition"].is_object())
    }

    /// As a caller sees it who knows this version.
    fn shown(&self, bucket: &str, version: i64) -> Value {
        let is_whole = version >= CONDITIONAL;
        let shown =
            self.bindings.iter().map(|binding| if is_whole { binding.clone() } else { without_condition(binding) });
        let version = if is_whole && self.has_conditions() { CONDITIONAL } else { 1 };
        json!({
            "kind": "storage#policy", "resourceId": format!("projects/_/buckets/{bucket}"), "version": version,
            "etag": etag(self.written), "bindings": shown.collect::<Vec<_>>(),
        })
    }
}

pub(super) fn etag(number: u64) -> String {
    BASE64_STANDARD.encode(number.to_be_bytes())
}

/// Who knows nothing of conditions must not take a role for one without.
fn without_condition(binding: &Value) -> Value {
    if !binding["condition"].is_object() {
        return binding.clone();
    }
    let digest = hex::encode(Sha256::digest(binding["condition"].to_string()));
    json!({"role": format!("{}_withcond_{}", text(&binding["role"]), &digest[..20]), "members": binding["members"]})
}

pub(super) fn get(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let name = call.path("bucket");
    let version = call.number("optionsRequestedPolicyVersion").unwrap_or(1);
    if !(1..=CONDITIONAL).contains(&version) {
        return Err(Refusal::new(400, "invalid", format!("Requested policy version ({version}) is not supported.")));
    }
    Ok(Reply::Json(bucket::named(world, name)?.policy.shown(name, version)))
}

pub(super) fn set(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let name = call.path("bucket");
    let bindings: Vec<Value> = items(&call.body["bindings"]).cloned().collect();
    let version = call.body["version"].as_i64().unwrap_or(1);
    let bucket = bucket::named(world, name)?;
    if call.body["etag"].as_str().is_some_and(|seen| seen != etag(bucket.policy.written)) {
        return Err(unmet());
    }
    is_of_version(&bindings, version, bucket.policy.has_conditions())?;
    let settings = bucket.body["iamConfiguration"].clone();
    for binding in &bindings {
        may_stand(binding, &settings)?;
        members_exist(world, binding)?;
    }
    let written = world.count();
    let bucket = bucket::named(world, name)?;
    bucket.count_change();
    let policy = &mut bucket.policy;
    // An empty binding is none.
    policy.bindings = bindings.into_iter().filter(|it| items(&it["members"]).next().is_some()).collect();
    policy.written = written;
    Ok(Reply::Json(policy.shown(name, CONDITIONAL)))
}

fn is_of_version(bindings: &[Value], version: i64, had_conditions: bool) -> Result<(), Refusal> {
    let has_conditions = bindings.iter().any(|binding| binding["condition"].is_object());
    if had_conditions && version < CONDITIONAL {
        let message = format!(
            "Specified policy version ({version}) cannot be less than the existing policy version ({CONDITIONAL}). For \
             more information, please refer to https://cloud.google.com/iam/docs/policies#versions."
        );
        return Err(Refusal::new(400, "invalid", message));
    }
    if has_conditions && version != CONDITIONAL {
        let message = format!("Conditions can only be set in policies of version {CONDITIONAL}.");
        return Err(Refusal::new(400, "invalid", message));
    }
    Ok(())
}

fn may_stand(binding: &Value, settings: &Value) -> Result<(), Refusal> {
    let role = text(&binding["role"]);
    let is_known = role.starts_with("roles/storage.") || role.contains("/roles/");
    if !is_known {
        let message = format!("Role {role} is not supported for this resource.");
        return Err(Refusal::new(400, "invalid", message));
    }
    if binding["condition"].is_object() {
        if settings["uniformBucketLevelAccess"]["enabled"] != true {
            let message = "To add IAM conditions, please enable uniform bucket-level access.";
            return Err(Refusal::new(412, "conditionNotMet", message));
        }
        if role.starts_with("roles/storage.legacy") || text(&binding["condition"]["title"]).is_empty() {
            return Err(Refusal::new(400, "invalid", format!("The condition of {role} is not valid.")));
        }
    }
    let is_open = items(&binding["members"]).any(|member| EVERYBODY.contains(&text(member)));
    if is_open && settings["publicAccessPrevention"] == "enforced" {
        let message = "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access \
                       prevention is enforced.";
        return Err(Refusal::new(412, "conditionNotMet", message));
    }
    Ok(())
}

fn members_exist(world: &mut World, binding: &Value) -> Result<(), Refusal> {
    for member in items(&binding["members"]).map(text) {
        let kind = member.split(':').next().unwrap_or_default();
        if !MEMBERS.contains(&kind) && !EVERYBODY.contains(&member) {
            let message =
                format!("The member {member} is of an unknown type. Please set a valid type prefix for the member.");
            return Err(Refusal::new(400, "invalid", message));
        }
    }
    for email in iam::named(&binding["members"]) {
        if !iam::is_known(world, &email) {
            return Err(Refusal::new(400, "invalid", format!("Service account {email} does not exist.")));
        }
    }
    Ok(())
}
