//! Asking one upstream: its answer as far as it must be known before it is the client's, or why it is none.

use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use spec::route::Limits;
use tokio::time::{Instant, timeout_at};

use crate::failure::Failure;
use crate::guard::AnswerGuard;
use crate::headers;
use crate::observe::Attempt;
use crate::proxy::ClientRequest;
use crate::relay::{self, OpenedStream, PlainBody};
use crate::sse::{EventKind, Said, read_object};
use crate::upstream::{ModelName, Upstream, described};

/// An upstream's answer, taken far enough to be the client's.
#[derive(Debug)]
pub struct Taken {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// As the upstream gave it.
    pub length: Option<HeaderValue>,
    pub body: TakenBody,
}

#[derive(Debug)]
pub enum TakenBody {
    Stream(OpenedStream),
    Plain(PlainBody),
}

pub async fn ask(
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
    let response = response.map_err(|error| unsent(error, upstream.label, limits))?;
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
pub fn refuse_unseen(taken: Taken, guard: Option<&AnswerGuard>) -> Result<Taken, Failure> {
    match (&taken.body, guard) {
        (TakenBody::Plain(PlainBody::Long(..)), Some(_)) => {
            Err(Failure::NoAnswer("it is too long to be looked through"))
        }
        _ => Ok(taken),
    }
}

fn unsent(error: reqwest::Error, label: &str, limits: &Limits) -> Failure {
    let failure = match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::ConnectTimeout(limits.connect_timeout),
        (true, false) => Failure::Unreachable,
        (false, _) => Failure::Broken,
    };
    tracing::warn!(upstream = label, error = described(error), "an upstream {failure}");
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
