//! Guards around a request: before it is sent, and on its way back.
//!
//! ```text
//! request --screen--> refused (400, content_policy) | the same with placeholders, and an AnswerGuard with the values
//! answer  --AnswerGuard--> whole: masked, values back | stream: the same, event by event | blocked
//! ```
//! What can't be looked through does not pass: an unreadable event is left out, a body that is too long is no answer.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use guards::{AnswerStream, Finding, Guards, Kind, Lens, Treatment, Vault, screen_answer, screen_request};
use spec::guards::Direction;
use spec::metric::guard;
use spec::openai::{ErrorBody, ErrorKind};

use crate::answer::refusal;
use crate::body::RequestBody;
use crate::entry::Findings;
use crate::metrics::Metrics;
use crate::proxy::Endpoint;
use crate::sse::data_of;

/// The error's `code`, in answers of the API's form and in streams.
pub const CODE: &str = "content_policy";

/// What goes with a request that may pass.
#[derive(Debug, Clone)]
pub struct AnswerGuard {
    guards: Arc<Guards>,
    vault: Vault,
    seen: Seen,
}

/// Where findings are told.
#[derive(Debug, Clone)]
pub struct Seen {
    pub metrics: Arc<Metrics>,
    pub findings: Findings,
}

/// A guard that ended an answer; the rule's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked(String);

impl Blocked {
    pub fn body(&self) -> ErrorBody {
        let message = format!("the answer was blocked by the rule {}", self.0);
        ErrorKind::InvalidRequest.body(message, None, Some(CODE))
    }
}

/// An event that was looked at.
#[derive(Debug)]
pub enum Checked {
    Passes(Bytes),
    Blocked(Blocked),
    Unreadable,
}

/// Looks at a request; gives it as it may be sent, and what its answer is looked at with.
pub fn screen(
    guards: Option<&Arc<Guards>>,
    seen: &Seen,
    endpoint: Endpoint,
    body: &mut RequestBody,
) -> Result<Option<AnswerGuard>, Box<Response>> {
    let Some(guards) = guards else { return Ok(None) };
    let mut vault = Vault::default();
    let text = String::from_utf8_lossy(body.bytes()).into_owned();
    let screened = screen_request(&guards.request, &text, &mut vault);
    seen.note(&guards.request, &screened.findings);
    if let Some(rule) = screened.blocked {
        let message = format!("the request was blocked by the rule {}", guards.request.treatments[rule].name);
        return Err(Box::new(refusal(ErrorKind::InvalidRequest, message, None, Some(CODE))));
    }
    if let Some(changed) = screened.changed {
        *body = body.reworded(Bytes::from(changed));
    }
    // Numbers are no text, and an answer that nothing is done about may pass as it comes.
    let is_needed = endpoint != Endpoint::Embeddings && !(guards.answer.is_blind() && vault.is_empty());
    let guard = || AnswerGuard { guards: Arc::clone(guards), vault, seen: seen.clone() };
    Ok(is_needed.then(guard))
}

impl AnswerGuard {
    /// A whole answer, or a refusal of the upstream.
    pub fn whole(&self, body: &Bytes) -> Result<Bytes, Blocked> {
        let lens = &self.guards.answer;
        let text = String::from_utf8_lossy(body);
        // What is no JSON is one text, and looked at as one.
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        let json = if is_json { text } else { serde_json::Value::from(text.as_ref()).to_string().into() };
        let screened = screen_answer(lens, &json, &self.vault);
        self.seen.note(lens, &screened.findings);
        if let Some(rule) = screened.blocked {
            return Err(self.blocked(rule));
        }
        let Some(changed) = screened.changed else { return Ok(body.clone()) };
        let plain = if is_json { changed } else { serde_json::from_str(&changed).unwrap_or_default() };
        Ok(Bytes::from(plain))
    }

    pub fn stream(self) -> StreamGuard {
        let stream = AnswerStream::new(Arc::clone(&self.guards), self.vault.clone());
        StreamGuard { guard: self, stream }
    }

    fn blocked(&self, rule: usize) -> Blocked {
        Blocked(self.guards.answer.treatments[rule].name.clone())
    }
}

/// A guard of one stream.
#[derive(Debug)]
pub struct StreamGuard {
    guard: AnswerGuard,
    stream: AnswerStream,
}

impl StreamGuard {
    /// An event with a piece of the answer, or with an error.
    pub fn event(&mut self, event: &Bytes) -> Checked {
        let (name, data) = data_of(event);
        let passed = std::str::from_utf8(&data).ok().and_then(|json| self.stream.event(json).ok());
        let Some(passed) = passed else { return Checked::Unreadable };
        self.guard.seen.note(&self.guard.guards.answer, &passed.findings);
        match (passed.blocked, passed.changed) {
            (Some(rule), _) => Checked::Blocked(self.guard.blocked(rule)),
            (None, None) => Checked::Passes(event.clone()),
            (None, Some(json)) => Checked::Passes(Bytes::from(format!("{name}data: {json}\n\n"))),
        }
    }

    /// Before the end mark: what is held still.
    pub fn close(&mut self) -> Checked {
        let passed = self.stream.close();
        self.guard.seen.note(&self.guard.guards.answer, &passed.findings);
        match (passed.blocked, passed.changed) {
            (Some(rule), _) => Checked::Blocked(self.guard.blocked(rule)),
            (None, json) => {
                Checked::Passes(json.map_or_else(Bytes::new, |json| Bytes::from(format!("data: {json}\n\n"))))
            }
        }
    }
}

impl Seen {
    fn note(&self, lens: &Lens, findings: &[Finding]) {
        for finding in findings {
            let treatment = &lens.treatments[finding.treatment];
            add(&self.metrics, lens.direction, treatment, 1);
            self.findings.add(&treatment.name, treatment.action.as_str(), lens.direction.as_str());
        }
    }
}

fn add(metrics: &Metrics, direction: Direction, treatment: &Treatment, times: u64) {
    let direction = direction.as_str();
    match treatment.kind {
        Kind::Entity => metrics.count(&guard::REDACTIONS, &[&treatment.name, direction], times),
        Kind::Rule => metrics.count(&guard::VERDICTS, &[&treatment.name, treatment.action.as_str(), direction], times),
    }
}

/// Series that are known beforehand.
pub fn show(metrics: &Metrics, guards: Option<&Guards>) {
    let Some(guards) = guards else { return };
    for lens in Direction::ALL.map(|direction| guards.lens(direction)) {
        lens.treatments.iter().for_each(|treatment| add(metrics, lens.direction, treatment, 0));
    }
}
