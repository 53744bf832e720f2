//! Files on web servers and on the hub. Redirects are followed here, by hand: the token goes to the hub's own host only,
//! and what the hub says of the file (digest, size) is on its redirect, not on the answer behind it.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use super::ranged::{ByteStream, Facts, Ranged, Ranges, Wanted};
use super::{FetchSettings, HubToken, SourceError};

const MOST_REDIRECTS: usize = 10;
const OPEN_ATTEMPTS: u32 = 3;
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");

#[derive(Debug)]
pub(super) struct WebFile {
    door: Door,
    /// Where the redirects led; signed addresses end, then the door is asked again.
    located: Mutex<Url>,
    facts: Facts,
}

/// Where a file is asked for first.
#[derive(Debug)]
struct Door {
    client: Client,
    url: Url,
    token: Option<HubToken>,
}

/// The last answer of a chain of redirects, and what was said on the way.
struct Answer {
    response: Response,
    url: Url,
    linked: Facts,
}

impl WebFile {
    pub async fn open(settings: &FetchSettings, url: &str, token: Option<HubToken>) -> Result<Self, SourceError> {
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.stall_timeout)
            .user_agent(concat!("dsctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SourceError::Setup { message: super::error::chain(&error) })?;
        let url =
            Url::parse(url).map_err(|error| SourceError::Setup { message: format!("not an address: {error}") })?;
        let door = Door { client, url, token };
        let mut wait = settings.first_backoff;
        for _ in 1..OPEN_ATTEMPTS {
            match door.open().await {
                // Busy or restarting; who can't be reached at all is not waited for.
                Err(SourceError::Interrupted { .. }) => tokio::time::sleep(wait).await,
                opened => return opened.map(|(url, facts)| Self { door, located: Mutex::new(url), facts }),
            }
            wait *= 2;
        }
        let (url, facts) = door.open().await?;
        Ok(Self { door, located: Mutex::new(url), facts })
    }

    fn located(&self) -> Url {
        self.located.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, headers: &[(HeaderName, String)]) -> Result<Response, SourceError> {
        let located = self.located();
        let answer = self.door.ask(&located, headers).await?;
        if !is_expired(answer.response.status()) || located == self.door.url {
            return Ok(answer.response);
        }
        let answer = self.door.ask(&self.door.url, headers).await?;
        *self.located.lock().unwrap_or_else(PoisonError::into_inner) = answer.url;
        Ok(answer.response)
    }
}

/// What storage answers to a signed address after its time.
fn is_expired(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::GONE | StatusCode::BAD_REQUEST)
}

impl Door {
    /// Asks for the first byte, which tells all there is to know.
    async fn open(&self) -> Result<(Url, Facts), SourceError> {
        let answer = self.ask(&self.url, &[(RANGE, "bytes=0-0".to_owned())]).await?;
        let facts = facts_of(&answer)?;
        Ok((answer.url, facts))
    }

    async fn ask(&self, start: &Url, headers: &[(HeaderName, String)]) -> Result<Answer, SourceError> {
        let mut url = start.clone();
        let mut linked = Facts::default();
        for _ in 0..MOST_REDIRECTS {
            let mut request = self.client.get(url.clone());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(token) = self.token.as_ref().filter(|_| is_same_origin(&url, &self.url)) {
                request = request.bearer_auth(token.expose());
            }
            let response = request.send().await.map_err(SourceError::of_request)?;
            note_linked(&mut linked, response.headers());
            let Some(target) = redirect_of(&response) else {
                return Ok(Answer { response, url, linked });
            };
            url = join(&url, &target)?;
        }
        Err(refused(format!("more than {MOST_REDIRECTS} redirects")))
    }
}

fn refused(status: String) -> SourceError {
    SourceError::Refused { status, hint: "" }
}

fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

fn redirect_of(response: &Response) -> Option<String> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    is_redirect.then(|| header(response.headers(), &LOCATION)).flatten()
}

fn join(url: &Url, target: &str) -> Result<Url, SourceError> {
    let next = url.join(target).map_err(|error| refused(format!("a redirect to no address: {error}")))?;
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(refused("a redirect from https to http".to_owned()));
    }
    Ok(next)
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn note_linked(linked: &mut Facts, headers: &HeaderMap) {
    if let Some(etag) = header(headers, &LINKED_ETAG) {
        linked.sha256 = linked.sha256.take().or_else(|| etag.trim_matches('"').parse().ok());
    }
    linked.size = linked.size.or_else(|| header(headers, &LINKED_SIZE)?.parse().ok());
}

/// Reads the answer to a request for the first byte.
fn facts_of(answer: &Answer) -> Result<Facts, SourceError> {
    let headers = answer.response.headers();
    let (size, ranges) = match answer.response.status() {
        StatusCode::PARTIAL_CONTENT => {
            (header(headers, &CONTENT_RANGE).and_then(|text| total_of(&text)), Ranges::Served)
        }
        StatusCode::OK if header(headers, &ACCEPT_RANGES).as_deref() == Some("bytes") && is_empty(&answer.response) => {
            return Err(refused("the file is empty".to_owned()));
        }
        StatusCode::OK => (answer.response.content_length(), Ranges::Ignored),
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(refused("the file is empty".to_owned())),
        status => return Err(of_status(status)),
    };
    if let (Some(said), Some(found)) = (answer.linked.size, size)
        && said != found
    {
        return Err(SourceError::Size { expected: said, found });
    }
    Ok(Facts {
        size: size.or(answer.linked.size),
        sha256: answer.linked.sha256.clone(),
        validator: validator_of(headers),
        ranges,
    })
}

fn is_empty(response: &Response) -> bool {
    response.content_length() == Some(0)
}

/// `bytes 0-0/1234` -> 1234
fn total_of(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.trim().parse().ok()
}

/// `bytes 10-19/1234` -> 10
fn begin_of(content_range: &str) -> Option<u64> {
    content_range.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// What `If-Range` may carry: a strong ETag, else the date (RFC 9110, section 13.1.5).
fn validator_of(headers: &HeaderMap) -> Option<String> {
    header(headers, &ETAG).filter(|etag| !etag.starts_with("W/")).or_else(|| header(headers, &LAST_MODIFIED))
}

fn of_status(status: StatusCode) -> SourceError {
    let text = status.to_string();
    match status.as_u16() {
        408 | 429 | 500.. => SourceError::Interrupted { reason: text },
        401 | 403 => {
            SourceError::Refused { status: text, hint: "; a hub model may need HF_TOKEN and its licence accepted" }
        }
        _ => SourceError::Refused { status: text, hint: "" },
    }
}

#[async_trait]
impl Ranged for WebFile {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    async fn get(&self, wanted: Wanted) -> Result<ByteStream, SourceError> {
        let response = match &wanted {
            Wanted::All => self.ask(&[]).await?,
            Wanted::Part(part) => {
                let mut headers = vec![(RANGE, format!("bytes={}-{}", part.start, part.end - 1))];
                headers.extend(self.facts.validator.clone().map(|validator| (IF_RANGE, validator)));
                self.ask(&headers).await?
            }
        };
        check_answer(&wanted, &self.facts, &response)?;
        Ok(response.bytes_stream().map(|chunk| chunk.map_err(interrupted)).boxed())
    }
}

fn interrupted(error: reqwest::Error) -> SourceError {
    SourceError::Interrupted { reason: super::error::chain(&error.without_url()) }
}

fn check_answer(wanted: &Wanted, facts: &Facts, response: &Response) -> Result<(), SourceError> {
    match (wanted, response.status()) {
        (Wanted::All, StatusCode::OK) => Ok(()),
        (Wanted::Part(part), StatusCode::PARTIAL_CONTENT) => {
            let range = header(response.headers(), &CONTENT_RANGE).unwrap_or_default();
            let is_same_size = facts.size.is_none() || total_of(&range) == facts.size;
            if begin_of(&range) == Some(part.start) && is_same_size { Ok(()) } else { Err(SourceError::Changed) }
        }
        // The whole file in answer to If-Range, or a range past the end: it is another file now.
        (Wanted::Part(_), StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE) => Err(SourceError::Changed),
        (_, status) => Err(of_status(status)),
    }
}
