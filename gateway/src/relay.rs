//! Passing an answer on: a stream event by event, a body whole.
//!
//! ```text
//! upstream --open--> first event (failures up to here can fall back) --> Relay --> client, every event at once
//! upstream --read--> whole body, checked (the same)                  --> client
//! ```
//! A stream that began ends in exactly one of two ways: `data: [DONE]`, or an event with an `error` and no `[DONE]`.

use std::collections::VecDeque;
use std::io;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::stream;
use reqwest::Response;
use rollout::ports::Outcome;
use spec::amount::Span;
use spec::openai::{ErrorBody, ErrorKind};
use spec::route::Limits;
use tokio::time::{Instant, timeout, timeout_at};

use crate::failure::Failure;
use crate::guard::{AnswerGuard, Blocked, Checked, StreamGuard};
use crate::observe::Attempt;
use crate::sse::{Event, EventKind, SseWatch, TooLong};

/// A body is held up to this size, so that a cut can still fall back; the rest of a longer one is passed as it comes.
const HELD_BYTES: usize = 8 << 20;

/// Takes the place of an event that no client could read.
const LEFT_OUT: &[u8] = b": an unreadable event of the upstream was left out\n\n";

/// The error's `code` where an answer is kept back since there is no record of it.
pub const UNRECORDED: &str = "audit_unavailable";

/// How long an upstream may take to close a stream that has ended, for its connection to be used again.
const CLOSING_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// A stream whose first event is here.
#[derive(Debug)]
pub struct OpenedStream {
    response: Response,
    watch: SseWatch,
    /// Signs of life, and the first piece.
    first: VecDeque<Event>,
}

/// Waits for the first event of a stream.
pub async fn open(mut response: Response, by: Instant, limits: &Limits) -> Result<OpenedStream, Failure> {
    let mut watch = SseWatch::default();
    let mut first = VecDeque::new();
    loop {
        while let Some(event) = watch.next() {
            let kind = event.kind;
            first.push_back(event);
            match kind {
                EventKind::Silent => {}
                EventKind::Piece => return Ok(OpenedStream { response, watch, first }),
                EventKind::Done => return Err(Failure::NoAnswer("its stream ended before it began")),
                EventKind::Error => return Err(Failure::NoAnswer("its stream began with an error")),
                EventKind::Unreadable => return Err(Failure::NoAnswer("its stream began with an unreadable event")),
            }
        }
        let chunk = timeout_at(by, response.chunk())
            .await
            .map_err(|_| Failure::FirstByteTimeout(limits.first_byte_timeout))?
            .map_err(|_| Failure::Broken)?
            .ok_or(Failure::NoAnswer("its stream ended before it began"))?;
        watch.push(&chunk).map_err(|TooLong| Failure::NoAnswer("its stream began with an endless event"))?;
    }
}

impl OpenedStream {
    /// From here on the answer is the client's: `attempt` ends with it.
    pub fn into_body(self, attempt: Attempt, guard: Option<AnswerGuard>, idle_timeout: Span) -> Body {
        let Self { response, watch, first } = self;
        let guard = guard.map(AnswerGuard::stream);
        let relay = Relay { response: Some(response), watch, first, attempt, guard, idle_timeout, had_fault: false };
        Body::from_stream(stream::unfold(relay, |mut relay| async move {
            relay.next().await.map(|bytes| (Ok::<_, io::Error>(bytes), relay))
        }))
    }
}

struct Relay {
    /// None once the stream has ended.
    response: Option<Response>,
    watch: SseWatch,
    first: VecDeque<Event>,
    attempt: Attempt,
    guard: Option<StreamGuard>,
    idle_timeout: Span,
    had_fault: bool,
}

impl Relay {
    /// The next bytes for the client; none after the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.response.as_ref()?;
            if let Some(event) = self.first.pop_front().or_else(|| self.watch.next()) {
                let bytes = self.pass(event);
                return Some(self.hand_over(bytes).await);
            }
            if let Some(bytes) = self.wait().await {
                return Some(self.hand_over(bytes).await);
            }
        }
    }

    /// The last bytes go when the audit log has the request.
    async fn hand_over(&mut self, bytes: Bytes) -> Bytes {
        self.attempt.note_answer(&bytes);
        match self.response {
            Some(_) => bytes,
            None => match self.attempt.settle().await {
                Ok(()) => bytes,
                Err(unrecorded) => {
                    error_event(&ErrorKind::Unavailable.body(unrecorded.to_string(), None, Some(UNRECORDED)))
                }
            },
        }
    }

    /// Waits for more of the stream; gives the client's last bytes if there is no more.
    async fn wait(&mut self) -> Option<Bytes> {
        let response = self.response.as_mut()?;
        match timeout(self.idle_timeout.0, response.chunk()).await {
            Ok(Ok(Some(chunk))) => match self.watch.push(&chunk) {
                Ok(()) => None,
                Err(error) => Some(self.cut(&error.to_string())),
            },
            Ok(ended) => Some(match (self.watch.finish(), ended) {
                (Some(end), _) => self.pass(end),
                (None, Ok(_)) => self.cut("the upstream ended the stream before its end"),
                (None, Err(_)) => self.cut("the upstream broke off the stream"),
            }),
            Err(_) => Some(self.cut(&format!("the upstream stalled for {}", self.idle_timeout))),
        }
    }

    fn pass(&mut self, event: Event) -> Bytes {
        self.attempt.note_usage(event.usage);
        self.attempt.note_refusal(event.is_refused);
        match event.kind {
            EventKind::Silent => event.bytes,
            EventKind::Piece => {
                self.attempt.note_piece();
                match self.guard.as_mut().map(|guard| guard.event(&event.bytes)) {
                    None => event.bytes,
                    Some(Checked::Passes(bytes)) => bytes,
                    Some(Checked::Blocked(blocked)) => self.block(&blocked),
                    Some(Checked::Unreadable) => self.leave_out(),
                }
            }
            EventKind::Unreadable => self.leave_out(),
            EventKind::Done if self.had_fault => self.cut("an unreadable event of the upstream was left out"),
            EventKind::Done => self.close(event.bytes),
            EventKind::Error => match self.guard.as_mut().map(|guard| guard.event(&event.bytes)) {
                None => self.fail(event.bytes),
                Some(Checked::Passes(bytes)) => self.fail(bytes),
                Some(Checked::Blocked(blocked)) => self.block(&blocked),
                Some(Checked::Unreadable) => self.cut("the upstream ended it with an error"),
            },
        }
    }

    /// One bad event need not cost the client the rest, but the answer is not a whole one: its end says so.
    fn leave_out(&mut self) -> Bytes {
        self.had_fault = true;
        Bytes::from_static(LEFT_OUT)
    }

    /// The end mark, after what a guard holds still.
    fn close(&mut self, end_mark: Bytes) -> Bytes {
        let held = match self.guard.as_mut().map(StreamGuard::close) {
            Some(Checked::Blocked(blocked)) => return self.block(&blocked),
            Some(Checked::Passes(held)) => held,
            Some(Checked::Unreadable) | None => Bytes::new(),
        };
        self.end(Outcome::Ok);
        if held.is_empty() { end_mark } else { Bytes::from([held, end_mark].concat()) }
    }

    fn fail(&mut self, event: Bytes) -> Bytes {
        self.end(Outcome::Truncated);
        event
    }

    /// What a guard holds back at that moment never comes out.
    fn block(&mut self, blocked: &Blocked) -> Bytes {
        self.end(Outcome::Blocked);
        error_event(&blocked.body())
    }

    fn cut(&mut self, why: &str) -> Bytes {
        self.end(Outcome::Truncated);
        let label = self.attempt.label();
        let message = format!("the answer of {label} is incomplete: {why}");
        error_event(&ErrorKind::BadGateway.body(message, None, Some("stream_truncated")))
    }

    /// The outcome is settled before the last bytes leave: a client may hang up as soon as it has them.
    fn end(&mut self, outcome: Outcome) {
        self.attempt.finish(outcome);
        if let Some(response) = self.response.take().filter(|_| outcome == Outcome::Ok) {
            tokio::spawn(timeout(CLOSING_TIME, close(response)));
        }
    }
}

fn error_event(body: &ErrorBody) -> Bytes {
    let json = serde_json::to_string(body).unwrap_or_else(|_| "{\"error\":{}}".to_owned());
    Bytes::from(format!("data: {json}\n\n"))
}

/// Reads up to the end of the body: only then can the connection be used again.
async fn close(mut response: Response) {
    while let Ok(Some(_)) = response.chunk().await {}
}

/// A body that is no stream.
#[derive(Debug)]
pub enum PlainBody {
    Whole(Bytes),
    /// Too long to be held: the start, and where the rest comes from.
    Long(Bytes, Response),
}

/// Reads a body whole, or as much as is held.
pub async fn read(
    mut response: Response,
    by: Instant,
    limits: &Limits,
    attempt: &mut Attempt,
) -> Result<PlainBody, Failure> {
    let mut held = BytesMut::new();
    let late = |_| Failure::FirstByteTimeout(limits.first_byte_timeout);
    let mut chunk = timeout_at(by, response.chunk()).await.map_err(late)?;
    loop {
        let Some(bytes) = chunk.map_err(|_| Failure::Broken)? else { return Ok(PlainBody::Whole(held.freeze())) };
        attempt.first_byte();
        held.extend_from_slice(&bytes);
        if held.len() > HELD_BYTES {
            return Ok(PlainBody::Long(held.freeze(), response));
        }
        let stalled = |_| Failure::Stalled(limits.idle_timeout);
        chunk = timeout(limits.idle_timeout.0, response.chunk()).await.map_err(stalled)?;
    }
}

/// Passes a long body on. Where it breaks off, the client's connection breaks off too: there is no other way to say it.
pub fn pass_long(start: Bytes, rest: Response, attempt: Attempt, idle_timeout: Span) -> Body {
    let mut long = LongBody { missing: rest.content_length(), start: Some(start), rest, attempt, idle_timeout };
    long.note_length(0);
    Body::from_stream(stream::unfold(long, |mut long| async move { long.next().await.map(|bytes| (bytes, long)) }))
}

struct LongBody {
    start: Option<Bytes>,
    rest: Response,
    /// Bytes that the upstream still owes, if it said how many there are.
    missing: Option<u64>,
    attempt: Attempt,
    idle_timeout: Span,
}

impl LongBody {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(start) = self.start.take() {
            self.attempt.note_answer(&start);
            return Some(self.attempt.settle().await.map(|()| start).map_err(io::Error::other));
        }
        let error = match timeout(self.idle_timeout.0, self.rest.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                self.note_length(bytes.len() as u64);
                self.attempt.note_answer(&bytes);
                return Some(self.attempt.settle().await.map(|()| bytes).map_err(io::Error::other));
            }
            Ok(Ok(None)) => {
                self.attempt.finish(Outcome::Ok);
                return self.attempt.settle().await.err().map(|unrecorded| Err(io::Error::other(unrecorded)));
            }
            Ok(Err(_)) => io::Error::from(io::ErrorKind::UnexpectedEof),
            Err(_) => io::Error::from(io::ErrorKind::TimedOut),
        };
        self.attempt.finish(Outcome::Truncated);
        Some(Err(error))
    }

    /// The end of a body of known length is its last byte: nobody asks what comes after it.
    fn note_length(&mut self, came: u64) {
        self.missing = self.missing.map(|missing| missing.saturating_sub(came));
        if self.missing == Some(0) {
            self.attempt.finish(Outcome::Ok);
        }
    }
}
