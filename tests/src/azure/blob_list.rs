//! Lists of blobs in XML, and several removals in one request.

use std::collections::BTreeSet;

use axum::http::Method;
use jiff::Timestamp;

use super::ask::{Answer, Asked, Refusal};
use super::blob_access::{self, Verb};
use super::blob_store::Version;
use super::blobs::{self, Where};
use super::world::World;
use super::{containers, storage};

/// The service gives no more at once.
const MOST: usize = 5000;

/// As HTTP writes a moment.
pub(super) fn dated(moment: Timestamp) -> String {
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Texts of the elements of a name.
pub(super) fn elements(text: &str, name: &str) -> Vec<String> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let parts = text.split(begin.as_str()).skip(1);
    parts.filter_map(|part| part.split_once(end.as_str()).map(|(inside, _)| inside.to_owned())).collect()
}

/// What a list is to show.
struct Wish {
    prefix: String,
    delimiter: Option<String>,
    shows_versions: bool,
    shows_metadata: bool,
}

impl Wish {
    fn of(asked: &Asked) -> Self {
        let include = asked.parameter("include").unwrap_or_default();
        let has = |word: &str| include.split(',').any(|part| part == word);
        Self {
            prefix: asked.parameter("prefix").unwrap_or_default(),
            delimiter: asked.parameter("delimiter").filter(|text| !text.is_empty()),
            shows_versions: has("versions"),
            shows_metadata: has("metadata"),
        }
    }

    /// The folder that stands for a key, if one does.
    fn folder(&self, key: &str) -> Option<String> {
        let delimiter = self.delimiter.as_ref()?;
        let (first, _) = key.strip_prefix(self.prefix.as_str())?.split_once(delimiter.as_str())?;
        Some(format!("{}{first}{delimiter}", self.prefix))
    }

    fn entry(&self, key: &str, version: &Version) -> String {
        let mut text = format!("<Blob><Name>{}</Name>", escaped(key));
        if self.shows_versions {
            text.push_str(&format!("<VersionId>{}</VersionId>", version.id));
        }
        if self.shows_versions && version.is_current {
            text.push_str("<IsCurrentVersion>true</IsCurrentVersion>");
        }
        text.push_str(&properties(version));
        if self.shows_metadata {
            let pairs = version.metadata.iter().map(|(name, value)| format!("<{name}>{}</{name}>", escaped(value)));
            text.push_str(&format!("<Metadata>{}</Metadata>", pairs.collect::<String>()));
        }
        text + "<OrMetadata /></Blob>"
    }
}

fn properties(version: &Version) -> String {
    let date = dated(version.modified);
    format!(
        "<Properties><Creation-Time>{date}</Creation-Time><Last-Modified>{date}</Last-Modified><Etag>{}</Etag>\
         <Content-Length>{}</Content-Length><Content-Type>{}</Content-Type><BlobType>BlockBlob</BlobType>\
         <AccessTier>Hot</AccessTier><LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>\
         <ServerEncrypted>true</ServerEncrypted></Properties>",
        version.etag,
        version.body.len(),
        escaped(&version.kind)
    )
}

pub(super) fn answer(world: &World, asked: &Asked, at: &Where) -> Answer {
    let wish = Wish::of(asked);
    let most =
        asked.parameter("maxresults").and_then(|text| text.parse().ok()).unwrap_or(MOST).min(world.settings.page);
    let skipped: usize = asked.parameter("marker").and_then(|text| text.parse().ok()).unwrap_or_default();
    let entries = entries(world, &wish, at, &asked.parameter("startFrom").unwrap_or_default());
    let shown: String = entries.iter().skip(skipped).take(most).map(String::as_str).collect();
    let next = skipped + most;
    let marker =
        if next < entries.len() { format!("<NextMarker>{next}</NextMarker>") } else { "<NextMarker />".to_owned() };
    let delimiter = wish.delimiter.map(|text| format!("<Delimiter>{}</Delimiter>", escaped(&text))).unwrap_or_default();
    let text = format!(
        "<EnumerationResults ServiceEndpoint=\"{}/{}/\" ContainerName=\"{}\"><Prefix>{}</Prefix><MaxResults>{most}</MaxResults>\
         {delimiter}<Blobs>{shown}</Blobs>{marker}</EnumerationResults>",
        world.origin,
        at.account,
        at.container,
        escaped(&wish.prefix)
    );
    Answer::xml(200, &text)
}

/// In the order of their keys; earlier versions before later ones.
fn entries(world: &World, wish: &Wish, at: &Where, start: &str) -> Vec<String> {
    let (mut entries, mut folders) = (Vec::new(), BTreeSet::new());
    let keys = world.blobs.keys(&at.account, &at.container);
    for (key, versions) in keys.filter(|(key, _)| key.starts_with(&wish.prefix) && key.as_str() >= start) {
        let shown: Vec<&Version> =
            versions.iter().filter(|version| version.is_current || wish.shows_versions).collect();
        match wish.folder(key) {
            Some(folder) if !shown.is_empty() => {
                if folders.insert(folder.clone()) {
                    entries.push(format!("<BlobPrefix><Name>{}</Name></BlobPrefix>", escaped(&folder)));
                }
            }
            _ => entries.extend(shown.into_iter().map(|version| wish.entry(key, version))),
        }
    }
    entries
}

/// Removals, each a request of its own between the boundaries of `multipart/mixed`.
pub(super) fn batch(world: &mut World, asked: &Asked) -> Result<Answer, Refusal> {
    let kind = asked.header("content-type").unwrap_or_default();
    let invalid = || Refusal::new(400, "InvalidInput", "The batch is no multipart/mixed.");
    let boundary = kind.strip_prefix("multipart/mixed; boundary=").ok_or_else(invalid)?.to_owned();
    let text = String::from_utf8_lossy(&asked.body).into_owned();
    let marker = format!("--{boundary}");
    let parts = text.split(&marker).skip(1).filter(|part| !part.starts_with("--"));
    let mut answers = String::new();
    for part in parts {
        let (id, answer) = removal(world, asked, part).ok_or_else(invalid)?;
        answers.push_str(&format!(
            "--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {id}\r\n\r\n{}",
            written(&answer)
        ));
    }
    let body = format!("{answers}--{boundary}--\r\n");
    Ok(Answer { body: body.into(), ..Answer::empty(202) }.with("content-type", kind))
}

fn removal(world: &mut World, asked: &Asked, part: &str) -> Option<(String, Answer)> {
    let id = part.lines().find_map(|line| line.strip_prefix("Content-ID: "))?.trim().to_owned();
    let line = part.lines().find(|line| line.trim_end().ends_with("HTTP/1.1"))?;
    let target = line.strip_prefix("DELETE ")?.split(' ').next()?.to_owned();
    let inner =
        Asked { method: Method::DELETE, target, headers: axum::http::HeaderMap::new(), body: axum::body::Bytes::new() };
    let headers = asked.headers.get("authorization").cloned();
    let mut inner = inner;
    headers.into_iter().for_each(|token| drop(inner.headers.insert("authorization", token)));
    Some((id, removed(world, &inner).unwrap_or_else(|refusal| refusal.blob())))
}

fn removed(world: &mut World, asked: &Asked) -> Result<Answer, Refusal> {
    let at = Where::of(&asked.segments());
    let absent = || Refusal::new(404, "ContainerNotFound", "The specified container does not exist.");
    let account = storage::account(world, &at.account).cloned().ok_or_else(absent)?;
    blob_access::check(world, asked, &account, (&at.container, &at.key), Verb::of_removal(asked))?;
    let container = containers::container(world, &account, &at.container).cloned().ok_or_else(absent)?;
    blobs::delete(world, asked, (&account, &container), &at)
}

fn written(answer: &Answer) -> String {
    let reason = if answer.is_success() { "Accepted" } else { "Refused" };
    let code = answer.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok());
    let code = code.map(|code| format!("x-ms-error-code: {code}\r\n")).unwrap_or_default();
    format!("HTTP/1.1 {} {reason}\r\n{code}x-ms-version: 2023-11-03\r\n\r\n", answer.status)
}
