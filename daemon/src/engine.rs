//! The engine: one thread that owns the model and every sequence.
//!
//! Admission is decided outside, by counting: at most `max_sequences + max_queue` requests are inside at any time. The
//! thread sleeps when there is nothing to do. Whoever drops a `Generation` cancels it: the engine looks before each step.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use spec::metric::daemon;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::metrics::Metrics;
use crate::model::{Model, Precision, Segment};
use crate::prompt::Job;
use crate::scheduler::{Capacity, Counts, Scheduler, SequenceId, Work};
use crate::sequence::{Event, FinishReason, Progress, Sequence};
use crate::tokenizer::Tokenizer;
use crate::watchdog::Pulse;

/// Why a request was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("all sequences are busy and the queue is full: try again in {} s", retry_after.as_secs())]
    QueueFull { retry_after: Duration },
    #[error("the engine has stopped")]
    Stopped,
}

/// How much may be inside.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_sequences: usize,
    pub max_queue: usize,
    /// Blocks of keys and values, as the model was loaded with; enough for the longest request.
    pub blocks: u32,
}

/// The events of one request. Dropping it stops the generation before its next token.
#[derive(Debug)]
pub struct Generation {
    events: UnboundedReceiver<Event>,
}

impl Generation {
    /// The next event; `None` if the engine died.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// The way into the engine.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    places: Arc<Semaphore>,
    in_flight: watch::Sender<usize>,
    pace: Arc<Pace>,
    limits: Limits,
    pulse: Pulse,
}

enum Command {
    Submit(Box<Submission>),
    AbortAll,
}

struct Submission {
    job: Job,
    events: UnboundedSender<Event>,
    accepted: Instant,
    ticket: Ticket,
}

/// One request's place; giving it back is what admits the next one.
#[derive(Debug)]
struct Ticket {
    in_flight: watch::Sender<usize>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.in_flight.send_modify(|count| *count -= 1);
    }
}

impl EngineHandle {
    /// Starts the engine's thread. The receiver ends when the thread does, for whatever reason.
    pub fn start(
        model: Model,
        tokenizer: Arc<Tokenizer>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let (commands, receiver) = channel();
        let (alive, ended) = oneshot::channel();
        let pace = Arc::new(Pace::default());
        let pulse = Pulse::default();
        let places = Arc::new(Semaphore::new(limits.max_sequences + limits.max_queue));
        let Limits { max_sequences, blocks, .. } = limits;
        let capacity = Capacity { max_sequences, blocks, rounding: model.rounding() };
        let engine = Engine {
            model,
            tokenizer,
            scheduler: Scheduler::new(capacity),
            counted: Counts::default(),
            sequences: HashMap::new(),
            next_id: 0,
            metrics,
            pace: pace.clone(),
            pulse: pulse.clone(),
        };
        std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let _alive: oneshot::Sender<()> = alive;
            engine.run(&receiver);
        })?;
        Ok((Self { commands, places, in_flight: watch::Sender::new(0), pace, limits, pulse }, ended))
    }

    pub fn submit(&self, job: Job) -> Result<Generation, SubmitError> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let inside = self.limits.max_sequences + self.limits.max_queue;
            return Err(SubmitError::QueueFull {
                retry_after: self.pace.retry_after(inside, self.limits.max_sequences),
            });
        };
        self.in_flight.send_modify(|count| *count += 1);
        let ticket = Ticket { in_flight: self.in_flight.clone(), _place: place };
        let (sender, events) = unbounded_channel();
        let submission = Box::new(Submission { job, events: sender, accepted: Instant::now(), ticket });
        self.commands.send(Command::Submit(submission)).map_err(|_| SubmitError::Stopped)?;
        Ok(Generation { events })
    }

    /// Ends every request, waiting or running, with `Event::Aborted`.
    pub fn abort_all(&self) {
        // If the engine is gone, so are its requests.
        let _ = self.commands.send(Command::AbortAll);
    }

    /// Whether the engine gets on.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How many requests are inside.
    pub fn in_flight(&self) -> watch::Receiver<usize> {
        self.in_flight.subscribe()
    }
}

/// How long requests have taken lately, to tell a refused client when to come back.
#[derive(Debug, Default)]
struct Pace {
    mean_milliseconds: AtomicU64,
}

impl Pace {
    const LONGEST: u64 = 60;

    fn record(&self, request: Duration) {
        let mean = self.mean_milliseconds.load(Ordering::Relaxed);
        let latest = request.as_millis() as u64;
        let next = if mean == 0 { latest } else { (mean * 7 + latest) / 8 };
        self.mean_milliseconds.store(next, Ordering::Relaxed);
    }

    /// When a place should be free: a sequence ends every `mean / max_sequences`. Whole seconds, at least one.
    fn retry_after(&self, inside: usize, max_sequences: usize) -> Duration {
        let mean = self.mean_milliseconds.load(Ordering::Relaxed);
        let waiting = inside.saturating_sub(max_sequences) as u64 + 1;
        let milliseconds = mean.saturating_mul(waiting) / max_sequences as u64;
        Duration::from_secs(milliseconds.div_ceil(1000).clamp(1, Self::LONGEST))
    }
}

struct Engine {
    model: Model,
    tokenizer: Arc<Tokenizer>,
    scheduler: Scheduler,
    /// What the metrics know of the scheduler's counts.
    counted: Counts,
    sequences: HashMap<SequenceId, (Sequence, Ticket)>,
    next_id: u64,
    metrics: Arc<Metrics>,
    pace: Arc<Pace>,
    pulse: Pulse,
}

impl Engine {
    /// Steps until every handle is gone.
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            if self.sequences.is_empty() {
                self.show_load();
                match commands.recv() {
                    Ok(command) => self.obey(command),
                    Err(_) => return,
                }
            }
            while let Ok(command) = commands.try_recv() {
                self.obey(command);
            }
            self.drop_abandoned();
            self.admit();
            self.show_load();
            self.step();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(submission) => {
                let Submission { job, events, accepted, ticket } = *submission;
                let id = SequenceId(self.next_id);
                self.next_id += 1;
                self.scheduler.submit(id, job.prompt.clone());
                let sequence = Sequence::new(job, self.tokenizer.clone(), events, accepted);
                self.sequences.insert(id, (sequence, ticket));
            }
            Command::AbortAll => {
                for id in self.sequences.keys().copied().collect::<Vec<_>>() {
                    self.end(id, Ending::Aborted);
                }
            }
        }
    }

    fn drop_abandoned(&mut self) {
        let abandoned = self.sequences.iter().filter(|(_, (sequence, _))| sequence.is_abandoned());
        for id in abandoned.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end(id, Ending::Abandoned);
        }
    }

    fn admit(&mut self) {
        let now = Instant::now();
        for id in self.scheduler.admit() {
            if let Some((sequence, _)) = self.sequences.get_mut(&id) {
                sequence.times.running.get_or_insert(now);
            }
        }
    }

    fn step(&mut self) {
        let works = self.scheduler.step();
        if works.is_empty() {
            return self.end_what_cannot_run();
        }
        self.pulse.step_begins();
        let sampled = forward(&mut self.model, &self.scheduler, &self.sequences, &works);
        self.pulse.step_ends();
        match sampled {
            Ok(sampled) => {
                self.scheduler.settle();
                for (id, logits) in sampled {
                    self.advance(id, logits);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a step failed");
                for work in works {
                    self.end(work.id, Ending::Failed(format!("the model failed: {error}")));
                }
            }
        }
    }

    /// A start sees to it that every sequence fits when it is alone; without that, waiting would never end.
    fn end_what_cannot_run(&mut self) {
        for id in self.sequences.keys().copied().collect::<Vec<_>>() {
            if self.scheduler.is_running(id) {
                self.end(id, Ending::Failed("the key-value cache is too small for this sequence".to_owned()));
            }
        }
    }

    fn advance(&mut self, id: SequenceId, logits: Vec<f32>) {
        let Some((sequence, _)) = self.sequences.get_mut(&id) else { return };
        let outcome = sequence.advance(logits);
        let now = Instant::now();
        self.metrics.count(&daemon::GENERATION_TOKENS, &[], 1);
        match sequence.times.last_token {
            Some(last) => self.metrics.observe(&daemon::INTER_TOKEN_LATENCY, (now - last).as_secs_f64()),
            None => {
                sequence.times.first_token = Some(now);
                sequence.cached_tokens = self.scheduler.found(id);
                self.metrics.count(&daemon::PROMPT_TOKENS, &[], sequence.prompt_tokens as u64);
                let waited = now - sequence.times.accepted;
                self.metrics.observe(&daemon::TIME_TO_FIRST_TOKEN, waited.as_secs_f64());
            }
        }
        sequence.times.last_token = Some(now);
        match outcome {
            Ok(Progress::Goes { token }) => self.scheduler.extend(id, token),
            Ok(Progress::Ends(reason)) => self.end(id, Ending::Finished(reason)),
            Err(error) => self.end(id, Ending::Failed(error.to_string())),
        }
    }

    /// Takes a sequence out, counts it, and then tells its client.
    fn end(&mut self, id: SequenceId, ending: Ending) {
        self.scheduler.finish(id);
        let Some((sequence, ticket)) = self.sequences.remove(&id) else { return };
        if matches!(ending, Ending::Finished(_)) {
            self.observe_finished(&sequence);
        }
        let reason = ending.name();
        self.metrics.count(&daemon::REQUEST_SUCCESS, &[reason], 1);
        let usage = sequence.usage();
        tracing::info!(
            request = id.0,
            reason,
            prompt_tokens = usage.prompt_tokens,
            completion_tokens = usage.completion_tokens,
            seconds = sequence.times.accepted.elapsed().as_secs_f64(),
            "request ended"
        );
        match ending {
            Ending::Finished(reason) => sequence.finish(reason),
            Ending::Failed(message) => sequence.fail(message),
            Ending::Aborted => sequence.abort(),
            Ending::Abandoned => {}
        }
        drop(ticket);
    }

    fn observe_finished(&self, sequence: &Sequence) {
        let times = sequence.times;
        let (Some(running), Some(first), Some(last)) = (times.running, times.first_token, times.last_token) else {
            return;
        };
        let usage = sequence.usage();
        let observe = |metric, duration: Duration| self.metrics.observe(metric, duration.as_secs_f64());
        observe(&daemon::E2E_LATENCY, last - times.accepted);
        observe(&daemon::QUEUE_TIME, running - times.accepted);
        observe(&daemon::PREFILL_TIME, first - running);
        observe(&daemon::DECODE_TIME, last - first);
        if usage.completion_tokens > 1 {
            let mean = (last - first).as_secs_f64() / (usage.completion_tokens - 1) as f64;
            self.metrics.observe(&daemon::REQUEST_TIME_PER_OUTPUT_TOKEN, mean);
        }
        self.metrics.observe(&daemon::REQUEST_PROMPT_TOKENS, usage.prompt_tokens as f64);
        self.metrics.observe(&daemon::REQUEST_GENERATION_TOKENS, usage.completion_tokens as f64);
        self.pace.record(last - running);
    }

    fn show_load(&mut self) {
        self.metrics.set(&daemon::REQUESTS_RUNNING, self.scheduler.running() as f64);
        self.metrics.set(&daemon::REQUESTS_WAITING, self.scheduler.waiting() as f64);
        for usage in [&daemon::KV_CACHE_USAGE, &daemon::GPU_CACHE_USAGE] {
            self.metrics.set(usage, self.scheduler.usage());
        }
        let (now, before) = (self.scheduler.counts(), self.counted);
        self.metrics.count(&daemon::PREEMPTIONS, &[], now.preemptions - before.preemptions);
        self.metrics.count(&daemon::PREFIX_CACHE_QUERIES, &[], now.queried - before.queried);
        self.metrics.count(&daemon::PREFIX_CACHE_HITS, &[], now.found - before.found);
        self.counted = now;
    }
}

/// Runs the rows of a step; gives the logits of those that draw.
fn forward(
    model: &mut Model,
    scheduler: &Scheduler,
    sequences: &HashMap<SequenceId, (Sequence, Ticket)>,
    works: &[Work],
) -> candle_core::Result<Vec<(SequenceId, Vec<f32>)>> {
    let of_work = |work: &Work| {
        let Some((sequence, _)) = sequences.get(&work.id) else { return Vec::new() };
        let segments = segments(work, &sequence.tokens, sequence.prompt_tokens, scheduler.table(work.id));
        segments.into_iter().map(|segment| (work.id, segment)).collect()
    };
    let mut all: Vec<(SequenceId, Segment<'_>)> = works.iter().flat_map(of_work).collect();
    all.sort_by_key(|(_, segment)| segment.precision);
    let (ids, segments): (Vec<SequenceId>, Vec<Segment<'_>>) = all.into_iter().unzip();
    let logits = model.forward(&segments)?;
    let sampling = ids.into_iter().zip(&segments).filter(|(_, segment)| segment.wants_logits);
    Ok(sampling.map(|(id, _)| id).zip(logits).collect())
}

/// The part of the prompt and the part of the answer, which is computed again after a preemption.
pub(crate) fn segments<'a>(work: &Work, tokens: &'a [u32], prompt: usize, table: &'a [u32]) -> Vec<Segment<'a>> {
    let end = work.start + work.count;
    let middle = prompt.clamp(work.start, end);
    let segment = |start: usize, end: usize, precision| Segment {
        table,
        start,
        tokens: &tokens[start..end],
        precision,
        wants_logits: work.samples && end == work.start + work.count,
    };
    let parts = [segment(work.start, middle, Precision::Exact), segment(middle, end, Precision::Rounded)];
    parts.into_iter().filter(|segment| !segment.tokens.is_empty()).collect()
}

/// How a sequence left the engine.
enum Ending {
    Finished(FinishReason),
    Failed(String),
    Aborted,
    Abandoned,
}

impl Ending {
    const fn name(&self) -> &'static str {
        match self {
            Self::Finished(reason) => reason.name(),
            Self::Failed(_) => "error",
            Self::Aborted | Self::Abandoned => "abort",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_come_back_grows_with_queue_and_pace() {
        let pace = Pace::default();
        assert_eq!(pace.retry_after(72, 8), Duration::from_secs(1));
        pace.record(Duration::from_secs(4));
        assert_eq!(pace.retry_after(8, 8), Duration::from_secs(1));
        assert_eq!(pace.retry_after(72, 8), Duration::from_millis(32_500).max(Duration::from_secs(33)));
        pace.record(Duration::from_secs(4000));
        assert_eq!(pace.retry_after(72, 8), Duration::from_secs(60));
    }
}
