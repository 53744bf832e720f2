//! A request's way along the chain: ask one upstream after the other until one answers before its first byte fails.
//!
//! A 4xx of the candidate may be the client's fault or say that the candidate can't do what the baseline can: the baseline
//! is asked, and tells. A 4xx of the baseline is the client's: what it refuses is not offered to another model.

use std::sync::Arc;

use axum::response::Response;
use rollout::ports::Outcome;
use spec::id::Variant;
use spec::metric::gateway;

use crate::allowance::Permit;
use crate::ask::{Taken, ask, refuse_unseen};
use crate::cache::{AnswerKey, Kept};
use crate::commit::{Answered, Ending, Keep, commit, commit_kept, give_up};
use crate::config::Settings;
use crate::entry::{Entry, Findings};
use crate::failure::Failure;
use crate::guard::AnswerGuard;
use crate::observe::{Attempt, RequestLine, Turn};
use crate::plane::DataPlane;
use crate::proxy::ClientRequest;
use crate::way::{self, Force, Stop};

/// What goes with a request that may be sent.
#[derive(Debug)]
pub struct Passed {
    pub guard: Option<AnswerGuard>,
    pub entry: Option<Entry>,
    pub permit: Option<Arc<Permit>>,
    pub findings: Findings,
}

/// Stands for a session.
const KEPT: &[u8] = b"kept";

/// A request under way.
struct Trip<'a> {
    plane: &'a DataPlane,
    settings: &'a Settings,
    /// Where its weight sent it.
    first: Variant,
    /// What kept it there, if anything did.
    session: Option<&'a [u8]>,
    generation: u64,
    permit: Option<Arc<Permit>>,
    line: RequestLine,
    failures: Vec<(&'static str, Failure)>,
    /// The candidate's, until the baseline has told what it is worth.
    refused: Option<Answered>,
    has_tried_first: bool,
}

/// Answers a request from one of the chain, or says why none could.
pub async fn route(
    plane: &DataPlane,
    settings: &Settings,
    request: &ClientRequest,
    Passed { guard, entry, permit, findings }: Passed,
) -> Response {
    let table = plane.table();
    let first = settings.configured.pick(table.candidate, plane.bucket(&table, request.session()));
    let generation = table.generation;
    let mut line = RequestLine::new(request.endpoint.path(), generation);
    line.entry = entry;
    let keep = keep_of(settings, request, first, findings);
    if let Some(kept) = keep.as_ref().and_then(|keep| find_kept(plane, settings, keep)) {
        return commit_kept(plane, kept, line).await;
    }
    let (failures, refused, has_tried_first) = (Vec::new(), None, false);
    // Where answers are kept, what is left to ask was not dealt by the weights alone.
    let session = request.session().or(keep.as_ref().map(|_| KEPT));
    let mut trip =
        Trip { plane, settings, first, session, generation, permit, line, failures, refused, has_tried_first };
    let (stops, force) = way::of(settings, first, plane.is_judged());
    for stop in &stops {
        let Some(mut attempt) = trip.begin(stop, force) else { continue };
        let asked = ask(&stop.upstream, request, &settings.config.limits, &mut attempt).await;
        match asked.and_then(|taken| refuse_unseen(taken, guard.as_ref())).and_then(|taken| stop.refuse(taken)) {
            Ok(taken) if trip.is_doubtful(&taken, &attempt) => trip.set_aside(Answered { taken, attempt }),
            Ok(taken) => {
                let answered = trip.settle(Answered { taken, attempt });
                // An answer of another variant is not the answer of this one.
                let keep = keep.filter(|_| answered.attempt.label() == first.as_str());
                return commit(plane, settings, answered, Ending { guard, line: trip.line, keep }).await;
            }
            Err(failure) => trip.fail(attempt, failure),
        }
    }
    match trip.refused.take() {
        Some(answered) => commit(plane, settings, answered, Ending { guard, line: trip.line, keep: None }).await,
        None => give_up(plane, &trip.failures_or_held_back(), trip.line).await,
    }
}

/// None where no answer is kept, or a guard found something in the request.
fn keep_of(settings: &Settings, request: &ClientRequest, first: Variant, findings: Findings) -> Option<Keep> {
    settings.cache.as_ref().filter(|_| findings.is_empty())?;
    let client_key = &request.caller.key.as_ref()?.0.id;
    let key = AnswerKey::of(client_key, request.endpoint.path(), first, request.body.bytes());
    Some(Keep { key, findings })
}

fn find_kept(plane: &DataPlane, settings: &Settings, keep: &Keep) -> Option<Kept> {
    let found = settings.cache.as_ref()?.find(&keep.key);
    plane.metrics.count(&gateway::CACHE, &[if found.is_some() { "hit" } else { "miss" }], 1);
    found
}

impl Stop {
    /// What a spare refuses, the next in the chain may still do.
    fn refuse(&self, taken: Taken) -> Result<Taken, Failure> {
        match self.variant {
            None if taken.status.is_client_error() => Err(Failure::Refused(taken.status)),
            _ => Ok(taken),
        }
    }
}

impl Trip<'_> {
    /// An attempt, if this upstream is to be asked.
    fn begin(&mut self, stop: &Stop, force: Force) -> Option<Attempt> {
        let is_first = stop.variant == Some(self.first);
        // Whose refusal is in question: only the other variant can tell.
        if self.refused.is_some() && (is_first || stop.variant.is_none()) {
            return None;
        }
        if !is_first && !self.has_tried_first {
            self.note_held_back();
        }
        let force = if stop.is_owed && !self.has_tried_first { Force::Yes } else { force };
        let visit = stop.upstream.health.enter(force)?;
        let turn = match stop.variant {
            None => Turn::Spare,
            Some(_) if is_first && !self.has_tried_first => Turn::First,
            Some(_) => Turn::Fallback,
        };
        self.has_tried_first = true;
        let (from, to) = (self.first.as_str(), stop.label());
        if !self.failures.is_empty() && from != to {
            self.plane.metrics.count(&gateway::FALLBACKS, &[from, to], 1);
        }
        self.line.variant = Some(to);
        let attempt = self.plane.observer.begin(stop.variant.unwrap_or(self.first), self.generation, turn);
        Some(attempt.at_price(stop.upstream.price()).of_session(self.session).charged_to(&self.permit).visiting(visit))
    }

    /// What its weight sent to a variant that is held back has failed there: a rollout must see it.
    fn note_held_back(&mut self) {
        let attempt = self.plane.observer.begin(self.first, self.generation, Turn::First).of_session(self.session);
        self.has_tried_first = true;
        self.fail(attempt, Failure::HeldBack);
    }

    fn fail(&mut self, mut attempt: Attempt, failure: Failure) {
        attempt.note_wait(failure.wait());
        attempt.finish(Outcome::UpstreamError);
        self.line.add_failure(attempt.label(), &failure);
        self.failures.push((attempt.label(), failure));
    }

    fn failures_or_held_back(&self) -> Vec<(&'static str, Failure)> {
        match self.failures.as_slice() {
            [] => vec![(self.first.as_str(), Failure::HeldBack)],
            some => some.to_vec(),
        }
    }

    /// Whether the other variant has to tell what a refusal says of this one.
    fn is_doubtful(&self, taken: &Taken, attempt: &Attempt) -> bool {
        let is_alone = self.settings.configured.other(self.first).is_none();
        let is_candidate = self.first == Variant::Candidate && attempt.label() == Variant::Candidate.as_str();
        !is_alone && is_candidate && taken.status.is_client_error()
    }

    fn set_aside(&mut self, mut answered: Answered) {
        answered.attempt.stop_clock();
        self.refused = Some(answered);
    }

    /// The answer for the client, of a refusal and what the other variant said to the same request. If it has an answer,
    /// the refusal speaks against the variant that refused; if not, the client's request is at fault.
    fn settle(&mut self, mut other: Answered) -> Answered {
        let Some(mut refused) = self.refused.take() else { return other };
        let (from, to) = (refused.attempt.label(), other.attempt.label());
        if !other.taken.status.is_success() {
            other.attempt.finish(Outcome::ClientError);
            return refused;
        }
        refused.attempt.finish(Outcome::UpstreamError);
        self.plane.metrics.count(&gateway::FALLBACKS, &[from, to], 1);
        self.line.add_failure(from, &Failure::Status { status: refused.taken.status, retry_after: None });
        other
    }
}
