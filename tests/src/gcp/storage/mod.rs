//! Cloud Storage: buckets, who may do what with them, and objects.
//!
//! ```text
//! bucket   made, changed, removed when empty       policy   IAM of a bucket, compare-and-swap by etag
//! object   content with generations                upload   content that comes with what is told of it
//! xml      the other API, which object_store speaks        checksum  CRC32C
//! ```

pub(super) mod bucket;
mod checksum;
mod object;
mod policy;
pub(super) mod upload;
pub(super) mod xml;

use serde_json::{Value, json};

use super::call::{Call, Media, Refusal, Reply};
use super::world::World;

pub(super) fn answer(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    match call.act() {
        ("buckets", "insert") => bucket::insert(world, call),
        ("buckets", "list") => bucket::list(world, call),
        ("buckets", "get") => bucket::get(world, call),
        ("buckets", "patch") => bucket::patch(world, call),
        ("buckets", "delete") => bucket::delete(world, call),
        ("buckets", "getIamPolicy") => policy::get(world, call),
        ("buckets", "setIamPolicy") => policy::set(world, call),
        ("objects", "insert") => object::insert(world, call),
        ("objects", "list") => object::list(world, call),
        ("objects", "get") => object::get(world, call),
        ("objects", "patch") => object::patch(world, call),
        ("objects", "delete") => object::delete(world, call),
        _ => Err(Refusal::unserved(call.method)),
    }
}

/// Somebody with every right writes text.
#[track_caller]
pub(super) fn write(world: &mut World, bucket: &str, key: &str, text: &str) {
    let media = Media { kind: "application/json".to_owned(), bytes: text.to_owned().into() };
    object::put(world, bucket, json!({"name": key}), media, &Conditions::default())
        .expect("an object that can be written");
}

/// What a patch says takes the place of what is there; null takes it away (RFC 7396).
pub(super) fn merge(body: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *body = patch.clone();
        return;
    };
    if !body.is_object() {
        *body = Value::Object(serde_json::Map::new());
    }
    for (name, value) in fields {
        if value.is_null() {
            body.as_object_mut().map(|body| body.shift_remove(name));
        } else {
            merge(&mut body[name.as_str()], value);
        }
    }
}

/// What a caller says must be so: of the generation there is, of the state of what is told of it.
#[derive(Debug, Default)]
struct Conditions {
    generation: Option<String>,
    not_generation: Option<String>,
    metageneration: Option<String>,
    not_metageneration: Option<String>,
}

impl Conditions {
    fn of(call: &Call) -> Self {
        let said = |name: &str| call.query(name).map(str::to_owned);
        Self {
            generation: said("ifGenerationMatch"),
            not_generation: said("ifGenerationNotMatch"),
            metageneration: said("ifMetagenerationMatch"),
            not_metageneration: said("ifMetagenerationNotMatch"),
        }
    }

    /// Nothing there has the generation 0.
    fn hold(&self, there: Option<&Value>) -> Result<(), Refusal> {
        let actual = |field: &str| there.and_then(|body| body[field].as_str()).unwrap_or("0").to_owned();
        let (generation, metageneration) = (actual("generation"), actual("metageneration"));
        let is = |wanted: &Option<String>, actual: &String| wanted.as_ref().is_none_or(|wanted| wanted == actual);
        let is_not = |unwanted: &Option<String>, actual: &String| unwanted.as_ref().is_none_or(|it| it != actual);
        let all = is(&self.generation, &generation)
            && is(&self.metageneration, &metageneration)
            && is_not(&self.not_generation, &generation)
            && is_not(&self.not_metageneration, &metageneration);
        if all { Ok(()) } else { Err(unmet()) }
    }
}

fn unmet() -> Refusal {
    Refusal::new(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
}

/// One more.
fn next(body: &Value, field: &str) -> Value {
    let now: u64 = body[field].as_str().and_then(|number| number.parse().ok()).unwrap_or_default();
    (now + 1).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_only_what_is_other() {
        let mut body = json!({"a": 1, "labels": {"x": "1", "y": "2"}, "rules": [1, 2]});
        merge(&mut body, &json!({"labels": {"x": null, "z": "3"}, "rules": [3], "new": {"deep": true}, "gone": null}));
        assert_eq!(body, json!({"a": 1, "labels": {"y": "2", "z": "3"}, "rules": [3], "new": {"deep": true}}));
    }
}
