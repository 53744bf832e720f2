//! Objects that dsctl itself writes into the bucket: their ids, what their metadata says, how they are written and removed.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engine::graph::Address;
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::emptying::{Doomed, remove_versions};
use crate::gcp::auth::{Gcp, Making, named};
use crate::gcp::error::{Denied, Why, found};
use crate::gcp::kind;
use crate::gcp::labels::{Labels, TOKEN};
use crate::gcp::rest::{Host, Rest};
use crate::http::Answer;

/// On a slow line.
const UPLOAD: Duration = Duration::from_secs(60 * 60);
const CHUNK: usize = 1 << 16;

/// Where an object lies: `gs://BUCKET/KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub bucket: String,
    pub key: String,
}

impl Place {
    pub fn new(bucket: &str, key: impl Into<String>) -> Self {
        Self { bucket: bucket.to_owned(), key: key.into() }
    }

    pub fn parse(id: &RemoteId) -> Result<Self, ProviderError> {
        let parts = id.0.strip_prefix("gs://").and_then(|rest| rest.split_once('/'));
        let parts = parts.filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty());
        let (bucket, key) = parts.ok_or_else(|| ProviderError::permanent(&id.0, "it is no gs://BUCKET/KEY"))?;
        Ok(Self::new(bucket, key))
    }

    /// Of an object of the deployment's bucket, while that is known.
    pub fn known(known: &Known, key: impl Into<String>) -> Option<Self> {
        known.id(&Address::new(kind::BUCKET, "main")).map(|bucket| Self::new(&bucket.0, key))
    }

    pub fn id(&self) -> RemoteId {
        RemoteId(self.to_string())
    }

    /// The address that inputs name its bucket by. One that the state has lost is still the recorded one.
    pub fn bucket_address(&self, resource: &Resource, known: &Known) -> Value {
        match (known.address_of(&self.bucket), resource.inputs.get("bucket")) {
            (None, Some(recorded)) => recorded.clone(),
            _ => Value::from(named(known, &self.bucket)),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "gs://{}/{}", self.bucket, self.key)
    }
}

/// One version of an object, as Cloud Storage shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Found {
    pub name: String,
    pub generation: String,
    pub metageneration: String,
    pub metadata: Labels,
    /// In bytes; a whole number in text.
    pub size: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Page {
    pub items: Vec<Found>,
    pub next_page_token: Option<String>,
}

/// Which versions a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    All,
    Current,
}

/// What is written.
#[derive(Debug)]
pub enum Content {
    Json(Vec<u8>),
    Text(String),
    /// With its size.
    File(PathBuf, u64),
}

/// What a write may stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    Anything,
    /// Only where nothing is.
    Nothing,
    /// Only over this version.
    Generation(String),
}

pub fn path<'a>(bucket: &'a str, key: &'a str) -> [&'a str; 6] {
    ["storage", "v1", "b", bucket, "o", key]
}

/// A page of what lies under a prefix; none if there is no such bucket.
pub async fn page(
    gcp: &Gcp,
    bucket: &str,
    prefix: &str,
    versions: Versions,
    token: &str,
) -> Result<Option<Page>, ProviderError> {
    let what = format!("what is in {bucket}");
    let all = if versions == Versions::All { "true" } else { "false" };
    let query = [("prefix", prefix), ("versions", all), ("pageToken", token)];
    let call = gcp.rest.call(Host::Storage, Method::GET, &path(bucket, "")[..5], &query);
    found(gcp.rest.look(&what, call).await)?.map(|answer| answer.json(&what)).transpose()
}

/// The current version, without its content; none if it is not there.
pub async fn head(gcp: &Gcp, place: &Place) -> Result<Option<Found>, ProviderError> {
    let call = gcp.rest.call(Host::Storage, Method::GET, &path(&place.bucket, &place.key), &[]);
    found(gcp.rest.look(place, call).await)?.map(|answer| answer.json(&place.to_string())).transpose()
}

/// The content, of one version or of the current one; none if it is not there.
pub async fn content(rest: &Rest, place: &Place, generation: Option<&str>) -> Result<Option<Answer>, ProviderError> {
    let query = [("alt", "media"), ("generation", generation.unwrap_or_default())];
    let query = if generation.is_none() { &query[..1] } else { &query[..] };
    found(rest.look(place, rest.call(Host::Storage, Method::GET, &path(&place.bucket, &place.key), query)).await)
}

/// The id of the object there, if this token made it.
pub async fn made_by(gcp: &Gcp, place: &Place, token: &Token) -> Result<Option<RemoteId>, ProviderError> {
    let there = head(gcp, place).await?;
    Ok(there.filter(|there| there.metadata.get(TOKEN) == Some(&token.0)).map(|_| place.id()))
}

/// What labels are to other things.
pub fn metadata(gcp: &Gcp, making: &Making<'_>) -> Labels {
    gcp.mark(making).metadata()
}

/// Writes an object with its metadata in one call: it carries whose it is from its first moment.
pub async fn put(gcp: &Gcp, place: &Place, metadata: &Labels, content: Content, over: &Over) -> Result<(), Denied> {
    let size = content.size();
    let told = json!({ "name": place.key, "contentType": content.kind(), "metadata": metadata });
    let parts = Multipart::new(&told, &content);
    let (boundary, length) = (parts.boundary.clone(), parts.length());
    let stream = parts.stream(content).await.map_err(|error| unread(place, &error))?;
    let over = over.query();
    let mut query = vec![("uploadType", "multipart"), ("name", place.key.as_str())];
    query.extend(over.as_deref().map(|generation| ("ifGenerationMatch", generation)));
    let path = ["upload", "storage", "v1", "b", &place.bucket, "o"];
    let call = gcp.rest.call(Host::Storage, Method::POST, &path, &query).with(|request| {
        let request = request.header(CONTENT_TYPE, format!("multipart/related; boundary={boundary}"));
        request.header(CONTENT_LENGTH, length).timeout(UPLOAD).body(Body::wrap_stream(stream))
    });
    let answer = gcp.rest.act(place, call).await?;
    whole(place, &answer, size)
}

/// What arrived is as long as what was sent.
fn whole(place: &Place, answer: &Answer, size: u64) -> Result<(), Denied> {
    let there: Found = answer.json(&place.to_string()).map_err(|error| Denied { why: Why::Other, error })?;
    if there.size == size.to_string() {
        return Ok(());
    }
    let message = format!("{} bytes arrived of {size}", there.size);
    Err(Denied { why: Why::Other, error: ProviderError::permanent(place, message).with_next("dsctl up") })
}

fn unread(place: &Place, error: &std::io::Error) -> Denied {
    Denied { why: Why::Other, error: ProviderError::permanent(place, error) }
}

/// Makes what an earlier intent left there this one's: only what is told of it changes, never the value.
pub async fn adopt(gcp: &Gcp, place: &Place, there: &Found, metadata: &Labels) -> Result<(), ProviderError> {
    let query = [("ifMetagenerationMatch", there.metageneration.as_str()), ("generation", there.generation.as_str())];
    let call = gcp.rest.call(Host::Storage, Method::PATCH, &path(&place.bucket, &place.key), &query);
    Ok(gcp.rest.act(place, call.json(&json!({ "metadata": metadata }))).await.map(drop)?)
}

/// What a write with a condition came to; `unmet` is the answer where something else is there.
pub fn written(unmet: ProviderError, answer: Result<(), Denied>) -> Result<(), ProviderError> {
    match answer {
        Err(denied) if denied.why == Why::Unmet => Err(unmet),
        answer => Ok(answer?),
    }
}

/// An update of what somebody removed since it was last looked at.
pub fn lost(place: &Place) -> ProviderError {
    ProviderError::permanent(place, "somebody removed it").with_next("dsctl up (it makes a new one)")
}

/// All versions: what was once a secret is not left behind.
pub async fn remove(gcp: &Gcp, resource: &Resource) -> Result<(), ProviderError> {
    let place = Place::parse(&resource.remote_id)?;
    remove_versions(gcp, &place.bucket, Doomed::Object(&place.key)).await
}

impl Over {
    fn query(&self) -> Option<String> {
        match self {
            Self::Anything => None,
            Self::Nothing => Some("0".to_owned()),
            Self::Generation(generation) => Some(generation.clone()),
        }
    }
}

impl Content {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Text(_) => "text/plain",
            Self::File(..) => "application/octet-stream",
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Json(bytes) => bytes.len() as u64,
            Self::Text(text) => text.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

/// What stands around the content in one body (RFC 2387).
struct Multipart {
    boundary: String,
    head: String,
    tail: String,
    size: u64,
}

impl Multipart {
    fn new(told: &Value, content: &Content) -> Self {
        // Random, so that no content holds it.
        let boundary = format!("dsctl-{}", hex::encode(rand::random::<[u8; 16]>()));
        let head = format!(
            "--{boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{told}\r\n\
             --{boundary}\r\ncontent-type: {}\r\n\r\n",
            content.kind()
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Self { boundary, head, tail, size: content.size() }
    }

    fn length(&self) -> u64 {
        self.head.len() as u64 + self.size + self.tail.len() as u64
    }

    async fn stream(self, content: Content) -> std::io::Result<BoxStream<'static, std::io::Result<Bytes>>> {
        let content = match content {
            Content::Json(bytes) => once(Bytes::from(bytes)),
            Content::Text(text) => once(Bytes::from(text)),
            Content::File(path, _) => chunks(tokio::fs::File::open(path).await?).boxed(),
        };
        Ok(once(Bytes::from(self.head)).chain(content).chain(once(Bytes::from(self.tail))).boxed())
    }
}

fn once(bytes: Bytes) -> BoxStream<'static, std::io::Result<Bytes>> {
    futures::stream::once(async move { Ok(bytes) }).boxed()
}

fn chunks(file: tokio::fs::File) -> impl Stream<Item = std::io::Result<Bytes>> {
    futures::stream::try_unfold(file, |mut file| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (chunk.freeze(), file)))
    })
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    #[test]
    fn an_id_leads_to_its_place_and_back() {
        let place = Place::new("b", "secrets/api-key");
        assert_eq!(place.id().0, "gs://b/secrets/api-key");
        assert_eq!(Place::parse(&place.id()).unwrap(), place);
        for id in ["b/k", "gs://b", "gs://b/", "gs:///k", "s3://b/k"] {
            assert!(Place::parse(&RemoteId(id.to_owned())).is_err(), "{id}");
        }
    }

    #[test]
    fn a_write_stands_on_what_it_should() {
        assert_eq!(Over::Nothing.query().as_deref(), Some("0"));
        assert_eq!(Over::Generation("7".to_owned()).query().as_deref(), Some("7"));
        assert_eq!(Over::Anything.query(), None);
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_it_says_and_holds_both_parts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 3 * CHUNK + 1]).unwrap();
        let contents = [
            Content::Text("value\n".to_owned()),
            Content::Json(b"{}".to_vec()),
            Content::File(file.path().to_owned(), 3 * CHUNK as u64 + 1),
        ];
        for content in contents {
            let size = content.size();
            let parts = Multipart::new(&json!({"name": "k"}), &content);
            let (length, boundary) = (parts.length(), parts.boundary.clone());
            let chunks: Vec<Bytes> = parts.stream(content).await.unwrap().try_collect().await.unwrap();
            let sent = chunks.concat();
            assert_eq!(sent.len() as u64, length);
            let text = String::from_utf8_lossy(&sent);
            assert!(text.starts_with(&format!("--{boundary}\r\ncontent-type: application/json")), "{text}");
            assert!(text.contains("\r\n\r\n{\"name\":\"k\"}\r\n") && text.ends_with(&format!("--{boundary}--\r\n")));
            assert!(length > size);
        }
    }
}
