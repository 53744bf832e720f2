//! A request, parsed once: whatever is in a `ValidRequest` needs no second look.
//!
//! Fields that would change the answer and aren't computed here are refused by name; so are unknown ones. Fields that
//! change nothing (`user`, `metadata`, ...) are accepted.

use serde_json::{Map, Value, json};
use spec::openai::ErrorKind;

use crate::request_fields::{Fields, RequestError, wrong_kind};
use crate::request_messages::{ChatMessage, messages};
use crate::request_tools::{Format, ToolChoice, Tools, format, tools};
use crate::sampler::Sampling;

/// Tokens of a completion without `max_tokens`, as in the OpenAI API.
const COMPLETION_TOKENS: usize = 16;
const MOST_STOPS: usize = 4;
const MOST_CHOICES: i64 = 16;
const MOST_BIAS: f64 = 100.0;
const MOST_CHAT_LOGPROBS: i64 = 20;
const MOST_COMPLETION_LOGPROBS: i64 = 5;

#[derive(Debug, Clone, PartialEq)]
pub struct ValidRequest {
    pub model: String,
    pub input: Input,
    pub sampling: Sampling,
    /// `None`: as many as the context holds.
    pub max_tokens: Option<usize>,
    pub stop: Vec<String>,
    /// Goes on after the token that ends an answer: for load tests, which need answers of a known length.
    pub ignore_end: bool,
    pub delivery: Delivery,
    /// Answers to the same prompt, each drawn by itself.
    pub choices: usize,
    pub chat: ChatOptions,
}

/// What only chats have.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatOptions {
    pub tools: Tools,
    pub format: Format,
    /// Whether reasoning is told from content.
    pub separates_reasoning: bool,
    /// What the model's template gets beside the messages, such as `enable_thinking`.
    pub template: Map<String, Value>,
}

impl Default for ChatOptions {
    fn default() -> Self {
        let (tools, format) = (Tools { tools: Vec::new(), choice: ToolChoice::Auto }, Format::Text);
        Self { tools, format, separates_reasoning: true, template: Map::new() }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Chat(Vec<ChatMessage>),
    Text(String),
    Tokens(Vec<u32>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Whole,
    Streamed { include_usage: bool },
}

impl ValidRequest {
    /// `POST /v1/chat/completions`.
    pub fn chat(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = read_json(body)?;
        let model = model(&mut fields)?;
        let messages = messages(fields.required("messages")?)?;
        let wants_logprobs = fields.boolean("logprobs")?;
        let top = fields.integer("top_logprobs", 0, MOST_CHAT_LOGPROBS)?;
        if top.is_some() && !wants_logprobs {
            return Err(RequestError::field("top_logprobs", "needs logprobs to be true"));
        }
        let logprobs = wants_logprobs.then(|| top.unwrap_or(0) as usize);
        let max_tokens = chat_max_tokens(&mut fields)?;
        let chat = chat_options(&mut fields)?;
        refuse_unsupported_chat(&mut fields)?;
        let input = Input::Chat(messages);
        Self::shared(fields, Self { chat, ..Self::of(model, input, logprobs, max_tokens) })
    }

    /// `POST /v1/completions`.
    pub fn completion(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = read_json(body)?;
        let model = model(&mut fields)?;
        let input = prompt("prompt", fields.required("prompt")?)?;
        let logprobs = fields.integer("logprobs", 0, MOST_COMPLETION_LOGPROBS)?.map(|top| top as usize);
        let max_tokens = max_tokens(&mut fields, "max_tokens")?.unwrap_or(COMPLETION_TOKENS);
        for (name, neutral) in [("echo", json!(false)), ("best_of", json!(1)), ("suffix", json!(""))] {
            fields.only(name, &[neutral])?;
        }
        Self::shared(fields, Self::of(model, input, logprobs, Some(max_tokens)))
    }

    fn of(model: String, input: Input, logprobs: Option<usize>, max_tokens: Option<usize>) -> Self {
        let sampling = Sampling { logprobs, ..Sampling::default() };
        let (stop, ignore_end, delivery) = (Vec::new(), false, Delivery::Whole);
        let (choices, chat) = (1, ChatOptions::default());
        Self { model, input, sampling, max_tokens, stop, ignore_end, delivery, choices, chat }
    }

    /// The fields that both forms have.
    fn shared(mut fields: Fields, request: Self) -> Result<Self, RequestError> {
        let plain = Sampling::default();
        let float = |value: Option<f64>, default: f32| value.map_or(default, |value| value as f32);
        let sampling = Sampling {
            temperature: float(fields.number("temperature", 0.0, 2.0)?, plain.temperature),
            top_p: float(fields.number("top_p", 0.0, 1.0)?, plain.top_p),
            frequency_penalty: float(fields.number("frequency_penalty", -2.0, 2.0)?, 0.0),
            presence_penalty: float(fields.number("presence_penalty", -2.0, 2.0)?, 0.0),
            top_k: fields
                .integer("top_k", -1, i64::from(u32::MAX))?
                .filter(|count| *count > 0)
                .map(|count| count as usize),
            min_p: float(fields.number("min_p", 0.0, 1.0)?, 0.0),
            logit_bias: logit_bias(&mut fields)?,
            seed: fields.integer("seed", i64::MIN, i64::MAX)?.map(i64::cast_unsigned),
            logprobs: request.sampling.logprobs,
        };
        let choices = fields.integer("n", 1, MOST_CHOICES)?.unwrap_or(1) as usize;
        let stop = stop(&mut fields)?;
        let delivery = delivery(&mut fields)?;
        let ignore_end = fields.boolean("ignore_eos")?;
        fields.only("store", &[json!(false)])?;
        fields.only("service_tier", &[json!("auto"), json!("default")])?;
        fields.ignore(&["user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"]);
        fields.finish()?;
        Ok(Self { sampling, stop, ignore_end, delivery, choices, ..request })
    }
}

pub fn read_json(body: &[u8]) -> Result<Fields, RequestError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        RequestError::new(ErrorKind::InvalidRequest, format!("the request body is not valid JSON: {error}"))
    })?;
    Fields::new("", value)
}

fn model(fields: &mut Fields) -> Result<String, RequestError> {
    match fields.string("model")? {
        Some(model) if !model.is_empty() => Ok(model),
        _ => Err(RequestError::field("model", "is required")),
    }
}

fn chat_options(fields: &mut Fields) -> Result<ChatOptions, RequestError> {
    let (tools, format) = (tools(fields)?, format(fields)?);
    if !tools.tools.is_empty() && format != Format::Text {
        return Err(RequestError::field("response_format", "can't be had together with tools: give one of both"));
    }
    let separates_reasoning = fields.flag("separate_reasoning", true)?;
    let template = match fields.take("chat_template_kwargs") {
        None => Map::new(),
        Some(Value::Object(values)) => values,
        Some(other) => return Err(wrong_kind("chat_template_kwargs", "an object", &other)),
    };
    Ok(ChatOptions { tools, format, separates_reasoning, template })
}

fn refuse_unsupported_chat(fields: &mut Fields) -> Result<(), RequestError> {
    fields.only("functions", &[json!([])])?;
    fields.only("function_call", &[json!("none"), json!("auto")])?;
    fields.only("modalities", &[json!(["text"])])?;
    for name in ["audio", "prediction", "web_search_options", "reasoning_effort", "verbosity"] {
        fields.only(name, &[])?;
    }
    fields.ignore(&["parallel_tool_calls"]);
    Ok(())
}

fn max_tokens(fields: &mut Fields, name: &str) -> Result<Option<usize>, RequestError> {
    Ok(fields.integer(name, 1, i64::from(u32::MAX))?.map(|tokens| tokens as usize))
}

/// The old and the new name of the same limit.
fn chat_max_tokens(fields: &mut Fields) -> Result<Option<usize>, RequestError> {
    match (max_tokens(fields, "max_completion_tokens")?, max_tokens(fields, "max_tokens")?) {
        (Some(new), Some(old)) if new != old => {
            Err(RequestError::field("max_tokens", format!("is {old}, but max_completion_tokens is {new}: give one")))
        }
        (new, old) => Ok(new.or(old)),
    }
}

/// An object from tokens, whose numbers are its keys, to what is added to their logits.
fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, RequestError> {
    let entry = |(name, value): (String, Value)| {
        let path = format!("logit_bias.{name}");
        let token = name.parse().map_err(|_| RequestError::field(&path, "must be the number of a token"))?;
        match value.as_f64() {
            Some(bias) if bias.abs() <= MOST_BIAS => Ok((token, bias as f32)),
            _ => Err(RequestError::field(&path, format!("must be a number from -{MOST_BIAS} to {MOST_BIAS}"))),
        }
    };
    match fields.take("logit_bias") {
        None => Ok(Vec::new()),
        Some(Value::Object(biases)) => biases.into_iter().map(entry).collect(),
        Some(other) => Err(wrong_kind("logit_bias", "an object", &other)),
    }
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, RequestError> {
    let stops = match fields.take("stop") {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) if stops.len() > MOST_STOPS => {
            return Err(RequestError::field(
                "stop",
                format!("must be at most {MOST_STOPS} strings, got {}", stops.len()),
            ));
        }
        Some(Value::Array(stops)) => {
            let string = |(at, stop): (usize, Value)| match stop {
                Value::String(stop) => Ok(stop),
                other => Err(wrong_kind(&format!("stop[{at}]"), "a string", &other)),
            };
            stops.into_iter().enumerate().map(string).collect::<Result<_, _>>()?
        }
        Some(other) => return Err(wrong_kind("stop", "a string or an array of strings", &other)),
    };
    match stops.iter().any(String::is_empty) {
        true => Err(RequestError::field("stop", "must not hold an empty string")),
        false => Ok(stops),
    }
}

fn delivery(fields: &mut Fields) -> Result<Delivery, RequestError> {
    let streams = fields.boolean("stream")?;
    let Some(options) = fields.take("stream_options") else {
        return Ok(if streams { Delivery::Streamed { include_usage: false } } else { Delivery::Whole });
    };
    if !streams {
        return Err(RequestError::field("stream_options", "needs stream to be true"));
    }
    let mut options = Fields::new("stream_options", options)?;
    let include_usage = options.boolean("include_usage")?;
    options.ignore(&["include_obfuscation"]);
    options.finish()?;
    Ok(Delivery::Streamed { include_usage })
}

/// A string, an array of one string, or an array of tokens.
pub fn prompt(path: &str, value: Value) -> Result<Input, RequestError> {
    match value {
        Value::String(text) => Ok(Input::Text(text)),
        Value::Array(mut items) if matches!(items.first(), Some(Value::String(_) | Value::Array(_))) => {
            if items.len() > 1 {
                let problem = "more than one prompt per request is not supported by this server; send one each";
                return Err(RequestError::field(path, problem));
            }
            prompt(&format!("{path}[0]"), items.remove(0))
        }
        Value::Array(items) if items.is_empty() => Err(RequestError::field(path, "must not be empty")),
        Value::Array(items) => {
            let token = |(at, item): (usize, &Value)| match item.as_u64().and_then(|token| u32::try_from(token).ok()) {
                Some(token) => Ok(token),
                None => Err(wrong_kind(&format!("{path}[{at}]"), "a token (a whole number)", item)),
            };
            Ok(Input::Tokens(items.iter().enumerate().map(token).collect::<Result<_, _>>()?))
        }
        other => Err(wrong_kind(path, "a string, an array of one string, or an array of tokens", &other)),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
