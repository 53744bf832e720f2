//! One request inside the engine: its tokens, how its next token is drawn, and what of its text may be shown.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use crate::constraint::{Constraint, ConstraintError};
use crate::prompt::Job;
use crate::sampler::{NoFiniteLogit, Sampler, TokenLogprobs};
use crate::stop::StopMatcher;
use crate::tokenizer::{Detokenizer, Tokenizer};

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
    /// With calls of tools; the engine itself gives `Stop`.
    ToolCalls,
}

impl FinishReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub prompt_tokens: usize,
    /// Those of them that were found in the prefix cache.
    pub cached_tokens: usize,
    pub completion_tokens: usize,
}

/// What happens to a request, in order; exactly one of the last three ends it.
#[derive(Debug)]
pub enum Event {
    Text {
        text: String,
        logprobs: Vec<TokenReport>,
    },
    Finished {
        reason: FinishReason,
        usage: Usage,
    },
    Failed(String),
    /// The daemon stops.
    Aborted,
}

/// A token with its log probability and those of its rivals.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenReport {
    pub token: NamedToken,
    pub top: Vec<NamedToken>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NamedToken {
    pub name: String,
    pub bytes: Vec<u8>,
    pub logprob: f32,
}

/// When things happened.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub accepted: Instant,
    pub running: Option<Instant>,
    pub first_token: Option<Instant>,
    pub last_token: Option<Instant>,
}

/// Why no token could be drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    #[error(transparent)]
    Logits(#[from] NoFiniteLogit),
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
}

/// What a drawn token makes of its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Goes { token: u32 },
    Ends(FinishReason),
}

#[derive(Debug)]
pub struct Sequence {
    pub tokens: Vec<u32>,
    pub prompt_tokens: usize,
    pub cached_tokens: usize,
    pub times: Times,
    max_tokens: usize,
    ignore_end: bool,
    sampler: Sampler,
    constraint: Option<Constraint>,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    tokenizer: Arc<Tokenizer>,
    events: UnboundedSender<Event>,
    /// Reports of tokens whose text was not shown yet, each with where its text begins.
    unreported: VecDeque<(usize, TokenReport)>,
    decoded_bytes: usize,
    shown_bytes: usize,
}

impl Sequence {
    pub fn new(job: Job, tokenizer: Arc<Tokenizer>, events: UnboundedSender<Event>, accepted: Instant) -> Self {
        Self {
            prompt_tokens: job.prompt.len(),
            tokens: job.prompt,
            cached_tokens: 0,
            times: Times { accepted, running: None, first_token: None, last_token: None },
            max_tokens: job.max_tokens,
            ignore_end: job.ignore_end,
            sampler: Sampler::new(job.sampling),
            constraint: job.constraint,
            detokenizer: Detokenizer::default(),
            stop: StopMatcher::new(job.stop),
            tokenizer,
            events,
            unreported: VecDeque::new(),
            decoded_bytes: 0,
            shown_bytes: 0,
        }
    }

    /// Nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    pub fn usage(&self) -> Usage {
        let completion_tokens = self.tokens.len() - self.prompt_tokens;
        let (prompt_tokens, cached_tokens) = (self.prompt_tokens, self.cached_tokens);
        Usage { prompt_tokens, cached_tokens, completion_tokens }
    }

    /// Draws the next token and shows what it makes certain; says how it goes on. Its end is
    /// told by `finish`, so that whoever hears of it finds it counted.
    pub fn advance(&mut self, mut logits: Vec<f32>) -> Result<Progress, DrawError> {
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(&mut logits)?;
        }
        let drawn = self.sampler.draw(logits)?;
        self.tokens.push(drawn.token);
        if !self.ignore_end && self.tokenizer.is_end(drawn.token) {
            self.show_held();
            return Ok(Progress::Ends(FinishReason::Stop));
        }
        if let Some(logprobs) = drawn.logprobs {
            let report = self.report(drawn.token, &logprobs);
            self.unreported.push_back((self.decoded_bytes, report));
        }
        let text = self.detokenizer.push(self.tokenizer.bytes(drawn.token));
        self.decoded_bytes += text.len();
        let progress = self.stop.push(&text);
        self.show(progress.text);
        if progress.stopped {
            return Ok(Progress::Ends(FinishReason::Stop));
        }
        if let Some(constraint) = &mut self.constraint
            && constraint.take(drawn.token)?
        {
            self.show_held();
            return Ok(Progress::Ends(FinishReason::Stop));
        }
        if self.usage().completion_tokens < self.max_tokens {
            return Ok(Progress::Goes { token: drawn.token });
        }
        self.show_held();
        Ok(Progress::Ends(FinishReason::Length))
    }

    pub fn finish(&self, reason: FinishReason) {
        self.send(Event::Finished { reason, usage: self.usage() });
    }

    pub fn fail(&self, message: String) {
        self.send(Event::Failed(message));
    }

    pub fn abort(&self) {
        self.send(Event::Aborted);
    }

    /// Shows what was held back: no more text comes.
    fn show_held(&mut self) {
        let tail = self.detokenizer.finish();
        self.decoded_bytes += tail.len();
        let progress = self.stop.push(&tail);
        let held = if progress.stopped { String::new() } else { self.stop.finish() };
        self.show(progress.text + &held);
        let rest: Vec<TokenReport> = self.unreported.drain(..).map(|(_, report)| report).collect();
        if !rest.is_empty() {
            self.send(Event::Text { text: String::new(), logprobs: rest });
        }
    }

    /// Sends text, with the reports of the tokens that it is made of.
    fn show(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        self.shown_bytes += text.len();
        let shown = self.unreported.iter().take_while(|(begin, _)| *begin < self.shown_bytes).count();
        let logprobs = self.unreported.drain(..shown).map(|(_, report)| report).collect();
        self.send(Event::Text { text, logprobs });
    }

    fn report(&self, token: u32, logprobs: &TokenLogprobs) -> TokenReport {
        let named = |token: u32, logprob: f32| {
            let name = self.tokenizer.name(token);
            let bytes = match self.tokenizer.bytes(token) {
                [] => name.clone().into_bytes(),
                bytes => bytes.to_vec(),
            };
            NamedToken { name, bytes, logprob }
        };
        let top = logprobs.top.iter().map(|(token, logprob)| named(*token, *logprob)).collect();
        TokenReport { token: named(token, logprobs.logprob), top }
    }

    /// A closed channel means that the client went away, which `is_abandoned` tells before the next step.
    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
