//! A request's record in the making: begun when it comes, closed when its answer ends, written whatever happens between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use audit::{Draft, RequestRecord, Verdict};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use spec::route::TokenPrice;
use tokio::time::Instant;

use crate::cost::Usage;
use crate::recorder::{Recorder, Unrecorded};

/// Marks an answer of the gateway's own that has its record already.
#[derive(Debug, Clone, Copy)]
pub struct Recorded;

/// What the guards found in one request and its answer.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<Mutex<BTreeMap<Found, u64>>>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    rule: String,
    action: &'static str,
    direction: &'static str,
}

impl Findings {
    pub fn add(&self, rule: &str, action: &'static str, direction: &'static str) {
        let found = Found { rule: rule.to_owned(), action, direction };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(found).or_default() += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = |(found, times): (&Found, &u64)| Verdict {
            rule: found.rule.clone(),
            action: found.action.to_owned(),
            direction: found.direction.to_owned(),
            times: *times,
        };
        found.iter().map(verdict).collect()
    }
}

/// Who asks for what.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub path: String,
    pub key: Option<String>,
    pub client: Option<String>,
    pub user: Option<String>,
    pub model: Option<String>,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub status: Option<u16>,
    pub outcome: &'static str,
    pub variant: Option<&'static str>,
    pub generation: Option<u64>,
    pub usage: Option<Usage>,
    pub price: Option<TokenPrice>,
}

/// A record is no place for texts, however a client calls them.
const LONGEST_NAME: usize = 256;

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_NAME));
    text
}

#[derive(Debug)]
pub struct Entry {
    recorder: Arc<Recorder>,
    /// None once it was given away.
    draft: Option<Draft>,
    began: Instant,
    answer: Option<Sha256>,
    findings: Findings,
}

impl Entry {
    pub fn begin(recorder: &Arc<Recorder>, asked: Asked, prompt: Option<&[u8]>, findings: Findings) -> Self {
        let Asked { path, key, client, user, model } = asked;
        let id = format!("req-{:032x}", rand::random::<u128>());
        let (path, model, user) = (shortened(path), model.map(shortened), user.map(shortened));
        let record = RequestRecord { id, path, key, model, outcome: "client_abort".to_owned(), ..Default::default() };
        let prompt = prompt.map(|text| Sha256::digest(text).into());
        let draft = Draft { at: Timestamp::now(), record, user, client, prompt, answer: None };
        Self { recorder: Arc::clone(recorder), draft: Some(draft), began: Instant::now(), answer: None, findings }
    }

    /// The record's id.
    pub fn id(&self) -> &str {
        self.draft.as_ref().map_or("", |draft| &draft.record.id)
    }

    /// The next bytes of the answer's body.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.answer.get_or_insert_default().update(bytes);
    }

    pub fn end(&mut self, ended: &Ended) {
        let Some(draft) = &mut self.draft else { return };
        let record = &mut draft.record;
        record.status = ended.status;
        ended.outcome.clone_into(&mut record.outcome);
        record.variant = ended.variant.map(str::to_owned);
        record.generation = ended.generation;
        record.prompt_tokens = ended.usage.map(|usage| usage.prompt);
        record.completion_tokens = ended.usage.map(|usage| usage.completion);
        let cost = ended.usage.zip(ended.price).map(|(usage, price)| price.dollars(usage.prompt, usage.completion));
        record.cost_dollars = cost;
    }

    /// Writes it, and returns when the answer may end.
    pub async fn settle(mut self) -> Result<(), Unrecorded> {
        match self.finished() {
            Some(draft) => self.recorder.record(draft).await,
            None => Ok(()),
        }
    }

    fn finished(&mut self) -> Option<Draft> {
        let mut draft = self.draft.take()?;
        draft.answer = self.answer.take().map(|answer| answer.finalize().into());
        draft.record.guards = self.findings.verdicts();
        draft.record.duration_ms = self.began.elapsed().as_millis() as u64;
        Some(draft)
    }
}

/// Whoever is not there any more waits for nothing.
impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(draft) = self.finished() {
            self.recorder.submit(draft);
        }
    }
}
