//! Calls of Blob storage: one object each, the list of a container, the log of accesses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::provider::{ErrorKind, ProviderError};
use reqwest::{Body, Method, RequestBuilder};
use serde::Deserialize;

use super::arm::encoded;
use super::credential::{Audience, Tokens};
use super::error::failed;
use crate::http::{Answer, Http, Silence};

const VERSION: &str = "2024-11-04";
const DOMAIN: &str = "blob.core.windows.net";
const METADATA: &str = "x-ms-meta-";
/// Of a large body on a slow line.
const UPLOAD: Duration = Duration::from_secs(60 * 60);

/// Names are small identifiers, values visible ASCII.
pub type Metadata = BTreeMap<String, String>;

#[derive(Debug, Clone)]
pub struct Blobs {
    http: Http,
    /// Where they are, if not at Microsoft: each account is a folder there.
    endpoint: Option<String>,
    tokens: Arc<Tokens>,
}

/// Where an object lies: `az://ACCOUNT/CONTAINER/KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub account: String,
    pub container: String,
    pub key: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "az://{}/{}/{}", self.account, self.container, self.key)
    }
}

/// What is told of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    pub e_tag: String,
    pub metadata: Metadata,
}

/// What must be so for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over<'a> {
    Anything,
    Nothing,
    /// What was read, by its entity tag.
    Read(&'a str),
}

/// A write of an object, whole.
#[derive(Debug)]
pub struct Write<'a> {
    pub metadata: &'a Metadata,
    pub over: Over<'a>,
    pub content_type: &'static str,
    pub length: u64,
    pub body: Body,
}

/// One object of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    pub name: String,
    pub version_id: Option<String>,
    pub is_current_version: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    blobs: ListedAll,
    next_marker: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ListedAll {
    #[serde(rename = "Blob", default)]
    all: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceProperties {
    logging: Option<Logging>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Logging {
    delete: bool,
    read: bool,
    write: bool,
}

/// Which objects of a container are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    Current,
    All,
}

impl Blobs {
    pub const fn new(http: Http, endpoint: Option<String>, tokens: Arc<Tokens>) -> Self {
        Self { http, endpoint, tokens }
    }

    /// Base URL of an account's blobs, without a slash at its end.
    pub fn base(&self, account: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{endpoint}/{account}"),
            None => format!("https://{account}.{DOMAIN}"),
        }
    }

    /// None if it is not there.
    pub async fn head(&self, place: &Place) -> Result<Option<Head>, ProviderError> {
        Ok(self.found(place, Method::HEAD).await?.map(|answer| head_of(&answer)))
    }

    pub async fn get(&self, place: &Place) -> Result<Option<(Head, Bytes)>, ProviderError> {
        Ok(self.found(place, Method::GET).await?.map(|answer| (head_of(&answer), answer.body)))
    }

    async fn found(&self, place: &Place, method: Method) -> Result<Option<Answer>, ProviderError> {
        let answer = self.look(place, method, &self.url(place, "")).await?;
        match answer.status.as_u16() {
            404 => Ok(None),
            200..300 => Ok(Some(answer)),
            _ => Err(refused(place, &place.account, &answer)),
        }
    }

    pub async fn put(&self, place: &Place, write: Write<'_>) -> Result<(), ProviderError> {
        let request = self.request(Method::PUT, &self.url(place, "")).await?.timeout(UPLOAD);
        let request = request
            .header("x-ms-blob-type", "BlockBlob")
            .header("content-type", write.content_type)
            .header("content-length", write.length)
            .body(write.body);
        let request = conditioned(with_metadata(request, write.metadata), write.over);
        self.act(place, request).await
    }

    /// Changes what is told of an object, never its value.
    pub async fn set_metadata(&self, place: &Place, metadata: &Metadata, over: Over<'_>) -> Result<(), ProviderError> {
        let request =
            self.request(Method::PUT, &self.url(place, "?comp=metadata")).await?.header("content-length", "0");
        self.act(place, conditioned(with_metadata(request, metadata), over)).await
    }

    /// Removes an object, or one version of it; what is absent is Ok.
    pub async fn delete(&self, place: &Place, version: Option<&str>) -> Result<(), ProviderError> {
        let query = version.map(|version| format!("?versionid={}", encoded(version))).unwrap_or_default();
        let request = self.request(Method::DELETE, &self.url(place, &query)).await?;
        let answer = self.send(place, request).await?;
        match answer.status.as_u16() {
            404 | 200..300 => Ok(()),
            _ => Err(refused(format!("removing {place}"), &place.account, &answer)),
        }
    }

    /// Names that begin so; nothing where there is no such container.
    pub async fn list(&self, place: &Place, versions: Versions) -> Result<Vec<Listed>, ProviderError> {
        let include = if versions == Versions::All { "&include=versions" } else { "" };
        let (mut all, mut marker) = (Vec::new(), String::new());
        loop {
            let query = format!("restype=container&comp=list{include}&prefix={}{marker}", encoded(&place.key));
            let url = format!("{}/{}?{query}", self.base(&place.account), place.container);
            let answer = self.look(place, Method::GET, &url).await?;
            if answer.status == 404 {
                return Ok(all);
            }
            if !answer.is_success() {
                return Err(refused(place, &place.account, &answer));
            }
            let page: Page = parsed(place, &answer)?;
            all.extend(page.blobs.all);
            match page.next_marker.filter(|marker| !marker.is_empty()) {
                Some(next) => marker = format!("&marker={}", encoded(&next)),
                None => return Ok(all),
            }
        }
    }

    /// Whether every access is logged, in the account's own container `$logs`.
    pub async fn is_logged(&self, account: &str) -> Result<bool, ProviderError> {
        let what = format!("the access log of {account}");
        let answer = self.look(&what, Method::GET, &self.service(account)).await?;
        match answer.status.as_u16() {
            404 => Ok(false),
            200..300 => {
                let seen: ServiceProperties = parsed(&what, &answer)?;
                Ok(seen.logging.is_some_and(|logging| logging.delete && logging.read && logging.write))
            }
            _ => Err(refused(what, account, &answer)),
        }
    }

    pub async fn set_logged(&self, account: &str, logged: bool) -> Result<(), ProviderError> {
        let what = format!("the access log of {account}");
        let request = self.request(Method::PUT, &self.service(account)).await?;
        let body = logging(logged);
        let request = request.header("content-type", "application/xml").header("content-length", body.len()).body(body);
        let answer = self.send(&what, request).await?;
        if answer.is_success() { Ok(()) } else { Err(refused(what, account, &answer)) }
    }

    fn service(&self, account: &str) -> String {
        format!("{}/?restype=service&comp=properties", self.base(account))
    }

    fn url(&self, place: &Place, query: &str) -> String {
        format!("{}/{}/{}{query}", self.base(&place.account), place.container, place.key)
    }

    async fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, ProviderError> {
        let token = self.tokens.token(Audience::Storage).await?;
        Ok(self.http.request(method, url).bearer_auth(token).header("x-ms-version", VERSION))
    }

    async fn look(&self, what: impl ToString, method: Method, url: &str) -> Result<Answer, ProviderError> {
        let request = self.request(method, url).await?.build();
        let request = request.map_err(|error| ProviderError::permanent(what.to_string(), error.without_url()))?;
        self.http.look(&request).await.map_err(|silence| unreached(what, &silence))
    }

    async fn act(&self, place: &Place, request: RequestBuilder) -> Result<(), ProviderError> {
        let answer = self.send(place, request).await?;
        if answer.is_success() { Ok(()) } else { Err(refused(place, &place.account, &answer)) }
    }

    async fn send(&self, what: impl ToString, request: RequestBuilder) -> Result<Answer, ProviderError> {
        let request = request.build();
        let request = request.map_err(|error| ProviderError::permanent(what.to_string(), error.without_url()))?;
        self.http.act(request).await.map_err(|silence| unreached(what, &silence))
    }
}

/// An account's name is a host's: one that was made a moment ago, or is gone, is not found.
fn unreached(what: impl ToString, silence: &Silence) -> ProviderError {
    match silence {
        Silence::NotSent(_) => ProviderError::new(ErrorKind::NotYet, what, silence),
        Silence::Lost(_) => silence.about(what),
    }
}

fn refused(what: impl ToString, account: &str, answer: &Answer) -> ProviderError {
    let code = answer.header("x-ms-error-code").unwrap_or_default();
    let error = failed(what, answer);
    match code {
        // By another command, or by an earlier call of this one that came through late: only a look will tell.
        "BlobAlreadyExists" => ProviderError { kind: ErrorKind::Ambiguous, ..error },
        "AuthorizationPermissionMismatch" => error.with_next(access_command(account)),
        _ => error,
    }
}

/// For somebody who did not make the deployment. Versions of blobs are removed by no smaller role.
fn access_command(account: &str) -> String {
    let caller = "\"$(az ad signed-in-user show --query id -o tsv)\"";
    let scope = format!("\"$(az storage account show --name {account} --query id -o tsv)\"");
    format!("az role assignment create --role \"Storage Blob Data Owner\" --assignee {caller} --scope {scope}")
}

fn conditioned(request: RequestBuilder, over: Over<'_>) -> RequestBuilder {
    match over {
        Over::Anything => request,
        Over::Nothing => request.header("if-none-match", "*"),
        Over::Read(e_tag) => request.header("if-match", e_tag),
    }
}

fn with_metadata(request: RequestBuilder, metadata: &Metadata) -> RequestBuilder {
    metadata.iter().fold(request, |request, (name, value)| request.header(format!("{METADATA}{name}"), value))
}

fn head_of(answer: &Answer) -> Head {
    let told = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        Some((name.as_str().strip_prefix(METADATA)?.to_owned(), value.to_str().ok()?.to_owned()))
    };
    let e_tag = answer.header("etag").unwrap_or_default().to_owned();
    Head { e_tag, metadata: answer.headers.iter().filter_map(told).collect() }
}

fn parsed<T: serde::de::DeserializeOwned>(what: impl ToString, answer: &Answer) -> Result<T, ProviderError> {
    let text = answer.text();
    // It may begin with a byte order mark.
    quick_xml::de::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| ProviderError::new(ErrorKind::NotYet, what, format!("an answer can't be read: {error}")))
}

/// Kept until the account goes: the log's own retention ends at a year.
fn logging(logged: bool) -> String {
    let kept = "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy>";
    let what = format!("<Delete>{logged}</Delete><Read>{logged}</Read><Write>{logged}</Write>");
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><StorageServiceProperties><Logging><Version>2.0</Version>{what}{kept}</Logging></StorageServiceProperties>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_its_versions() {
        let xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://a.blob.core.windows.net/\" ContainerName=\"dsctl\"><Prefix>secrets/</Prefix><Blobs><Blob><Name>secrets/api-key</Name><VersionId>2026-11-26T00:00:00.0000000Z</VersionId><IsCurrentVersion>true</IsCurrentVersion><Properties><Etag>0x8</Etag></Properties></Blob><Blob><Name>secrets/api-key</Name><VersionId>2026-11-25T00:00:00.0000000Z</VersionId><Properties/></Blob></Blobs><NextMarker/></EnumerationResults>";
        let page: Page = quick_xml::de::from_str(xml).unwrap();
        assert_eq!(page.blobs.all.len(), 2);
        assert_eq!(page.blobs.all[0].is_current_version, Some(true));
        assert_eq!(page.blobs.all[1].version_id.as_deref(), Some("2026-11-25T00:00:00.0000000Z"));
        assert!(page.next_marker.is_none_or(|marker| marker.is_empty()));
        let empty = "<EnumerationResults><Blobs/><NextMarker>x</NextMarker></EnumerationResults>";
        let page: Page = quick_xml::de::from_str(empty).unwrap();
        assert_eq!((page.blobs.all.len(), page.next_marker.as_deref()), (0, Some("x")));
    }

    #[test]
    fn a_log_is_read_as_it_was_set() {
        for logged in [true, false] {
            let seen: ServiceProperties = quick_xml::de::from_str(&logging(logged)).unwrap();
            assert_eq!(seen.logging.is_some_and(|log| log.read && log.write && log.delete), logged);
        }
        let more = "<StorageServiceProperties><Logging><Version>1.0</Version><Delete>false</Delete><Read>true</Read><Write>true</Write><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging><HourMetrics><Version>1.0</Version><Enabled>false</Enabled></HourMetrics><Cors/></StorageServiceProperties>";
        assert!(!quick_xml::de::from_str::<ServiceProperties>(more).unwrap().logging.unwrap().delete);
    }

    #[test]
    fn an_account_is_a_host_at_microsoft_and_a_folder_elsewhere() {
        let at = |endpoint: Option<&str>| {
            Blobs::new(Http::new().unwrap(), endpoint.map(str::to_owned), Arc::new(Tokens::Fixed))
        };
        let place = Place { account: "a".to_owned(), container: "dsctl".to_owned(), key: "secrets/k".to_owned() };
        assert_eq!(at(None).url(&place, ""), "https://a.blob.core.windows.net/dsctl/secrets/k");
        assert_eq!(at(Some("http://127.0.0.1:1")).url(&place, "?x"), "http://127.0.0.1:1/a/dsctl/secrets/k?x");
        assert_eq!(place.to_string(), "az://a/dsctl/secrets/k");
    }
}
