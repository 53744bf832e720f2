//! The JSON of answers, in the OpenAI API's shapes.

use serde_json::{Value, json};

use crate::sequence::{FinishReason, NamedToken, TokenReport, Usage};
use crate::tool_calls::ToolCall;

/// Which of the two forms a client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Chat,
    Completion,
}

/// One whole answer.
#[derive(Debug, Clone)]
pub struct Choice {
    pub reasoning: String,
    pub content: String,
    pub calls: Vec<ToolCall>,
    pub reports: Vec<TokenReport>,
    pub reason: FinishReason,
}

/// What all parts of one answer have in common.
#[derive(Debug, Clone)]
pub struct Heading {
    pub form: Form,
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    pub model: String,
    pub wants_logprobs: bool,
}

impl Heading {
    pub fn new(form: Form, model: &str, wants_logprobs: bool) -> Self {
        let prefix = match form {
            Form::Chat => "chatcmpl",
            Form::Completion => "cmpl",
        };
        let id = format!("{prefix}-{:032x}", rand::random::<u128>());
        Self { form, id, created: jiff::Timestamp::now().as_second(), model: model.to_owned(), wants_logprobs }
    }

    /// All choices at once.
    pub fn whole(&self, choices: &[Choice], usage: Usage) -> Value {
        let object = match self.form {
            Form::Chat => "chat.completion",
            Form::Completion => "text_completion",
        };
        let choices = choices.iter().enumerate().map(|(index, choice)| self.choice(index, choice)).collect();
        let mut answer = self.envelope(object, choices);
        answer["usage"] = usage_json(usage);
        answer
    }

    fn choice(&self, index: usize, choice: &Choice) -> Value {
        let logprobs = self.logprobs(&choice.reports, 0);
        let json = match self.form {
            Form::Chat => json!({"index": index, "message": message(choice), "logprobs": logprobs}),
            Form::Completion => json!({"index": index, "text": choice.content, "logprobs": logprobs}),
        };
        finished(json, Some(choice.reason))
    }

    /// The first part of a streamed choice of a chat, which names the role; completions have none.
    pub fn opening(&self, index: usize) -> Option<Value> {
        (self.form == Form::Chat)
            .then(|| self.chunk(index, json!({"role": "assistant", "content": ""}), "", Value::Null, None))
    }

    /// Some text of a streamed choice; `offset` is the number of characters before it.
    pub fn part(&self, index: usize, text: &str, reports: &[TokenReport], offset: usize) -> Value {
        self.chunk(index, json!({"content": text}), text, self.logprobs(reports, offset), None)
    }

    /// Some reasoning of a streamed choice.
    pub fn reasoning(&self, index: usize, text: &str, reports: &[TokenReport]) -> Value {
        self.chunk(index, json!({"reasoning_content": text}), "", self.logprobs(reports, 0), None)
    }

    /// All calls of a streamed choice.
    pub fn calls(&self, index: usize, calls: &[ToolCall]) -> Value {
        self.chunk(index, json!({"tool_calls": tool_calls(calls)}), "", Value::Null, None)
    }

    /// The end of a streamed choice.
    pub fn closing(&self, index: usize, reason: FinishReason) -> Value {
        self.chunk(index, json!({}), "", Value::Null, Some(reason))
    }

    /// The extra part with the numbers of tokens.
    pub fn usage_part(&self, usage: Usage) -> Value {
        let mut part = self.envelope(self.chunk_object(), Vec::new());
        part["usage"] = usage_json(usage);
        part
    }

    fn chunk(&self, index: usize, delta: Value, text: &str, logprobs: Value, reason: Option<FinishReason>) -> Value {
        let choice = match self.form {
            Form::Chat => json!({"index": index, "delta": delta, "logprobs": logprobs}),
            Form::Completion => json!({"index": index, "text": text, "logprobs": logprobs}),
        };
        self.envelope(self.chunk_object(), vec![finished(choice, reason)])
    }

    const fn chunk_object(&self) -> &'static str {
        match self.form {
            Form::Chat => "chat.completion.chunk",
            Form::Completion => "text_completion",
        }
    }

    fn envelope(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }

    fn logprobs(&self, reports: &[TokenReport], offset: usize) -> Value {
        match self.form {
            _ if !self.wants_logprobs => Value::Null,
            Form::Chat => json!({"content": reports.iter().map(chat_report).collect::<Vec<_>>(), "refusal": null}),
            Form::Completion => completion_reports(reports, offset),
        }
    }
}

/// The list of served models: this one.
pub fn models(name: &str, created: i64) -> Value {
    json!({"object": "list", "data": [model(name, created)]})
}

pub fn model(name: &str, created: i64) -> Value {
    json!({"id": name, "object": "model", "created": created, "owned_by": "dsserve"})
}

fn message(choice: &Choice) -> Value {
    let has_content = choice.calls.is_empty() || !choice.content.trim().is_empty();
    let content = has_content.then_some(choice.content.as_str());
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !choice.reasoning.is_empty() {
        message["reasoning_content"] = json!(choice.reasoning);
    }
    if !choice.calls.is_empty() {
        message["tool_calls"] = tool_calls(&choice.calls);
    }
    message
}

fn tool_calls(calls: &[ToolCall]) -> Value {
    let call = |(index, call): (usize, &ToolCall)| {
        let id = format!("call_{:024x}", rand::random::<u128>() >> 32);
        json!({"index": index, "id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
    };
    calls.iter().enumerate().map(call).collect()
}

fn finished(mut choice: Value, reason: Option<FinishReason>) -> Value {
    choice["finish_reason"] = json!(reason.map(FinishReason::name));
    choice
}

fn usage_json(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

fn chat_report(report: &TokenReport) -> Value {
    let named = |token: &NamedToken| json!({"token": token.name, "logprob": token.logprob, "bytes": token.bytes});
    let mut entry = named(&report.token);
    entry["top_logprobs"] = report.top.iter().map(named).collect();
    entry
}

/// The older form: parallel lists, and for each token a map of its rivals.
fn completion_reports(reports: &[TokenReport], offset: usize) -> Value {
    let mut offsets = Vec::with_capacity(reports.len());
    let mut at = offset;
    for report in reports {
        offsets.push(at);
        at += report.token.name.chars().count();
    }
    let rivals = |report: &TokenReport| -> Value {
        report
            .top
            .iter()
            .map(|token| (token.name.clone(), json!(token.logprob)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!({
        "tokens": reports.iter().map(|report| report.token.name.as_str()).collect::<Vec<_>>(),
        "token_logprobs": reports.iter().map(|report| report.token.logprob).collect::<Vec<_>>(),
        "top_logprobs": reports.iter().map(rivals).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}
