//! HTTP for clouds whose calls are made without an SDK: one request and its whole answer.
//!
//! A look is repeated while the cloud is slow or busy; an act never is, because one that may have happened is the engine's to
//! look into. What an answer means is the cloud's own room's business (`CLOUD/error.rs`).

use std::time::Duration;

use bytes::Bytes;
use engine::provider::{ErrorKind, ProviderError};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use rand::Rng as _;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, Request, StatusCode};
use serde::de::DeserializeOwned;

const CONNECT: Duration = Duration::from_secs(5);
/// One try of a call that carries no large body.
pub const ATTEMPT: Duration = Duration::from_secs(30);
const LOOKS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Silence {
    /// Nobody was reached: nothing happened.
    #[error("{0}")]
    NotSent(String),
    /// It may have happened.
    #[error("{0}")]
    Lost(String),
}

impl Silence {
    /// In the engine's words.
    pub fn about(&self, what: impl ToString) -> ProviderError {
        let kind = match self {
            Self::NotSent(_) => ErrorKind::Throttled { retry_after: None },
            Self::Lost(_) => ErrorKind::Ambiguous,
        };
        ProviderError::new(kind, what, self)
    }
}

impl Http {
    pub fn new() -> Result<Self, ProviderError> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("dsctl/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|error| ProviderError::permanent("HTTP", error))?;
        Ok(Self { client })
    }

    /// Begins a request with the time that one try of it may take.
    pub fn request(&self, method: Method, url: &str) -> reqwest::RequestBuilder {
        self.client.request(method, url).timeout(ATTEMPT)
    }

    /// Sends it once.
    pub async fn act(&self, request: Request) -> Result<Answer, Silence> {
        let answer = self.client.execute(request).await.map_err(|error| silence(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(|error| Silence::Lost(told(&error)))?;
        Ok(Answer { status, headers, body })
    }

    /// Sends it until there is an answer that is none of 429, 500, 502, 503, 504; the last one is given however it is.
    pub async fn look(&self, request: &Request) -> Result<Answer, Silence> {
        self.look_while(request, Answer::is_busy).await
    }

    /// The same where the cloud has other ways to say that it is busy.
    pub async fn look_while(&self, request: &Request, is_busy: impl Fn(&Answer) -> bool) -> Result<Answer, Silence> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..LOOKS {
            let again =
                request.try_clone().ok_or_else(|| Silence::NotSent("a stream can't be sent twice".to_owned()))?;
            let answer = self.act(again).await;
            if answer.as_ref().is_ok_and(|answer| !is_busy(answer)) {
                return answer;
            }
            let told = answer.ok().and_then(|answer| answer.retry_after());
            tokio::time::sleep(told.unwrap_or_else(|| jittered(pause)).min(LONGEST_PAUSE)).await;
            pause *= 2;
        }
        let last = request.try_clone().ok_or_else(|| Silence::NotSent("a stream can't be sent twice".to_owned()))?;
        self.act(last).await
    }
}

impl Answer {
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    pub fn is_busy(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 500 | 502 | 503 | 504)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// In seconds, or until a date (RFC 9110, section 10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.header(RETRY_AFTER.as_str())?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let until = rfc2822::parse(text).ok()?.timestamp();
        Some(Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// An answer of another shape than the cloud's own description says is no answer that can be acted on.
    pub fn json<T: DeserializeOwned>(&self, what: &str) -> Result<T, ProviderError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            ProviderError::new(ErrorKind::Ambiguous, what, format!("an answer can't be read: {error}"))
        })
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.5))
}

fn silence(error: &reqwest::Error) -> Silence {
    if error.is_connect() || error.is_builder() { Silence::NotSent(told(error)) } else { Silence::Lost(told(error)) }
}

/// With its causes; without the URL, which may carry a signature.
fn told(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { "the call failed".to_owned() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers these in turn, one a connection; the last one again and again.
    async fn server(answers: &'static [&'static str]) -> (String, &'static AtomicUsize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let count: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let at = count.fetch_add(1, Ordering::SeqCst);
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let answer = answers[at.min(answers.len() - 1)];
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (url, count)
    }

    const BUSY: &str = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{}";

    #[tokio::test]
    async fn a_look_is_repeated_and_an_act_is_not() {
        let http = Http::new().unwrap();
        let (url, count) = server(&[BUSY, BUSY, DONE]).await;
        let look = http.request(Method::GET, &url).build().unwrap();
        assert!(http.look(&look).await.unwrap().is_success());
        assert_eq!(count.load(Ordering::SeqCst), 3);
        let (url, count) = server(&[BUSY, DONE]).await;
        let act = http.request(Method::PUT, &url).build().unwrap();
        assert_eq!(http.act(act).await.unwrap().status, 503);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn nothing_happened_where_nobody_listens_and_may_have_where_the_answer_breaks_off() {
        let http = Http::new().unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let act = http.request(Method::PUT, &format!("http://{closed}/?sig=secret")).build().unwrap();
        let error = http.act(act).await.unwrap_err();
        assert!(matches!(error, Silence::NotSent(_)), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        let (url, _) = server(&[CUT]).await;
        let act = http.request(Method::PUT, &url).build().unwrap();
        assert!(matches!(http.act(act).await, Err(Silence::Lost(_))));
    }

    #[test]
    fn how_long_to_wait_is_a_number_or_a_date() {
        let answer = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() }.retry_after()
        };
        assert_eq!(answer("7"), Some(Duration::from_secs(7)));
        assert_eq!(answer("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(answer("soon"), None);
    }
}
