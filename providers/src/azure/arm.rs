//! Calls of Azure Resource Manager, and waiting for what they begin.
//!
//! ```text
//! a look (repeated while Azure is busy)
//! an act (once) -> 2xx -> azure-asyncoperation until it ends | location until it is not 202 -> the thing as it is then
//! ```
//! The service says by a header how it is to be followed; an answer of 200 or 201 may well mean that something has only begun.

use std::sync::Arc;
use std::time::Duration;

use engine::provider::{ErrorKind, ProviderError};
use reqwest::{Method, Request, Url};
use serde_json::Value;
use tokio::time::Instant;

use super::credential::{Audience, Tokens};
use super::error::{Told, failed, operation_failed};
use super::id::{SUBSCRIPTION_VERSION, version_of};
use super::wait::Pauses;
use crate::http::{Answer, Http};

/// Longer than Azure works at anything of ours.
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// What was made a moment ago does not show everywhere at once.
const SHOW_LIMIT: Duration = Duration::from_secs(60);
const DOMAIN: &str = ".management.azure.com";

#[derive(Debug, Clone)]
pub struct Arm {
    http: Http,
    /// Without a slash at its end.
    base: String,
    tokens: Arc<Tokens>,
}

/// One call that changes something.
#[derive(Debug, Clone, Copy)]
struct Act<'a> {
    method: &'a Method,
    path: &'a str,
    version: &'a str,
    body: Option<&'a Value>,
    /// Only if there is nothing yet.
    is_new: bool,
}

impl Arm {
    pub const fn new(http: Http, base: String, tokens: Arc<Tokens>) -> Self {
        Self { http, base, tokens }
    }

    /// The thing as Azure shows it; none if there is no such thing.
    pub async fn get(&self, id: &str) -> Result<Option<Value>, ProviderError> {
        self.get_with(id, &[]).await
    }

    pub async fn get_with(&self, id: &str, query: &[(&str, &str)]) -> Result<Option<Value>, ProviderError> {
        let version = version(id)?;
        self.look_at(id, version, query).await
    }

    /// The same of what has a version of its own.
    pub async fn look_at(
        &self,
        path: &str,
        version: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Value>, ProviderError> {
        let what = format!("looking at {}", short(path));
        let answer = self.look(&what, &self.url(path, version, query)).await?;
        match answer.status.as_u16() {
            404 if !is_elsewhere(&answer) => Ok(None),
            200..300 => answer.json(&what).map(Some),
            _ => Err(failed(what, &answer)),
        }
    }

    /// Whether the subscription is there for these credentials.
    pub async fn subscription(&self, id: &str) -> Result<Value, ProviderError> {
        let seen = self.look_at(&format!("/subscriptions/{id}"), SUBSCRIPTION_VERSION, &[]).await?;
        let missing =
            || ProviderError::new(ErrorKind::Credentials, "account", format!("there is no subscription {id}"));
        seen.ok_or_else(|| missing().with_next("az account list, then az account set --subscription …"))
    }

    /// All pages of a list; nothing where what it would be of does not exist.
    pub async fn list(&self, path: &str, version: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, ProviderError> {
        let what = format!("listing {}", short(path));
        let (mut all, mut next) = (Vec::new(), Some(self.url(path, version, query)));
        while let Some(url) = next {
            let answer = self.look(&what, &url).await?;
            if answer.status == 404 && !is_elsewhere(&answer) {
                return Ok(all);
            }
            if !answer.is_success() {
                return Err(failed(what, &answer));
            }
            let mut page: Value = answer.json(&what)?;
            next = page.get("nextLink").and_then(Value::as_str).filter(|link| !link.is_empty()).map(str::to_owned);
            if let Some(Value::Array(things)) = page.get_mut("value").map(Value::take) {
                all.extend(things);
            }
        }
        Ok(all)
    }

    /// Makes a thing, or makes it as it is given here; gives it as it is when Azure is done.
    pub async fn put(&self, what: impl ToString, id: &str, body: &Value) -> Result<Value, ProviderError> {
        let act = Act { method: &Method::PUT, path: id, version: version(id)?, body: Some(body), is_new: false };
        let what = what.to_string();
        self.carry_out(&what, act).await?;
        let thing = self.settled(&what, id).await?;
        match state(&thing).as_str() {
            "succeeded" => Ok(thing),
            // Nobody says why; made again as it should be, it may come to another end.
            state => Err(ProviderError::new(ErrorKind::Ambiguous, what, format!("its provisioning ended as {state}"))),
        }
    }

    /// The same where there is nothing yet; one that is there already is [`ErrorKind::Ambiguous`]. For services that take the
    /// condition. Does not wait for what it becomes.
    pub async fn put_new(&self, what: impl ToString, id: &str, body: &Value) -> Result<(), ProviderError> {
        let act = Act { method: &Method::PUT, path: id, version: version(id)?, body: Some(body), is_new: true };
        self.carry_out(&what.to_string(), act).await.map(drop)
    }

    pub async fn patch(&self, what: impl ToString, id: &str, body: &Value) -> Result<(), ProviderError> {
        let act = Act { method: &Method::PATCH, path: id, version: version(id)?, body: Some(body), is_new: false };
        self.carry_out(&what.to_string(), act).await.map(drop)
    }

    /// An action of a thing; gives its answer, if it has one.
    pub async fn post(&self, what: impl ToString, id: &str, action: &str) -> Result<Value, ProviderError> {
        let path = format!("{id}/{action}");
        let act = Act { method: &Method::POST, path: &path, version: version(id)?, body: None, is_new: false };
        let answer = self.carry_out(&what.to_string(), act).await?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// Removes a thing and waits until it is gone; what is absent is Ok.
    pub async fn delete(&self, id: &str) -> Result<(), ProviderError> {
        let what = format!("removing {}", short(id));
        let act = Act { method: &Method::DELETE, path: id, version: version(id)?, body: None, is_new: false };
        self.carry_out(&what, act).await?;
        let mut pauses = Pauses::until(LIMIT);
        while self.get(id).await?.is_some() {
            pauses.next(format!("{} is still there", short(id)), None).await?;
        }
        Ok(())
    }

    /// The thing when nothing is under way with it any more.
    pub async fn settled(&self, what: impl ToString, id: &str) -> Result<Value, ProviderError> {
        let (what, shown_by) = (what.to_string(), Instant::now() + SHOW_LIMIT);
        let mut pauses = Pauses::until(LIMIT);
        loop {
            match self.get(id).await? {
                Some(thing) if is_settled(&thing) => return Ok(thing),
                Some(thing) if state(&thing) == "deleting" => return Err(not_yet(what, "it is going")),
                None if Instant::now() >= shown_by => return Err(not_yet(what, "it does not show yet")),
                _ => {}
            }
            pauses.next(format!("{what} is not ready"), None).await?;
        }
    }

    async fn carry_out(&self, what: &str, act: Act<'_>) -> Result<Answer, ProviderError> {
        let request = self.request(act.method.clone(), &self.url(act.path, act.version, &[])).await?;
        let request = if act.is_new { request.header("if-none-match", "*") } else { request };
        let request = match act.body {
            Some(body) => request.json(body),
            None => request.header("content-length", "0"),
        };
        let request = request.build().map_err(|error| ProviderError::permanent(what, error.without_url()))?;
        let answer = self.http.act(request).await.map_err(|silence| silence.about(what))?;
        match answer.status.as_u16() {
            404 if *act.method == Method::DELETE => Ok(answer),
            200..300 => {
                self.follow(what, act.method, &answer).await?;
                Ok(answer)
            }
            _ => Err(failed(what, &answer)),
        }
    }

    /// Waits until what an act began has ended. From here on nothing is known by silence: it was begun.
    async fn follow(&self, what: &str, method: &Method, answer: &Answer) -> Result<(), ProviderError> {
        let Some(mut poll) = Poll::of(answer) else { return Ok(()) };
        let mut told = answer.retry_after();
        let mut pauses = Pauses::until(LIMIT);
        loop {
            pauses.next(format!("{what} is still under way"), told).await?;
            let answer = self.look(what, poll.url()).await.map_err(|error| unknown(&error))?;
            if poll.has_ended(what, method, &answer)? {
                return Ok(());
            }
            told = answer.retry_after();
            poll = poll.following(&answer);
        }
    }

    async fn look(&self, what: &str, url: &str) -> Result<Answer, ProviderError> {
        let request = self.request(Method::GET, url).await?.build();
        let request: Request = request.map_err(|error| ProviderError::permanent(what, error.without_url()))?;
        self.http.look(&request).await.map_err(|silence| silence.about(what))
    }

    async fn request(&self, method: Method, url: &str) -> Result<reqwest::RequestBuilder, ProviderError> {
        if !is_home(&self.base, url) {
            return Err(ProviderError::permanent(
                "Azure",
                format!("it leads to another place: {}", without_query(url)),
            ));
        }
        let token = self.tokens.token(Audience::Manager).await?;
        Ok(self.http.request(method, url).bearer_auth(token))
    }

    fn url(&self, path: &str, version: &str, query: &[(&str, &str)]) -> String {
        let more = query.iter().map(|(key, value)| format!("&{key}={}", encoded(value)));
        format!("{}{path}?api-version={version}{}", self.base, more.collect::<String>())
    }
}

/// Where it is said how far something is that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Poll {
    Operation(String),
    Location(String),
}

impl Poll {
    fn of(answer: &Answer) -> Option<Self> {
        let header = |name: &str| answer.header(name).map(str::to_owned);
        if let Some(url) = header("azure-asyncoperation") {
            return Some(Self::Operation(url));
        }
        header("location").filter(|_| answer.status == 202).map(Self::Location)
    }

    fn url(&self) -> &str {
        let (Self::Operation(url) | Self::Location(url)) = self;
        url
    }

    /// A later answer may lead elsewhere.
    fn following(self, answer: &Answer) -> Self {
        match (self, answer.header("location")) {
            (Self::Location(_), Some(next)) => Self::Location(next.to_owned()),
            (poll, _) => poll,
        }
    }

    fn has_ended(&self, what: &str, method: &Method, answer: &Answer) -> Result<bool, ProviderError> {
        match self {
            Self::Operation(_) if answer.is_success() => operation_ended(what, answer),
            Self::Location(_) if answer.is_success() => Ok(answer.status != 202),
            Self::Location(_) if answer.status == 404 && *method == Method::DELETE => Ok(true),
            Self::Location(_) if answer.status.is_client_error() => Err(failed(what, answer)),
            _ => Err(unknown(&failed(what, answer))),
        }
    }
}

fn operation_ended(what: &str, answer: &Answer) -> Result<bool, ProviderError> {
    let body: Value = answer.json(what)?;
    let status = body.get("status").and_then(Value::as_str).unwrap_or_default();
    match status.to_ascii_lowercase().as_str() {
        "succeeded" => Ok(true),
        "failed" | "canceled" | "cancelled" => Err(operation_failed(what, &Told::in_json(&body["error"]))),
        _ => Ok(false),
    }
}

pub fn not_yet(what: impl ToString, message: &str) -> ProviderError {
    ProviderError::new(ErrorKind::NotYet, what, message)
}

/// It was begun, and nobody knows how it ends: only a look at the thing itself will tell.
fn unknown(error: &ProviderError) -> ProviderError {
    match error.kind {
        ErrorKind::Credentials => error.clone(),
        _ => ProviderError { kind: ErrorKind::Ambiguous, ..error.clone() },
    }
}

/// That these credentials see no such subscription says nothing of what is in it.
fn is_elsewhere(answer: &Answer) -> bool {
    Told::of(answer).code == "SubscriptionNotFound"
}

fn version(id: &str) -> Result<&'static str, ProviderError> {
    let unknown = || ProviderError::permanent(id, "this dsctl does not know what it is");
    version_of(id).ok_or_else(unknown)
}

/// How far Azure is with a thing, in small letters.
pub fn state(thing: &Value) -> String {
    let state = thing.pointer("/properties/provisioningState").and_then(Value::as_str);
    state.unwrap_or("Succeeded").to_ascii_lowercase()
}

pub fn is_settled(thing: &Value) -> bool {
    matches!(state(thing).as_str(), "succeeded" | "failed" | "canceled")
}

/// For the reader: type and name.
pub fn short(path: &str) -> String {
    let parts: Vec<&str> = path.trim_end_matches('/').rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(" ")
}

/// Tokens go to Resource Manager alone, wherever an answer's links lead.
fn is_home(base: &str, url: &str) -> bool {
    let (Ok(base), Ok(url)) = (Url::parse(base), Url::parse(url)) else { return false };
    let is_regional = url.scheme() == "https" && url.host_str().is_some_and(|host| host.ends_with(DOMAIN));
    base.origin() == url.origin() || (base.scheme() == "https" && is_regional)
}

fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

/// A value of a query (RFC 3986, section 2.3: all but the unreserved is encoded).
pub fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
#[path = "arm_tests.rs"]
mod tests;
