//! The blob service: `/ACCOUNT/CONTAINER/KEY`.

use serde_json::Value;

use super::ask::{Answer, Asked, Refusal};
use super::blob_access::{self, Verb};
use super::blob_list::{self, dated};
use super::blob_store::Version;
use super::world::{Thing, World};
use super::{arm, containers, storage};

/// The blob, or container, of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Where {
    pub account: String,
    pub container: String,
    pub key: String,
}

impl Where {
    pub fn of(segments: &[String]) -> Self {
        let part = |index: usize| segments.get(index).cloned().unwrap_or_default();
        Self { account: part(0), container: part(1), key: segments.get(2..).unwrap_or_default().join("/") }
    }
}

/// `operation` as Microsoft's contract names it.
pub(super) fn answer(world: &mut World, asked: &Asked, operation: &str) -> Answer {
    let answer = routed(world, asked, operation).unwrap_or_else(|refusal| refusal.answer(true, &asked.method));
    let version = asked.header("x-ms-version").unwrap_or("2024-11-04").to_owned();
    answer
        .with("x-ms-version", &version)
        .with("x-ms-request-id", &world.uuid())
        .with("date", &dated(jiff::Timestamp::now()))
}

fn routed(world: &mut World, asked: &Asked, operation: &str) -> Result<Answer, Refusal> {
    let at = Where::of(&asked.segments());
    let account = storage::account(world, &at.account)
        .cloned()
        .ok_or_else(|| Refusal::new(404, "ResourceNotFound", "The specified resource does not exist."))?;
    let verb = match operation {
        "Service_GetProperties" | "Service_SetProperties" => Verb::Manage,
        "Blob_Delete" | "Container_SubmitBatch" => Verb::of_removal(asked),
        "Blob_Download" | "Blob_GetProperties" => Verb::Read,
        _ if operation.starts_with("Container_") => Verb::Read,
        _ => Verb::Write,
    };
    // Each part of a batch is let in by itself.
    if operation != "Container_SubmitBatch" {
        blob_access::check(world, asked, &account, (&at.container, &at.key), verb)?;
    }
    if operation.starts_with("Service_") {
        return service(world, asked, &at, operation);
    }
    let container = containers::container(world, &account, &at.container)
        .cloned()
        .ok_or_else(|| Refusal::new(404, "ContainerNotFound", "The specified container does not exist."))?;
    of_container(world, asked, (&account, &container), &at, operation)
}

fn of_container(
    world: &mut World,
    asked: &Asked,
    of: (&Thing, &Thing),
    at: &Where,
    operation: &str,
) -> Result<Answer, Refusal> {
    match operation {
        "BlockBlob_Upload" => upload(world, asked, of, at, asked.body.clone()),
        "BlockBlob_StageBlock" => {
            let block = asked.parameter("blockid").unwrap_or_default();
            world.blobs.stage(&at.account, &at.container, &at.key, &block, asked.body.clone());
            Ok(Answer::empty(201))
        }
        "BlockBlob_CommitBlockList" => commit(world, asked, of, at),
        "Blob_StartCopyFromUrl" | "Blob_CopyFromUrl" | "BlockBlob_PutBlobFromUrl" => {
            copy(world, asked, of, at, operation)
        }
        "Blob_Download" | "Blob_GetProperties" => download(world, asked, at),
        "Blob_SetMetadata" => set_metadata(world, asked, of, at),
        "Blob_Delete" => delete(world, asked, of, at),
        "Container_GetProperties" => Ok(properties(of.1)),
        "Container_ListBlobFlatSegment" | "Container_ListBlobHierarchySegment" => {
            Ok(blob_list::answer(world, asked, at))
        }
        "Container_SubmitBatch" => blob_list::batch(world, asked),
        _ => Err(arm::not_served(asked)),
    }
}

fn service(world: &mut World, asked: &Asked, at: &Where, operation: &str) -> Result<Answer, Refusal> {
    match operation {
        "Service_SetProperties" => {
            let text = String::from_utf8_lossy(&asked.body).into_owned();
            world.blobs.services.insert(at.account.clone(), text);
            Ok(Answer::empty(202))
        }
        "Service_GetProperties" => {
            let usual = "<StorageServiceProperties><Logging><Version>1.0</Version><Delete>false</Delete><Read>false</Read>\
                         <Write>false</Write><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging>\
                         </StorageServiceProperties>";
            let text = world.blobs.services.get(&at.account).map_or(usual, String::as_str);
            let start = text.find("<StorageServiceProperties").unwrap_or_default();
            Ok(Answer::xml(200, &text[start..]))
        }
        _ => Err(arm::not_served(asked)),
    }
}

/// How a container looks from here.
fn properties(container: &Thing) -> Answer {
    let mut answer = Answer::empty(200);
    for (name, value) in container.body["properties"]["metadata"].as_object().into_iter().flatten() {
        answer = answer.with(&format!("x-ms-meta-{name}"), value.as_str().unwrap_or_default());
    }
    answer
        .with("etag", container.body["etag"].as_str().unwrap_or_default())
        .with("last-modified", &dated(container.made))
}

/// `If-Match` and `If-None-Match`; a look that would show nothing new is told so.
fn conditions(asked: &Asked, current: Option<&Version>, is_look: bool) -> Result<(), Refusal> {
    let is_it = |tag: &str| current.is_some_and(|version| tag.trim_matches('"') == version.etag || tag == "*");
    let not_met = |status| {
        Refusal::new(status, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
    };
    if asked.header("if-match").is_some_and(|tag| !is_it(tag)) {
        return Err(not_met(412));
    }
    match asked.header("if-none-match").filter(|tag| is_it(tag)) {
        None => Ok(()),
        Some(_) if is_look => Err(not_met(304)),
        Some("*") => Err(Refusal::new(409, "BlobAlreadyExists", "The specified blob already exists.")),
        Some(_) => Err(not_met(412)),
    }
}

/// What a policy keeps is neither changed nor removed.
fn is_free(world: &World, container: &Thing, current: Option<&Version>) -> Result<(), Refusal> {
    if current.is_none() || containers::policy(world, &container.id).is_none() {
        return Ok(());
    }
    let message = "This operation is not permitted as the blob is immutable due to a policy.";
    Err(Refusal::new(409, "BlobImmutableDueToPolicy", message))
}

fn absent() -> Refusal {
    Refusal::new(404, "BlobNotFound", "The specified blob does not exist.")
}

fn upload(
    world: &mut World,
    asked: &Asked,
    (account, container): (&Thing, &Thing),
    at: &Where,
    body: axum::body::Bytes,
) -> Result<Answer, Refusal> {
    let metadata = asked.metadata();
    if let Some((name, _)) = metadata.iter().find(|(name, _)| !containers::is_identifier(name)) {
        return Err(Refusal::new(400, "InvalidMetadata", format!("The metadata name {name} is no C# identifier.")));
    }
    let current = world.blobs.current(&at.account, &at.container, &at.key).cloned();
    conditions(asked, current.as_ref(), false)?;
    is_free(world, container, current.as_ref())?;
    let kind = asked
        .header("x-ms-blob-content-type")
        .or_else(|| asked.header("content-type"))
        .unwrap_or("application/octet-stream");
    let keeps = storage::is_versioned(world, account);
    let (id, etag, modified) = world.blobs.tick();
    let version = Version { id, body, metadata, kind: kind.to_owned(), etag, modified, is_current: true };
    let answer = stamped(Answer::empty(201), &version, keeps).with("x-ms-request-server-encrypted", "true");
    world.blobs.put(&at.account, &at.container, &at.key, version, keeps);
    Ok(answer)
}

fn stamped(answer: Answer, version: &Version, is_versioned: bool) -> Answer {
    let answer = answer.with("etag", &format!("\"{}\"", version.etag)).with("last-modified", &dated(version.modified));
    if is_versioned { answer.with("x-ms-version-id", &version.id) } else { answer }
}

fn commit(world: &mut World, asked: &Asked, of: (&Thing, &Thing), at: &Where) -> Result<Answer, Refusal> {
    let text = String::from_utf8_lossy(&asked.body).into_owned();
    let ids =
        ["Latest", "Uncommitted"].iter().flat_map(|element| blob_list::elements(&text, element)).collect::<Vec<_>>();
    let invalid = || Refusal::new(400, "InvalidBlockList", "The specified block list is invalid.");
    let body = world.blobs.commit(&at.account, &at.container, &at.key, &ids).ok_or_else(invalid)?;
    upload(world, asked, of, at, body)
}

fn copy(
    world: &mut World,
    asked: &Asked,
    of: (&Thing, &Thing),
    at: &Where,
    operation: &str,
) -> Result<Answer, Refusal> {
    let source = asked.header("x-ms-copy-source").unwrap_or_default();
    let path = source.strip_prefix(world.origin.as_str()).unwrap_or_default().split('?').next().unwrap_or_default();
    let segments: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(super::ask::decoded).collect();
    let from = Where::of(&segments);
    blob_access::check(world, asked, of.0, (&from.container, &from.key), Verb::Read)?;
    let found = world.blobs.current(&from.account, &from.container, &from.key).cloned().ok_or_else(absent)?;
    let answer = upload(world, asked, of, at, found.body)?;
    let status = if operation == "BlockBlob_PutBlobFromUrl" { 201 } else { 202 };
    Ok(Answer { status, ..answer }.with("x-ms-copy-status", "success").with("x-ms-copy-id", &world.uuid()))
}

fn download(world: &World, asked: &Asked, at: &Where) -> Result<Answer, Refusal> {
    let found = match asked.parameter("versionid") {
        Some(id) => world.blobs.versions(&at.account, &at.container, &at.key).iter().find(|version| version.id == id),
        None => world.blobs.current(&at.account, &at.container, &at.key),
    };
    let version = found.ok_or_else(absent)?;
    conditions(asked, Some(version), true)?;
    let mut answer = stamped(Answer::empty(200), version, true)
        .with("content-type", &version.kind)
        .with("x-ms-blob-type", "BlockBlob")
        .with("x-ms-server-encrypted", "true")
        .with("accept-ranges", "bytes");
    for (name, value) in &version.metadata {
        answer = answer.with(&format!("x-ms-meta-{name}"), value);
    }
    if asked.method == axum::http::Method::HEAD {
        return Ok(answer.with("content-length", &version.body.len().to_string()));
    }
    ranged(asked, answer, version)
}

fn ranged(asked: &Asked, answer: Answer, version: &Version) -> Result<Answer, Refusal> {
    let Some(range) = asked.header("x-ms-range").or_else(|| asked.header("range")) else {
        return Ok(Answer { body: version.body.clone(), ..answer });
    };
    let size = version.body.len();
    let invalid =
        || Refusal::new(416, "InvalidRange", "The range specified is invalid for the current size of the resource.");
    let (first, last) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(invalid)?;
    let (first, last): (Option<usize>, Option<usize>) = (first.parse().ok(), last.parse().ok());
    let (start, end) = match (first, last) {
        (Some(first), last) => (first, last.map_or(size, |last| size.min(last + 1))),
        (None, last) => (size.saturating_sub(last.unwrap_or_default()), size),
    };
    if start >= size || start >= end {
        return Err(invalid());
    }
    let answer = answer.with("content-range", &format!("bytes {start}-{}/{size}", end - 1));
    Ok(Answer { status: 206, body: version.body.slice(start..end), ..answer })
}

fn set_metadata(
    world: &mut World,
    asked: &Asked,
    (account, container): (&Thing, &Thing),
    at: &Where,
) -> Result<Answer, Refusal> {
    let current = world.blobs.current(&at.account, &at.container, &at.key).cloned().ok_or_else(absent)?;
    conditions(asked, Some(&current), false)?;
    is_free(world, container, Some(&current))?;
    let keeps = storage::is_versioned(world, account);
    let (id, etag, modified) = world.blobs.tick();
    let version = Version { id, etag, modified, metadata: asked.metadata(), ..current };
    let answer = stamped(Answer::empty(200), &version, keeps).with("x-ms-request-server-encrypted", "true");
    world.blobs.put(&at.account, &at.container, &at.key, version, keeps);
    Ok(answer)
}

pub(super) fn delete(
    world: &mut World,
    asked: &Asked,
    (account, container): (&Thing, &Thing),
    at: &Where,
) -> Result<Answer, Refusal> {
    let versions = world.blobs.versions(&at.account, &at.container, &at.key);
    let gone = Answer::empty(202).with("x-ms-delete-type-permanent", "false");
    if let Some(id) = asked.parameter("versionid") {
        let version = versions.iter().find(|version| version.id == id).cloned().ok_or_else(absent)?;
        if version.is_current {
            let message = "The operation is not allowed on the current version of the blob.";
            return Err(Refusal::new(403, "OperationNotAllowedOnRootBlob", message));
        }
        is_free(world, container, Some(&version))?;
        world.blobs.remove_version(&at.account, &at.container, &at.key, &id);
        return Ok(gone);
    }
    let current = world.blobs.current(&at.account, &at.container, &at.key).cloned().ok_or_else(absent)?;
    conditions(asked, Some(&current), false)?;
    let keeps = storage::is_versioned(world, account);
    if !keeps {
        is_free(world, container, Some(&current))?;
    }
    world.blobs.remove_current(&at.account, &at.container, &at.key, keeps);
    Ok(gone)
}

/// Text of a blob, for tests that look past the service.
pub(super) fn text(world: &World, account: &str, container: &str, key: &str) -> Option<Value> {
    let version = world.blobs.current(account, container, key)?;
    Some(String::from_utf8_lossy(&version.body).into_owned().into())
}
