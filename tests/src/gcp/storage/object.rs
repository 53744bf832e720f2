//! Objects: content with a number for each generation of it, and what is told of it.

use axum::body::Bytes;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::call::{Call, Media, Refusal, Reply, text};
use super::super::compute::list::cut;
use super::super::world::{World, written};
use super::bucket::{self, Bucket};
use super::checksum::crc32c;
use super::{Conditions, merge, next};

const LONGEST_NAME: usize = 1024;

/// Which generations a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generations {
    Live,
    All,
}

#[derive(Debug)]
pub(in crate::gcp) struct Object {
    pub body: Value,
    pub media: Bytes,
}

impl Object {
    pub fn is_live(&self) -> bool {
        self.body.get("timeDeleted").is_none()
    }

    pub fn is_generation(&self, generation: &str) -> bool {
        self.body["generation"] == generation
    }
}

impl Bucket {
    /// A generation of an object; without a number the one that is there.
    pub(super) fn object(&self, name: &str, generation: Option<&str>) -> Option<&Object> {
        self.objects.get(name)?.iter().find(|object| match generation {
            Some(generation) => object.is_generation(generation),
            None => object.is_live(),
        })
    }

    /// Text of an object that is there.
    pub(in crate::gcp) fn text(&self, name: &str) -> Option<String> {
        self.object(name, None).map(|object| String::from_utf8_lossy(&object.media).into_owned())
    }

    fn object_mut(&mut self, name: &str, generation: Option<&str>) -> Option<&mut Object> {
        self.objects.get_mut(name)?.iter_mut().find(|object| match generation {
            Some(generation) => object.is_generation(generation),
            None => object.is_live(),
        })
    }
}

pub(super) fn absent(bucket: &str, name: &str) -> Refusal {
    Refusal::new(404, "notFound", format!("No such object: {bucket}/{name}"))
}

pub(super) fn insert(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let mut told = call.body.clone();
    if let Some(name) = call.query("name") {
        told["name"] = json!(name);
    }
    let media = call.media.clone().unwrap_or_else(|| Media { kind: String::new(), bytes: Bytes::new() });
    put(world, call.path("bucket"), told, media, &Conditions::of(call)).map(Reply::Json)
}

/// Puts content; what was there becomes an earlier generation where a bucket keeps them.
pub(super) fn put(
    world: &mut World,
    bucket: &str,
    told: Value,
    media: Media,
    conditions: &Conditions,
) -> Result<Value, Refusal> {
    let name = text(&told["name"]).to_owned();
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains(['\r', '\n']) {
        return Err(Refusal::new(
            400,
            if name.is_empty() { "required" } else { "invalid" },
            "The object's name is not valid.",
        ));
    }
    let sum = crc32c(&media.bytes);
    if told["crc32c"].as_str().is_some_and(|said| said != sum) {
        let said = text(&told["crc32c"]);
        let message = format!("Provided CRC32C \"{said}\" doesn't match calculated CRC32C \"{sum}\".");
        return Err(Refusal::new(400, "invalid", message));
    }
    let (time, generation) = (world.time(), world.generation());
    let now = bucket::named(world, bucket)?.object(&name, None).map(|object| object.body.clone());
    conditions.hold(now.as_ref())?;
    is_free(world, bucket, &name, None)?;
    let body = begun(world, bucket, &told, &media, &generation);
    let bucket = bucket::named(world, bucket)?;
    withdraw(bucket, &name, &time);
    bucket.objects.entry(name).or_default().push(Object { body: body.clone(), media: media.bytes });
    Ok(body)
}

/// What Google says of new content.
fn begun(world: &World, bucket: &str, told: &Value, media: &Media, generation: &str) -> Value {
    let (name, time) = (text(&told["name"]), world.time());
    let kind = if media.kind.is_empty() { "application/octet-stream" } else { &media.kind };
    let link = format!("https://www.googleapis.com/storage/v1/b/{bucket}/o/{}", name.replace('/', "%2F"));
    let mut body = json!({
        "kind": "storage#object", "id": format!("{bucket}/{name}/{generation}"), "selfLink": link, "bucket": bucket,
        "mediaLink": format!("{link}?generation={generation}&alt=media"), "generation": generation,
        "metageneration": "1", "contentType": kind, "storageClass": "STANDARD", "size": media.bytes.len().to_string(),
        "crc32c": crc32c(&media.bytes), "etag": super::policy::etag(generation.parse().unwrap_or_default()),
        "timeCreated": time, "updated": time, "timeStorageClassUpdated": time, "timeFinalized": time,
    });
    merge(&mut body, told);
    if let Some(version) = world.buckets.get(bucket).and_then(Bucket::key_version) {
        body["kmsKeyName"] = json!(version);
    }
    if let Some(seconds) = world.buckets.get(bucket).and_then(Bucket::retention) {
        body["retentionExpirationTime"] = json!(written(world.now() + SignedDuration::from_secs(seconds)));
    }
    body
}

/// That nothing keeps a generation from being removed for good: without a number the one that is there, where a bucket
/// keeps no earlier ones.
fn is_free(world: &mut World, bucket: &str, name: &str, generation: Option<&str>) -> Result<(), Refusal> {
    let now = written(world.now());
    let there = bucket::named(world, bucket)?;
    if generation.is_none() && there.keeps_generations() {
        return Ok(());
    }
    let until = there.object(name, generation).and_then(|object| object.body["retentionExpirationTime"].as_str());
    // Both are of one length and one zone: the later one is the greater text.
    let Some(until) = until.filter(|until| *until > now.as_str()) else { return Ok(()) };
    let message = format!(
        "Object '{bucket}/{name}' is subject to bucket's retention policy or object retention and cannot be deleted or \
         overwritten until {until}"
    );
    Err(Refusal::new(403, "retentionPolicyNotMet", message))
}

/// What is there is no more, or an earlier generation.
fn withdraw(bucket: &mut Bucket, name: &str, time: &str) {
    let keeps = bucket.keeps_generations();
    let Some(all) = bucket.objects.get_mut(name) else { return };
    if keeps {
        for object in all.iter_mut().filter(|object| object.is_live()) {
            object.body["timeDeleted"] = json!(time);
        }
    } else {
        all.retain(|object| !object.is_live());
    }
    if all.is_empty() {
        bucket.objects.remove(name);
    }
}

pub(super) fn get(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (bucket, name) = (call.path("bucket"), call.path("object"));
    let there = bucket::named(world, bucket)?;
    let object = there.object(name, call.query("generation")).ok_or_else(|| absent(bucket, name))?;
    Conditions::of(call).hold(Some(&object.body))?;
    if call.query("alt") != Some("media") {
        return Ok(Reply::Json(object.body.clone()));
    }
    content(object, call.range())
}

/// The content, or the part of it that a range names: `bytes=0-99`.
pub(super) fn content(object: &Object, range: Option<&str>) -> Result<Reply, Refusal> {
    let size = object.media.len();
    let mut headers = vec![
        ("content-type", text(&object.body["contentType"]).to_owned()),
        ("x-goog-generation", text(&object.body["generation"]).to_owned()),
        ("x-goog-metageneration", text(&object.body["metageneration"]).to_owned()),
        ("x-goog-hash", format!("crc32c={}", text(&object.body["crc32c"]))),
    ];
    let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return Ok(Reply::Content { status: 200, headers, bytes: object.media.clone() });
    };
    let (begin, end) = match range {
        ("", last) => (size.saturating_sub(last.parse().unwrap_or_default()), size),
        (begin, "") => (begin.parse().unwrap_or(size), size),
        (begin, last) => (begin.parse().unwrap_or(size), size.min(last.parse::<usize>().map_or(size, |last| last + 1))),
    };
    if begin >= end {
        return Err(Refusal::new(416, "requestedRangeNotSatisfiable", "Request range not satisfiable"));
    }
    headers.push(("content-range", format!("bytes {begin}-{}/{size}", end - 1)));
    Ok(Reply::Content { status: 206, headers, bytes: object.media.slice(begin..end) })
}

/// What is told of an object changes; its content does not.
pub(super) fn patch(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (bucket, name, time) = (call.path("bucket"), call.path("object"), world.time());
    let there = bucket::named(world, bucket)?;
    let object = there.object_mut(name, call.query("generation")).ok_or_else(|| absent(bucket, name))?;
    Conditions::of(call).hold(Some(&object.body))?;
    merge(&mut object.body, &call.body);
    object.body["metageneration"] = next(&object.body, "metageneration");
    object.body["updated"] = json!(time);
    Ok(Reply::Json(object.body.clone()))
}

pub(super) fn delete(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (bucket, name) = (call.path("bucket"), call.path("object"));
    remove(world, (bucket, name), call.query("generation"), &Conditions::of(call))?;
    Ok(Reply::Nothing)
}

/// A generation goes for good; without a number, what is there becomes an earlier one where a bucket keeps them.
pub(super) fn remove(
    world: &mut World,
    (bucket, name): (&str, &str),
    generation: Option<&str>,
    conditions: &Conditions,
) -> Result<(), Refusal> {
    let time = world.time();
    let object = bucket::named(world, bucket)?.object(name, generation).map(|object| object.body.clone());
    let object = object.ok_or_else(|| absent(bucket, name))?;
    conditions.hold(Some(&object))?;
    is_free(world, bucket, name, generation)?;
    let there = bucket::named(world, bucket)?;
    let Some(generation) = generation else {
        withdraw(there, name, &time);
        return Ok(());
    };
    let Some(all) = there.objects.get_mut(name) else { return Ok(()) };
    all.retain(|object| !object.is_generation(generation));
    if all.is_empty() {
        there.objects.remove(name);
    }
    Ok(())
}

pub(super) fn list(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let most = world.settings.page;
    let wanted = if call.query("versions") == Some("true") { Generations::All } else { Generations::Live };
    let there = bucket::named(world, call.path("bucket"))?;
    let prefix = call.query("prefix").unwrap_or_default();
    let (bodies, prefixes) = listed(there, prefix, call.query("delimiter"), wanted);
    let size = call.number("maxResults").and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
    let (page, next) = cut(bodies, call.query("pageToken"), size.min(most).max(1))?;
    let mut body = json!({"kind": "storage#objects"});
    if !page.is_empty() {
        body["items"] = json!(page);
    }
    if !prefixes.is_empty() {
        body["prefixes"] = json!(prefixes);
    }
    if let Some(next) = next {
        body["nextPageToken"] = json!(next);
    }
    Ok(Reply::Json(body))
}

/// Objects whose names begin so, and the folders below, if a delimiter makes folders.
pub(super) fn listed(
    there: &Bucket,
    prefix: &str,
    delimiter: Option<&str>,
    wanted: Generations,
) -> (Vec<Value>, Vec<String>) {
    let (mut bodies, mut folders) = (Vec::new(), Vec::new());
    for (name, generations) in there.objects.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix))
    {
        let fitting = generations.iter().filter(|object| wanted == Generations::All || object.is_live());
        let fitting: Vec<&Object> = fitting.collect();
        let folder = delimiter.and_then(|delimiter| {
            let place = name[prefix.len()..].find(delimiter)?;
            Some(name[..prefix.len() + place + delimiter.len()].to_owned())
        });
        match folder {
            Some(folder) if !fitting.is_empty() => folders.push(folder),
            Some(_) => {}
            None => bodies.extend(fitting.into_iter().map(|object| object.body.clone())),
        }
    }
    folders.dedup();
    (bodies, folders)
}
