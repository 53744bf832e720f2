//! A second opinion on a cloud of the tests: what an OpenAPI document describes goes through Prism, there and back.
//!
//! ```text
//! the cloud's proxy -> front -> Prism (the request) -> back -> the fake
//!                        |                               |
//!                        +-- past Prism: what no         +-- or an answer of a test's own, once
//!                            document describes
//! ```
//! What Prism does not pass on, and what it only warns of, is kept; so is all that it was asked, to be asked again.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use reqwest::Client;

use crate::http::wait;
use crate::prism::Prism;
use crate::proxy::message::{Answer, Asked, pass_on};
use crate::proxy::{lock, serve};

/// The kind of every refusal of Prism's own.
const PROBLEM: &str = "application/problem+json";
/// Where it tells what it found, refused or not.
const VIOLATIONS: &str = "sl-violations";
/// A limit for the hopeless.
const LIMIT: Duration = Duration::from_secs(120);

/// A validator that cannot compile a schema holds everything for right: whoever believes it must see it refuse.
#[derive(Debug)]
pub struct SecondOpinion {
    url: String,
    front: Arc<Front>,
    back: Arc<Back>,
    _prism: Prism,
}

#[derive(Debug)]
struct Front {
    client: Client,
    fake: String,
    prism: String,
    is_described: fn(&Asked) -> bool,
    heard: Mutex<Vec<Heard>>,
    violations: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Back {
    client: Client,
    fake: String,
    instead: Mutex<Option<Answer>>,
}

/// What Prism was asked, and what it let through.
#[derive(Debug, Clone)]
pub struct Heard {
    pub asked: Asked,
    pub answer: Answer,
}

/// With what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    Right,
    /// It went no further.
    WrongRequest(Vec<String>),
    WrongAnswer(Vec<String>),
}

impl SecondOpinion {
    /// Before a fake; `is_described` says which requests the document is about.
    #[track_caller]
    pub fn start(document: &str, fake: &str, is_described: fn(&Asked) -> bool) -> Self {
        // Node ends connections that nobody uses, perhaps while somebody begins to: each is used once.
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(LIMIT);
        let client = client.build().expect("an HTTP client");
        let fake = fake.to_owned();
        let back = Arc::new(Back { client: client.clone(), fake: fake.clone(), instead: Mutex::default() });
        let behind = serve(Router::new().fallback(leave).with_state(Arc::clone(&back)));
        let prism = Prism::start(document, &format!("http://{behind}"));
        let (heard, violations) = (Mutex::default(), Mutex::default());
        let front = Front { client, fake, prism: prism.url().to_owned(), is_described, heard, violations };
        let front = Arc::new(front);
        let address = serve(Router::new().fallback(arrive).with_state(Arc::clone(&front)));
        Self { url: format!("http://{address}"), front, back, _prism: prism }
    }

    /// Where the cloud is now.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.front.heard).clone()
    }

    /// What was wrong until now; it is forgotten.
    pub fn violations(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.front.violations))
    }

    /// What is said of a request, and of an answer to it that comes from the test: the fake hears of neither.
    #[track_caller]
    pub fn judge(&self, asked: &Asked, answer: &Answer) -> Judgement {
        assert!((self.front.is_described)(asked), "no document describes {asked:?}");
        *lock(&self.back.instead) = Some(answer.clone());
        wait(self.front.ask(asked));
        let is_asked = lock(&self.back.instead).take().is_none();
        match (is_asked, self.violations()) {
            (true, wrong) if wrong.is_empty() => Judgement::Right,
            (true, wrong) => Judgement::WrongAnswer(wrong),
            (false, wrong) => Judgement::WrongRequest(wrong),
        }
    }
}

impl Drop for SecondOpinion {
    fn drop(&mut self) {
        let violations = self.violations().join("\n");
        if std::thread::panicking() {
            // Past the test's own panic, which it is the reason of.
            let _ = writeln!(std::io::stderr(), "Prism says:\n{violations}");
        } else {
            assert!(violations.is_empty(), "Prism says:\n{violations}");
        }
    }
}

async fn arrive(State(front): State<Arc<Front>>, request: Request) -> Response {
    let Some(asked) = Asked::read(request).await else { return StatusCode::BAD_REQUEST.into_response() };
    if (front.is_described)(&asked) {
        return front.ask(&asked).await.into_response();
    }
    pass_on(&front.client, &front.fake, &asked).await.unwrap_or_else(away).into_response()
}

async fn leave(State(back): State<Arc<Back>>, request: Request) -> Response {
    let Some(asked) = Asked::read(request).await else { return StatusCode::BAD_REQUEST.into_response() };
    let instead = lock(&back.instead).take();
    match instead {
        Some(answer) => answer.into_response(),
        None => pass_on(&back.client, &back.fake, &asked).await.unwrap_or_else(away).into_response(),
    }
}

fn away(why: String) -> Answer {
    Answer::new(502, "text/plain", why)
}

impl Front {
    async fn ask(&self, asked: &Asked) -> Answer {
        let answer = pass_on(&self.client, &self.prism, asked).await.unwrap_or_else(away);
        let text = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let told = match text(VIOLATIONS) {
            Some(violations) => Some(violations.to_owned()),
            None if text("content-type") == Some(PROBLEM) || answer.status == 502 => Some(of_bytes(&answer)),
            None => None,
        };
        match told {
            Some(told) => lock(&self.violations).push(format!("{} {}: {told}", asked.method, asked.target)),
            None => lock(&self.heard).push(Heard { asked: asked.clone(), answer: answer.clone() }),
        }
        answer
    }
}

fn of_bytes(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}
