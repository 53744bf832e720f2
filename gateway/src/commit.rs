//! Giving the client an answer: from an upstream, blocked, or that there is none.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use rollout::ports::Outcome;
use spec::metric::gateway;

use crate::answer::{self, Routed, refusal};
use crate::ask::{Taken, TakenBody};
use crate::cache::{AnswerKey, Kept};
use crate::config::Settings;
use crate::entry::Findings;
use crate::failure::{Failure, sum_up};
use crate::guard::{AnswerGuard, Blocked};
use crate::headers;
use crate::observe::{Attempt, RequestLine};
use crate::plane::DataPlane;
use crate::proxy::keep_back;
use crate::relay::{self, PlainBody};

/// The outcome of a request that no upstream was asked for.
const CACHED: &str = "cached";

/// An answer and the attempt that gave it.
#[derive(Debug)]
pub struct Answered {
    pub taken: Taken,
    pub attempt: Attempt,
}

/// What goes with an answer.
#[derive(Debug)]
pub struct Ending {
    pub guard: Option<AnswerGuard>,
    pub line: RequestLine,
    /// None: it is not kept.
    pub keep: Option<Keep>,
}

/// Under which key an answer is kept, if no guard finds anything in it.
#[derive(Debug)]
pub struct Keep {
    pub key: AnswerKey,
    pub findings: Findings,
}

/// An answer that was given before.
pub async fn commit_kept(plane: &DataPlane, kept: Kept, mut line: RequestLine) -> Response {
    plane.metrics.count(&gateway::ANSWERS, &[kept.label, StatusCode::OK.as_str()], 1);
    (line.status, line.variant, line.outcome) = (Some(StatusCode::OK.as_u16()), Some(kept.label), CACHED);
    let mut response = Response::new(Body::from(kept.body.clone()));
    if let Some(mut entry) = line.conclude(None, None) {
        entry.pass(&kept.body);
        if let Err(unrecorded) = entry.settle().await {
            return sign(keep_back(unrecorded), kept.label, line.generation);
        }
    }
    response.headers_mut().extend(kept.content_type.map(|content_type| (CONTENT_TYPE, content_type)));
    response.headers_mut().insert(headers::CACHE.clone(), HeaderValue::from_static("hit"));
    sign(response, kept.label, line.generation)
}

fn keep_answer(plane: &DataPlane, settings: &Settings, keep: Option<Keep>, kept: Kept) {
    if let (Some(cache), Some(Keep { key, findings })) = (&settings.cache, keep)
        && findings.is_empty()
    {
        cache.keep(key, kept);
        plane.metrics.set(&gateway::CACHE_BYTES, &[], cache.bytes() as f64);
    }
}

/// The answer goes to the client: from here on nothing falls back.
pub async fn commit(
    plane: &DataPlane,
    settings: &Settings,
    answered: Answered,
    Ending { guard, mut line, keep }: Ending,
) -> Response {
    let Answered { taken: Taken { status, headers, length, body }, mut attempt } = answered;
    let body = match look_through(body, guard.as_ref()) {
        Ok(body) => body,
        Err(blocked) => return block(plane, attempt, &blocked, line).await,
    };
    let (label, generation) = (attempt.label(), attempt.generation);
    plane.metrics.count(&gateway::ANSWERS, &[label, status.as_str()], 1);
    line.status = Some(status.as_u16());
    line.variant = Some(label);
    attempt.carry(line);
    let idle_timeout = settings.config.limits.idle_timeout;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    *response.body_mut() = match body {
        TakenBody::Stream(opened) => opened.into_body(attempt, guard, idle_timeout),
        TakenBody::Plain(PlainBody::Whole(bytes)) => {
            attempt.finish(if status.is_success() { Outcome::Ok } else { Outcome::ClientError });
            attempt.note_answer(&bytes);
            if let Err(unrecorded) = attempt.settle().await {
                return sign(keep_back(unrecorded), label, generation);
            }
            if status == StatusCode::OK {
                let content_type = response.headers().get(CONTENT_TYPE).cloned();
                keep_answer(plane, settings, keep, Kept { body: bytes.clone(), content_type, label });
            }
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
    sign(response, label, generation)
}

/// An answer says which variant gave it, under which route table.
fn sign(mut response: Response, label: &'static str, generation: u64) -> Response {
    let headers = response.headers_mut();
    headers.insert(headers::VARIANT.clone(), HeaderValue::from_static(label));
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
async fn block(plane: &DataPlane, mut attempt: Attempt, blocked: &Blocked, mut line: RequestLine) -> Response {
    let response = answer::json(StatusCode::BAD_REQUEST, &blocked.body());
    let (label, status) = (attempt.label(), response.status());
    plane.metrics.count(&gateway::ANSWERS, &[label, status.as_str()], 1);
    line.status = Some(status.as_u16());
    line.variant = Some(label);
    attempt.carry(line);
    attempt.finish(Outcome::Blocked);
    let response = attempt.settle().await.map_or_else(keep_back, |()| response);
    sign(response, label, attempt.generation)
}

pub async fn give_up(plane: &DataPlane, failures: &[(&'static str, Failure)], mut line: RequestLine) -> Response {
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
    if let Some(entry) = line.conclude(None, None)
        && let Err(unrecorded) = entry.settle().await
    {
        response = keep_back(unrecorded);
    }
    response.headers_mut().insert(headers::GENERATION.clone(), HeaderValue::from(line.generation));
    response.extensions_mut().insert(Routed);
    response
}
