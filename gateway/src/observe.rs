//! What is seen of each attempt: metrics, counts since the start, the controller's observations, the log line.
//!
//! An [`Attempt`] that is dropped unfinished was left by its client: nothing else drops one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rollout::ports::{Observation, Outcome};
use spec::id::Variant;
use spec::metric::gateway;
use spec::route::{TokenPrice, VariantStatus};
use tokio::time::Instant;

use crate::allowance::Permit;
use crate::breaker::Seen;
use crate::cost::{self, Usage};
use crate::entry::{Ended, Entry};
use crate::failure::Failure;
use crate::health::Visit;
use crate::metrics::Metrics;
use crate::recorder::Unrecorded;
use crate::way::SPARE;

/// Observations that are kept for a controller that does not ask: without a rollout nobody does.
const MAX_KEPT: usize = 65_536;

#[derive(Debug)]
pub struct Observer {
    metrics: Arc<Metrics>,
    kept: Mutex<VecDeque<Observation>>,
    counts: [Counts; 2],
}

/// Which of a request's attempts one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Where the weight sent it.
    First,
    /// After the first, on the other variant or on another upstream of the same.
    Fallback,
    /// On what is no variant: no rollout looks at it.
    Spare,
}

impl Turn {
    /// By which name metrics, logs and clients know who was asked.
    pub const fn label(self, variant: Variant) -> &'static str {
        match self {
            Self::First | Self::Fallback => variant.as_str(),
            Self::Spare => SPARE,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    attempts: AtomicU64,
    failures: AtomicU64,
    in_flight: AtomicU64,
}

impl Observer {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, kept: Mutex::default(), counts: Default::default() }
    }

    /// An attempt on a variant begins.
    pub fn begin(self: &Arc<Self>, variant: Variant, generation: u64, turn: Turn) -> Attempt {
        if turn != Turn::Spare {
            let counts = self.counts(variant);
            counts.attempts.fetch_add(1, Ordering::Relaxed);
            counts.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        self.metrics.add(&gateway::IN_FLIGHT, &[turn.label(variant)], 1.0);
        Attempt {
            observer: Arc::clone(self),
            variant,
            generation,
            turn,
            began: Instant::now(),
            first_byte: None,
            took: None,
            line: None,
            entry: None,
            price: None,
            permit: None,
            visit: None,
            wait: None,
            usage: None,
            is_stream: false,
            pieces: 0,
            is_refused: false,
            is_drawn: false,
            is_finished: false,
        }
    }

    /// Attempts finished since the last call.
    pub fn take(&self) -> Vec<Observation> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    pub fn status(&self, variant: Variant, base_url: &str) -> VariantStatus {
        let counts = self.counts(variant);
        VariantStatus {
            base_url: base_url.to_owned(),
            attempts: counts.attempts.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
            in_flight: counts.in_flight.load(Ordering::Relaxed),
        }
    }

    fn finished(&self, seen: Observation, turn: Turn) {
        let label = turn.label(seen.variant);
        self.measure(&seen, label);
        if turn == Turn::Spare {
            return;
        }
        let counts = self.counts(seen.variant);
        if seen.outcome.is_failure() {
            counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        counts.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back(seen);
    }

    fn measure(&self, seen: &Observation, label: &str) {
        let variant = [label];
        self.metrics.add(&gateway::IN_FLIGHT, &variant, -1.0);
        self.metrics.count(&gateway::REQUESTS, &[label, seen.outcome.as_str()], 1);
        if seen.outcome.is_counted() {
            // Without a byte it took at least that long: left out, an outage would look fast.
            let first_byte = seen.time_to_first_token.unwrap_or(seen.duration);
            self.metrics.observe(&gateway::TIME_TO_FIRST_TOKEN, &variant, first_byte.as_secs_f64());
            self.metrics.observe(&gateway::REQUEST_DURATION, &variant, seen.duration.as_secs_f64());
        }
    }

    const fn counts(&self, variant: Variant) -> &Counts {
        match variant {
            Variant::Baseline => &self.counts[0],
            Variant::Candidate => &self.counts[1],
        }
    }
}

/// One attempt on a variant, from the request's sending to the answer's last byte.
#[derive(Debug)]
pub struct Attempt {
    observer: Arc<Observer>,
    pub variant: Variant,
    pub generation: u64,
    pub turn: Turn,
    began: Instant,
    first_byte: Option<Duration>,
    /// Set if its end came before its outcome is known.
    took: Option<Duration>,
    line: Option<RequestLine>,
    /// The request's record, once the outcome is known.
    entry: Option<Entry>,
    price: Option<TokenPrice>,
    permit: Option<Arc<Permit>>,
    visit: Option<Visit>,
    /// After which its upstream wants to be asked again.
    wait: Option<Duration>,
    /// What the upstream said of it last: some say it with each piece, each time of all so far.
    usage: Option<Usage>,
    is_stream: bool,
    pieces: u64,
    /// The upstream's own filter ended it.
    is_refused: bool,
    is_drawn: bool,
    is_finished: bool,
}

impl Attempt {
    /// What kept the request with its variant, if anything did.
    #[must_use]
    pub const fn of_session(mut self, session: Option<&[u8]>) -> Self {
        self.is_drawn = session.is_none();
        self
    }

    /// What its variant charges, if it does.
    #[must_use]
    pub fn at_price(mut self, price: Option<TokenPrice>) -> Self {
        self.price = price;
        self
    }

    /// Whose tokens and money it takes.
    #[must_use]
    pub fn charged_to(mut self, permit: &Option<Arc<Permit>>) -> Self {
        self.permit.clone_from(permit);
        self
    }

    /// The upstream that has it in hand.
    #[must_use]
    pub fn visiting(mut self, visit: Visit) -> Self {
        self.visit = Some(visit);
        self
    }

    pub const fn label(&self) -> &'static str {
        self.turn.label(self.variant)
    }

    pub const fn note_wait(&mut self, wait: Option<Duration>) {
        self.wait = wait;
    }

    /// The first byte of the answer's body is here.
    pub fn first_byte(&mut self) {
        self.first_byte.get_or_insert_with(|| self.began.elapsed());
    }

    /// The answer is here whole; what it is worth is settled later.
    pub fn stop_clock(&mut self) {
        self.took.get_or_insert_with(|| self.began.elapsed());
        self.leave(Seen::Answered);
    }

    fn leave(&mut self, seen: Seen) {
        if let Some(mut visit) = self.visit.take() {
            visit.note(seen);
        }
    }

    /// This attempt is the one that answers: its end is the request's.
    pub fn carry(&mut self, line: RequestLine) {
        self.line = Some(line);
    }

    /// The first byte of an answer that comes token by token.
    pub fn begin_stream(&mut self) {
        self.first_byte();
        self.is_stream = true;
        if let Some(visit) = &self.visit {
            visit.is_answered();
        }
    }

    /// A piece of a streamed answer, about a token.
    pub const fn note_piece(&mut self) {
        self.pieces += 1;
    }

    pub const fn note_refusal(&mut self, is_refused: bool) {
        self.is_refused |= is_refused;
    }

    pub fn note_usage(&mut self, usage: Option<Usage>) {
        self.usage = usage.or(self.usage);
    }

    /// By what the upstream says and the variant's price; a guess would be no evidence.
    fn dollars(&self) -> Option<f64> {
        let (price, usage) = self.price.as_ref().zip(self.usage)?;
        Some(price.dollars(usage.prompt, usage.completion))
    }

    /// Whether a variant gave something that it may charge for.
    const fn is_metered(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Ok => true,
            Outcome::Truncated | Outcome::ClientAbort | Outcome::Blocked => self.first_byte.is_some(),
            Outcome::ClientError | Outcome::UpstreamError => self.usage.is_some(),
        }
    }

    /// Only the first call counts.
    pub fn finish(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        if self.is_metered(outcome) {
            cost::meter(&self.observer.metrics, self.label(), self.usage, self.price);
            if let Some(permit) = &self.permit {
                permit.charge(self.usage, self.pieces, self.price);
            }
        }
        self.permit = None;
        self.leave(match outcome {
            Outcome::Ok | Outcome::ClientError | Outcome::Blocked => Seen::Answered,
            Outcome::UpstreamError | Outcome::Truncated => Seen::Failed { wait: self.wait },
            Outcome::ClientAbort => Seen::Nothing,
        });
        let seen = Observation {
            variant: self.variant,
            outcome,
            time_to_first_token: self.first_byte,
            duration: self.took.unwrap_or_else(|| self.began.elapsed()),
            is_fallback: self.turn == Turn::Fallback,
            generation: self.generation,
            stream_tokens: self.usage.filter(|_| self.is_stream).map(|usage| usage.completion),
            dollars: self.dollars(),
            is_refused: self.is_refused,
            is_drawn: self.is_drawn,
        };
        self.observer.finished(seen, self.turn);
        if let Some(mut line) = self.line.take() {
            line.outcome = outcome.as_str();
            line.first_byte = self.first_byte;
            self.entry = line.conclude(self.usage, self.price);
        }
    }

    /// The next bytes of the answer's body, as the client gets them.
    pub fn note_answer(&mut self, bytes: &[u8]) {
        let begun = self.line.as_mut().and_then(|line| line.entry.as_mut());
        if let Some(entry) = self.entry.as_mut().or(begun) {
            entry.pass(bytes);
        }
    }

    /// After the end: returns when the client may have the last bytes.
    pub async fn settle(&mut self) -> Result<(), Unrecorded> {
        match self.entry.take() {
            Some(entry) => entry.settle().await,
            None => Ok(()),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.finish(Outcome::ClientAbort);
    }
}

/// The one log line of a request that was routed; written when it is dropped. No prompt, no key.
#[derive(Debug)]
pub struct RequestLine {
    path: &'static str,
    began: Instant,
    pub generation: u64,
    /// Who was asked last.
    pub variant: Option<&'static str>,
    pub status: Option<u16>,
    pub outcome: &'static str,
    /// What went wrong on the variants tried before.
    pub failures: String,
    first_byte: Option<Duration>,
    /// For the audit log, if one is kept.
    pub entry: Option<Entry>,
}

impl RequestLine {
    pub fn new(path: &'static str, generation: u64) -> Self {
        Self {
            path,
            began: Instant::now(),
            generation,
            variant: None,
            status: None,
            outcome: Outcome::ClientAbort.as_str(),
            failures: String::new(),
            first_byte: None,
            entry: None,
        }
    }

    /// The record, with all that is known.
    pub fn conclude(&mut self, usage: Option<Usage>, price: Option<TokenPrice>) -> Option<Entry> {
        let mut entry = self.entry.take()?;
        let (status, outcome, variant) = (self.status, self.outcome, self.variant);
        entry.end(&Ended { status, outcome, variant, generation: Some(self.generation), usage, price });
        Some(entry)
    }

    pub fn add_failure(&mut self, variant: &str, failure: &Failure) {
        self.failures = format!("{} {variant} {failure}", self.failures).trim().to_owned();
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        drop(self.conclude(None, None));
        tracing::info!(
            method = "POST",
            path = self.path,
            status = self.status,
            variant = self.variant,
            generation = self.generation,
            outcome = self.outcome,
            first_byte_ms = self.first_byte.map(|time| time.as_millis() as u64),
            duration_ms = self.began.elapsed().as_millis() as u64,
            failures = (!self.failures.is_empty()).then_some(self.failures.as_str()),
            "request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observer() -> Arc<Observer> {
        Arc::new(Observer::new(Arc::new(Metrics::new().unwrap())))
    }

    #[test]
    fn an_attempt_is_seen_once_and_one_left_alone_was_left_by_its_client() {
        let observer = observer();
        let mut attempt = observer.begin(Variant::Candidate, 3, Turn::First);
        assert_eq!(observer.status(Variant::Candidate, "").in_flight, 1);
        attempt.first_byte();
        attempt.finish(Outcome::Truncated);
        attempt.finish(Outcome::Ok);
        drop(attempt);
        drop(observer.begin(Variant::Baseline, 3, Turn::Fallback));
        let seen = observer.take();
        let outcomes: Vec<_> = seen.iter().map(|seen| (seen.variant, seen.outcome, seen.generation)).collect();
        assert_eq!(
            outcomes,
            [(Variant::Candidate, Outcome::Truncated, 3), (Variant::Baseline, Outcome::ClientAbort, 3)]
        );
        assert!(seen[0].time_to_first_token.is_some() && seen[1].time_to_first_token.is_none());
        assert_eq!(seen.iter().map(|seen| seen.is_fallback).collect::<Vec<_>>(), [false, true]);
        assert!(observer.take().is_empty());
        let status = observer.status(Variant::Candidate, "u");
        assert_eq!((status.attempts, status.failures, status.in_flight), (1, 1, 0));
    }

    #[test]
    fn what_counts_is_timed_with_and_without_a_byte() {
        let observer = observer();
        let mut answered = observer.begin(Variant::Candidate, 1, Turn::First);
        answered.first_byte();
        answered.finish(Outcome::Ok);
        for outcome in [Outcome::UpstreamError, Outcome::ClientError, Outcome::ClientAbort] {
            observer.begin(Variant::Candidate, 1, Turn::First).finish(outcome);
        }
        let page = observer.metrics.render().unwrap();
        for metric in [gateway::TIME_TO_FIRST_TOKEN, gateway::REQUEST_DURATION] {
            let line = format!("{}_count{{variant=\"candidate\"}} 2\n", metric.name);
            assert!(page.contains(&line), "{line} in {page}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_whose_clock_stopped_took_no_longer() {
        let observer = observer();
        let mut attempt = observer.begin(Variant::Candidate, 1, Turn::First);
        tokio::time::advance(Duration::from_secs(1)).await;
        attempt.stop_clock();
        tokio::time::advance(Duration::from_secs(9)).await;
        attempt.finish(Outcome::UpstreamError);
        assert_eq!(observer.take()[0].duration, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_tells_its_price_and_only_a_stream_its_tokens() {
        let observer = observer();
        let price =
            TokenPrice { prompt_per_million: "1".parse().unwrap(), completion_per_million: "4".parse().unwrap() };
        for is_stream in [true, false] {
            let mut attempt = observer.begin(Variant::Candidate, 1, Turn::First).at_price(Some(price));
            if is_stream {
                attempt.begin_stream()
            } else {
                attempt.first_byte()
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            attempt.note_usage(Some(Usage { prompt: 500_000, completion: 11 }));
            attempt.note_refusal(is_stream);
            attempt.note_refusal(false);
            attempt.finish(Outcome::Ok);
            let seen = observer.take()[0];
            assert_eq!((seen.stream_tokens, seen.is_refused), (is_stream.then_some(11), is_stream));
            assert!((seen.dollars.unwrap() - 0.500_044).abs() < 1e-9);
            assert_eq!(seen.time_per_token(), is_stream.then_some(0.1));
        }
        observer.begin(Variant::Candidate, 1, Turn::First).of_session(None).finish(Outcome::Ok);
        let seen = observer.take()[0];
        assert_eq!((seen.dollars, seen.is_drawn), (None, true), "without a price there is no cost");
        observer.begin(Variant::Candidate, 1, Turn::First).of_session(Some(b"ann")).finish(Outcome::Ok);
        assert!(!observer.take()[0].is_drawn);
    }

    #[test]
    fn what_nobody_takes_does_not_grow_for_ever() {
        let observer = observer();
        for generation in 0..MAX_KEPT as u64 + 10 {
            observer.begin(Variant::Candidate, generation, Turn::First).finish(Outcome::Ok);
        }
        let seen = observer.take();
        assert_eq!((seen.len(), seen[0].generation), (MAX_KEPT, 10));
    }
}
