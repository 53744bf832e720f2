//! dsserve: an OpenAI-compatible inference daemon for quantized GGUF models.
//!
//! ```text
//! HTTP (tokio)                                        engine (one std thread)
//! body -> ValidRequest -> Job (tokens) --submit--> waiting -> running -> step -> step ...
//!   answer <- events <------------------------------ sampler, detokeniser, stop strings
//! ```
//! The scheduler decides what a step runs and knows no tensor; the model runs it and knows no policy; the HTTP side
//! parses a request once and never looks at it again. Dropping an answer's body is what cancels its generation.

mod answer;
mod args;
mod auth;
mod bench;
mod blocks;
mod chat_template;
mod constraint;
mod engine;
mod evaluate;
mod generate;
mod http;
mod json_text;
mod memory;
mod metrics;
mod model;
mod prompt;
mod reading;
mod request;
mod request_fields;
mod request_messages;
mod request_tools;
mod run;
mod sampler;
mod scheduler;
mod schema_size;
mod sequence;
mod serve;
mod splitting;
mod stop;
mod threads;
mod tokenizer;
mod tokens;
mod tool_calls;
mod watchdog;

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod exactness_tests;
#[cfg(test)]
mod http_tests;
#[cfg(test)]
mod tiny;

pub use evaluate::{EvaluateError, logits, split};
pub use run::{RunError, describe, run};
