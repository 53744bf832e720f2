//! A request's way: pick a variant, ask it, and if it fails before the first byte ask the other one, once.
//!
//! A 4xx of the candidate may be the client's fault or say that the candidate can't do what the baseline can: the baseline
//! is asked, and tells. A 4xx of the baseline is the client's: what it refuses is not offered to another model.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use rollout::ports::Outcome;
use spec::id::Variant;
use spec::metric::gateway;
use spec::route::Limits;
use tokio::time::{Instant, timeout_at};

use crate::answer::{self, Routed, refusal};
use crate::body::RequestBody;
use crate::config::Settings;
use crate::failure::{Failure, sum_up};
use crate::guard::{self, AnswerGuard, Blocked};
use crate::headers;
use crate::observe::{Attempt, RequestLine, Turn};
use crate::plane::DataPlane;
use crate::relay::{self, OpenedStream, PlainBody};
use crate::sse::{EventKind, Said, read_object};
use crate::upstream::{ModelName, Upstream, described};

/// One of the API's calls that are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Embeddings,
}

impl Endpoint {
    /// The path here.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// The path below an upstream's base URL.
    const fn below_base(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
        }
    }
}

/// A request that was checked.
#[derive(Debug)]
pub struct ClientRequest {
    pub endpoint: Endpoint,
    pub headers: HeaderMap,
    pub body: RequestBody,
}

impl ClientRequest {
    /// What keeps a session with its variant.
    fn session(&self) -> Option<&[u8]> {
        let header = self.headers.get(&headers::SESSION).map(HeaderValue::as_bytes).filter(|value| !value.is_empty());
        header.or(self.body.user.as_deref().map(str::as_bytes))
    }
}

/// Answers a request from one variant or the other, or says why neither could.
pub async fn answer(plane: &Arc<DataPlane>, mut request: ClientRequest) -> Response {
    let settings = plane.settings();
    let screened = guard::screen(settings.guards.as_ref(), &plane.metrics, request.endpoint, &mut request.body);
    let guard = match screened {
        Ok(guard) => guard,
        Err(refused) => return *refused,
    };
    let table = plane.table();
    let bucket = plane.bucket(&table, request.session());
    let first = settings.configured.pick(table.candidate, bucket);
    let mut line = RequestLine::new(request.endpoint.path(), table.generation);
    let mut failures: Vec<(Variant, Failure)> = Vec::new();
    let mut refused: Option<Answered> = None;
    let is_alone = settings.configured.other(first).is_none();
    let turns = [(Some(first), Turn::First), (settings.configured.other(first), Turn::Fallback)];
    for (variant, turn) in turns.into_iter().filter_map(|(variant, turn)| Some((variant?, turn))) {
        let Some(upstream) = settings.upstreams.get(&variant) else { continue };
        if !failures.is_empty() {
            plane.metrics.count(&gateway::FALLBACKS, &[first.as_str(), variant.as_str()], 1);
        }
        line.variant = Some(variant);
        let mut attempt = plane
            .observer
            .begin(variant, table.generation, turn)
            .at_price(upstream.price())
            .of_session(request.session());
        let asked = ask(upstream, &request, &settings.config.limits, &mut attempt).await;
        match asked.and_then(|taken| refuse_unseen(taken, guard.as_ref())) {
            Ok(taken) if !is_alone && is_doubtful(&taken, &attempt) => {
                attempt.stop_clock();
                refused = Some(Answered { taken, attempt });
            }
            Ok(taken) => {
                let answered = settle(plane, refused, Answered { taken, attempt }, &mut line);
                return commit(plane, &settings, answered, guard, line);
            }
            Err(failure) => {
                attempt.finish(Outcome::UpstreamError);
                line.add_failure(variant, &failure);
                failures.push((variant, failure));
            }
        }
    }
    match refused {
        Some(answered) => commit(plane, &settings, answered, guard, line),
        None => give_up(plane, &failures, line),
    }
}

/// An answer and the attempt that gave it.
struct Answered {
    taken: Taken,
    attempt: Attempt,
}

/// Whether the other variant has to tell what a refusal says of this one.
fn is_doubtful(taken: &Taken, attempt: &Attempt) -> bool {
    attempt.variant == Variant::Candidate && attempt.turn == Turn::First && taken.status.is_client_error()
}

/// The answer for the client, of a refusal and what the other variant said to the same request. If it has an answer,
/// the refusal speaks against the variant that refused; if not, the client's request is at fault.
fn settle(plane: &DataPlane, refused: Option<Answered>, mut other: Answered, line: &mut RequestLine) -> Answered {
    let Some(mut refused) = refused else { return other };
    let (from, to) = (refused.attempt.variant, other.attempt.variant);
    if !other.taken.status.is_success() {
        other.attempt.finish(Outcome::ClientError);
        return refused;
    }
    refused.attempt.finish(Outcome::UpstreamError);
    plane.metrics.count(&gateway::FALLBACKS, &[from.as_str(), to.as_str()], 1);
    line.add_failure(from, &Failure::Status { status: refused.taken.status, retry_after: None });
    other
}

/// An upstream's answer, taken far enough to be the client's.
struct Taken {
    status: StatusCode,
    headers: HeaderMap,
    /// As the upstream gave it.
    length: Option<HeaderValue>,
    body: TakenBody,
}

enum TakenBody {
    Stream(OpenedStream),
    Plain(PlainBody),
}

async fn ask(
    upstream: &Upstream,
    request: &ClientRequest,
    limits: &Limits,
    attempt: &mut Attempt,
) -> Result<Taken, Failure> {
    let by = Instant::now() + limits.first_byte_timeout.0;
    let name = upstream.name_for(&request.body.model);
    let body = request.body.with_model(name.as_str());
    let sending = upstream.request(request.endpoint.below_base(), &request.headers, body).send();
    let response = timeout_at(by, sending).await.map_err(|_| Failure::FirstByteTimeout(limits.first_byte_timeout))?;
    let response = response.map_err(|error| unsent(error, upstream.variant, limits))?;
    let status = response.status();
    refuse_by_status(status, response.headers(), name)?;
    if headers::is_encoded(response.headers()) {
        return Err(Failure::NoAnswer("it is compressed, which was not asked for"));
    }
    let headers = headers::for_client(response.headers());
    let length = response.headers().get(CONTENT_LENGTH).cloned();
    let body = if status.is_success() && headers::is_event_stream(response.headers()) {
        let opened = relay::open(response, by, limits).await?;
        attempt.begin_stream();
        TakenBody::Stream(opened)
    } else {
        let plain = relay::read(response, by, limits, attempt).await?;
        if let PlainBody::Whole(bytes) = &plain {
            let said = read_object(bytes);
            attempt.note_usage(said.usage);
            attempt.note_refusal(said.is_refused);
            refuse_by_body(status, said)?;
        }
        TakenBody::Plain(plain)
    };
    Ok(Taken { status, headers, length, body })
}

/// What is passed on in parts is not looked through.
fn refuse_unseen(taken: Taken, guard: Option<&AnswerGuard>) -> Result<Taken, Failure> {
    match (&taken.body, guard) {
        (TakenBody::Plain(PlainBody::Long(..)), Some(_)) => {
            Err(Failure::NoAnswer("it is too long to be looked through"))
        }
        _ => Ok(taken),
    }
}

fn unsent(error: reqwest::Error, variant: Variant, limits: &Limits) -> Failure {
    let failure = match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::ConnectTimeout(limits.connect_timeout),
        (true, false) => Failure::Unreachable,
        (false, _) => Failure::Broken,
    };
    tracing::warn!(variant = variant.as_str(), error = described(error), "an upstream {failure}");
    failure
}

/// Which statuses say that the variant, or our configuration of it, is at fault. What is left is an answer, or the
/// client's own fault.
fn refuse_by_status(status: StatusCode, headers: &HeaderMap, name: ModelName<'_>) -> Result<(), Failure> {
    match status.as_u16() {
        408 | 429 | 500..=599 => Err(Failure::Status { status, retry_after: headers.get(RETRY_AFTER).cloned() }),
        // Our key, our bill, our path.
        401 | 402 | 403 | 405 => Err(Failure::Refused(status)),
        404 if matches!(name, ModelName::Mapped(_)) => Err(Failure::Refused(status)),
        200..=299 | 400..=499 => Ok(()),
        _ => Err(Failure::NoAnswer("it is a redirect or no HTTP answer at all")),
    }
}

fn refuse_by_body(status: StatusCode, said: Said) -> Result<(), Failure> {
    match said.kind {
        // A 404 without the API's error object comes from something else than the API: our URL is wrong.
        EventKind::Error if !status.is_success() => Ok(()),
        _ if status == StatusCode::NOT_FOUND => Err(Failure::Refused(status)),
        _ if !status.is_success() => Ok(()),
        EventKind::Error => Err(Failure::NoAnswer("an error with the status of a success")),
        EventKind::Piece => Ok(()),
        EventKind::Silent | EventKind::Done | EventKind::Unreadable => Err(Failure::NoAnswer("not a JSON object")),
    }
}

/// The answer goes to the client: from here on nothing falls back.
fn commit(
    plane: &DataPlane,
    settings: &Settings,
    answered: Answered,
    guard: Option<AnswerGuard>,
    mut line: RequestLine,
) -> Response {
    let Answered { taken: Taken { status, headers, length, body }, mut attempt } = answered;
    let body = match look_through(body, guard.as_ref()) {
        Ok(body) => body,
        Err(blocked) => return block(plane, attempt, &blocked, line),
    };
    let (variant, generation) = (attempt.variant, attempt.generation);
    plane.metrics.count(&gateway::ANSWERS, &[variant.as_str(), status.as_str()], 1);
    line.status = Some(status.as_u16());
    line.variant = Some(variant);
    attempt.carry(line);
    let idle_timeout = settings.config.limits.idle_timeout;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    *response.body_mut() = match body {
        TakenBody::Stream(opened) => opened.into_body(attempt, guard, idle_timeout),
        TakenBody::Plain(PlainBody::Whole(bytes)) => {
            attempt.finish(if status.is_success() { Outcome::Ok } else { Outcome::ClientError });
            Body::from(bytes)
        }
        TakenBody::Plain(PlainBody::Long(start, rest)) => {
            if !status.is_success() {
                attempt.finish(Outcome::ClientError);
            }
            if let Some(length) = length {
                response.headers_mut().insert(CONTENT_LENGTH, length);
            }
            relay::pass_long(start, rest, attempt, idle_timeout)
        }
    };
    sign(response, variant, generation)
}

/// An answer says which variant gave it, under which route table.
fn sign(mut response: Response, variant: Variant, generation: u64) -> Response {
    let headers = response.headers_mut();
    headers.insert(headers::VARIANT.clone(), HeaderValue::from_static(variant.as_str()));
    headers.insert(headers::GENERATION.clone(), HeaderValue::from(generation));
    response.extensions_mut().insert(Routed);
    response
}

/// A body that is here whole, as the guards let it pass; a stream is looked at on its way.
fn look_through(body: TakenBody, guard: Option<&AnswerGuard>) -> Result<TakenBody, Blocked> {
    match (body, guard) {
        (TakenBody::Plain(PlainBody::Whole(bytes)), Some(guard)) => {
            Ok(TakenBody::Plain(PlainBody::Whole(guard.whole(&bytes)?)))
        }
        (body, _) => Ok(body),
    }
}

/// In place of an answer that the guards let nobody see. A 4xx, since asking again would lead to the same.
fn block(plane: &DataPlane, mut attempt: Attempt, blocked: &Blocked, mut line: RequestLine) -> Response {
    let response = answer::json(StatusCode::BAD_REQUEST, &blocked.body());
    let (variant, status) = (attempt.variant, response.status());
    plane.metrics.count(&gateway::ANSWERS, &[variant.as_str(), status.as_str()], 1);
    line.status = Some(status.as_u16());
    line.variant = Some(variant);
    attempt.carry(line);
    attempt.finish(Outcome::Blocked);
    sign(response, variant, attempt.generation)
}

fn give_up(plane: &DataPlane, failures: &[(Variant, Failure)], mut line: RequestLine) -> Response {
    let told = sum_up(failures);
    let mut response = refusal(told.kind, told.message, None, Some("no_variant_available"));
    if let Some(wait) = told.retry_after {
        response.headers_mut().insert(RETRY_AFTER, wait);
    }
    let status = response.status();
    plane.metrics.count(&gateway::ANSWERS, &[crate::metrics::NO_VARIANT, status.as_str()], 1);
    line.status = Some(status.as_u16());
    line.outcome = Outcome::UpstreamError.as_str();
    line.variant = None;
    response.headers_mut().insert(headers::GENERATION.clone(), HeaderValue::from(line.generation));
    response.extensions_mut().insert(Routed);
    response
}
