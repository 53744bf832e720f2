//! A light load of chats, streamed and whole in turn, every answer kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::home::Endpoint;
use crate::http::{Answer, client, runtime, send, wait};

/// Which forms of answer are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Whole,
    /// Every second one is streamed.
    Both,
}

/// One request of the load: its answer, or why there was none.
pub type Result = std::result::Result<Answer, String>;

#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Vec<Result>>>,
}

impl Load {
    /// Each worker asks again as soon as it was answered.
    pub fn start(endpoint: &Endpoint, workers: usize, form: Form) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let work = |at: usize| {
            let (stop, endpoint) = (Arc::clone(&stop), endpoint.clone());
            runtime().spawn(async move {
                let mut results = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let is_stream = form == Form::Both && (at + results.len()) % 2 == 1;
                    results.push(one(&endpoint, is_stream).await);
                }
                results
            })
        };
        let workers = (0..workers).map(work).collect();
        Self { stop, workers }
    }

    /// Every result, once the requests under way have ended.
    pub fn stop(mut self) -> Vec<Result> {
        self.stop.store(true, Ordering::Relaxed);
        let workers = std::mem::take(&mut self.workers);
        workers.into_iter().flat_map(|worker| wait(worker).expect("a worker of the load")).collect()
    }
}

/// A test that fails takes its load with it.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

async fn one(endpoint: &Endpoint, is_stream: bool) -> Result {
    let url = format!("{}/chat/completions", endpoint.url);
    let body = json!({
        "model": crate::weights::MODEL, "max_tokens": 2, "stream": is_stream,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    send(client().post(url).bearer_auth(&endpoint.key).json(&body)).await.map_err(|error| format!("{error:?}"))
}

/// Whether it is a success to its last byte, from one variant or the other.
pub fn is_whole(result: &Result) -> bool {
    let Ok(answer) = result else { return false };
    let is_finished = match serde_json::from_str::<Value>(&answer.body) {
        Ok(json) => json["choices"][0]["finish_reason"].is_string(),
        Err(_) => answer.body.trim_end().ends_with("data: [DONE]"),
    };
    answer.status == 200 && is_finished && matches!(answer.variant.as_deref(), Some("baseline" | "candidate"))
}

/// Answers of a variant.
pub fn count(results: &[Result], variant: &str) -> usize {
    results.iter().flatten().filter(|answer| answer.variant.as_deref() == Some(variant)).count()
}
