//! Storage's XML API, as far as object_store calls it: `/BUCKET/KEY`. No document describes it.

use std::fmt::Write as _;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::call::{Asked, Media, Refusal, Reply, text};
use super::super::contract::decoded;
use super::super::world::World;
use super::object::{self, Generations, absent, content, listed};
use super::{Conditions, bucket};

pub(in crate::gcp) fn answer(world: &mut World, asked: &Asked) -> Result<Reply, Refusal> {
    let path = asked.path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let (bucket, key) = (decoded(bucket), decoded(key));
    match (asked.verb.as_str(), key.as_str()) {
        ("GET", "") => list(world, asked, &bucket),
        ("PUT", key) if !key.is_empty() => put(world, asked, &bucket, key),
        ("GET" | "HEAD", key) => get(world, asked, &bucket, key),
        ("DELETE", key) if !key.is_empty() => remove(world, &bucket, key),
        _ => Err(Refusal::unserved(format!("{} {}", asked.verb, asked.path))),
    }
}

/// A refusal as this API writes it.
pub(in crate::gcp) fn refused(refusal: &Refusal) -> Response {
    let code = match refusal.status {
        404 if refusal.message.starts_with("No such object") => "NoSuchKey",
        404 => "NoSuchBucket",
        412 => "PreconditionFailed",
        416 => "InvalidRange",
        501 => "NotImplemented",
        _ => "AccessDenied",
    };
    let message = escaped(&refusal.message);
    let body =
        format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [("content-type", "application/xml; charset=UTF-8")], body).into_response()
}

fn put(world: &mut World, asked: &Asked, bucket: &str, key: &str) -> Result<Reply, Refusal> {
    if asked.headers.contains_key("x-goog-copy-source") || asked.parameter("uploadId").is_some() {
        return Err(Refusal::unserved("copies and uploads in parts by XML"));
    }
    let generation = asked.header("x-goog-if-generation-match").map(str::to_owned);
    let conditions = Conditions { generation, ..Conditions::default() };
    let kind = asked.header("content-type").unwrap_or_default().to_owned();
    let told = json!({"name": key, "metadata": metadata(asked)});
    let media = Media { kind, bytes: asked.body.clone() };
    let body = object::put(world, bucket, told, media, &conditions)?;
    Ok(Reply::Content { status: 200, headers: told_in_headers(&body), bytes: Vec::new().into() })
}

fn metadata(asked: &Asked) -> Value {
    let told = asked.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-goog-meta-")?;
        Some((name.to_owned(), Value::from(value.to_str().ok()?)))
    });
    Value::Object(told.collect())
}

fn told_in_headers(body: &Value) -> Vec<(&'static str, String)> {
    let time: Timestamp = text(&body["updated"]).parse().expect("a time that was written here");
    vec![
        ("etag", quoted(body)),
        ("x-goog-generation", text(&body["generation"]).to_owned()),
        ("last-modified", time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()),
    ]
}

fn quoted(body: &Value) -> String {
    format!("\"{}\"", text(&body["etag"]))
}

fn get(world: &mut World, asked: &Asked, bucket: &str, key: &str) -> Result<Reply, Refusal> {
    let there = bucket::named(world, bucket)?;
    let object = there.object(key, asked.parameter("generation")).ok_or_else(|| absent(bucket, key))?;
    let mut reply = content(object, asked.header("range"))?;
    if let Reply::Content { headers, .. } = &mut reply {
        headers.retain(|(name, _)| *name != "x-goog-generation");
        headers.extend(told_in_headers(&object.body));
        headers.push(("x-goog-stored-content-length", object.media.len().to_string()));
    }
    Ok(reply)
}

fn remove(world: &mut World, bucket: &str, key: &str) -> Result<Reply, Refusal> {
    object::remove(world, (bucket, key), None, &Conditions::default())?;
    Ok(Reply::Nothing)
}

fn list(world: &mut World, asked: &Asked, bucket: &str) -> Result<Reply, Refusal> {
    let most = world.settings.page;
    let there = bucket::named(world, bucket)?;
    let (prefix, after) =
        (asked.parameter("prefix").unwrap_or_default(), asked.parameter("start-after").unwrap_or_default());
    let (mut bodies, folders) = listed(there, prefix, asked.parameter("delimiter"), Generations::Live);
    bodies.retain(|body| text(&body["name"]) > after);
    let size = asked.parameter("max-keys").and_then(|size| size.parse().ok()).unwrap_or(usize::MAX).min(most);
    let (page, next) = super::super::compute::list::cut(bodies, asked.parameter("continuation-token"), size.max(1))?;
    let mut xml = format!("<?xml version='1.0' encoding='UTF-8'?><ListBucketResult><Name>{bucket}</Name>");
    let _ = write!(xml, "<KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>", page.len(), next.is_some());
    if let Some(next) = next {
        let _ = write!(xml, "<NextContinuationToken>{next}</NextContinuationToken>");
    }
    page.iter().for_each(|body| entry(&mut xml, body));
    for folder in folders {
        let _ = write!(xml, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escaped(&folder));
    }
    xml.push_str("</ListBucketResult>");
    let headers = vec![("content-type", "application/xml; charset=UTF-8".to_owned())];
    Ok(Reply::Content { status: 200, headers, bytes: xml.into() })
}

fn entry(xml: &mut String, body: &Value) {
    let _ = write!(
        xml,
        "<Contents><Key>{}</Key><Generation>{}</Generation><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
        escaped(text(&body["name"])),
        text(&body["generation"]),
        text(&body["updated"]),
        escaped(&quoted(body)),
        text(&body["size"]),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
