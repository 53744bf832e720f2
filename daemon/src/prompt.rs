//! From a valid request to tokens that fit the context.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use spec::openai::ErrorKind;

use crate::chat_template::{ChatTemplate, Extras, TemplateError};
use crate::constraint::{Constraint, ConstraintError, Vocabulary};
use crate::reading::{Reading, Thinking};
use crate::request::{ChatOptions, Input, ValidRequest};
use crate::request_fields::RequestError;
use crate::request_messages::ChatMessage;
use crate::request_tools::ToolChoice;
use crate::sampler::Sampling;
use crate::tokenizer::{Begin, Tokenizer};
use crate::tool_calls::ToolFormat;

const TOO_LONG: &str = "context_length_exceeded";

/// What the engine needs of a request. Prompt and answer together fit the context.
#[derive(Debug, Clone)]
pub struct Job {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// At least one.
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    pub ignore_end: bool,
    pub constraint: Option<Constraint>,
}

/// A request as the engine gets it, and how its answers are read.
#[derive(Debug)]
pub struct Prepared {
    /// One for each choice.
    pub jobs: Vec<Job>,
    pub reading: Reading,
}

/// The model's way with text.
#[derive(Debug)]
pub struct Language {
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    context: usize,
    /// Made when the first answer is held to a schema.
    vocabulary: OnceLock<Result<Vocabulary, ConstraintError>>,
}

impl Language {
    pub fn new(tokenizer: Arc<Tokenizer>, template: Option<ChatTemplate>, context: usize) -> Self {
        Self { tokenizer, template, context, vocabulary: OnceLock::new() }
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub fn context(&self) -> usize {
        self.context
    }

    pub fn prepare(&self, request: ValidRequest) -> Result<Prepared, RequestError> {
        let param = if matches!(request.input, Input::Chat(_)) { "messages" } else { "prompt" };
        let mut reading = self.reading(&request);
        let prompt = match &request.input {
            Input::Chat(messages) => {
                let text = self.render(messages, &request.chat)?;
                if reading.thinking == Thinking::Marked && text.trim_end().ends_with("<think>") {
                    reading.thinking = Thinking::Begun;
                }
                self.encode(&text, Begin::AsWritten, param)?
            }
            Input::Text(text) => self.encode(text, Begin::AsModelWants, param)?,
            Input::Tokens(tokens) => self.check_tokens(tokens.clone())?,
        };
        let max_tokens = fit(prompt.len(), request.max_tokens, self.context, param)?;
        let constraint = self.constraint(&request.chat, &mut reading)?;
        let ValidRequest { sampling, stop, ignore_end, choices, .. } = request;
        let job = Job { prompt, max_tokens, sampling, stop, ignore_end, constraint };
        let nth = |choice: usize| {
            let mut job = job.clone();
            job.sampling.seed = job.sampling.seed.map(|seed| seed.wrapping_add(choice as u64));
            job
        };
        Ok(Prepared { jobs: (0..choices).map(nth).collect(), reading })
    }

    /// The tokens of a conversation, or of a text.
    pub fn tokens(&self, input: &Input, begin: Begin) -> Result<Vec<u32>, RequestError> {
        match input {
            Input::Chat(messages) => {
                self.encode(&self.render(messages, &ChatOptions::default())?, Begin::AsWritten, "messages")
            }
            Input::Text(text) => self.encode(text, begin, "prompt"),
            Input::Tokens(tokens) => self.check_tokens(tokens.clone()),
        }
    }

    fn reading(&self, request: &ValidRequest) -> Reading {
        let Some(template) = self.template.as_ref().filter(|_| matches!(request.input, Input::Chat(_))) else {
            return Reading::PLAIN;
        };
        let thinks = template.thinks && request.chat.separates_reasoning;
        let thinking = if thinks { Thinking::Marked } else { Thinking::Off };
        let tools = match request.chat.tools.choice {
            _ if request.chat.tools.tools.is_empty() => None,
            ToolChoice::Auto => template.tools,
            ToolChoice::Required | ToolChoice::Named(_) => Some(ToolFormat::Bare),
        };
        Reading { thinking, tools }
    }

    fn render(&self, messages: &[ChatMessage], chat: &ChatOptions) -> Result<String, RequestError> {
        let template = self
            .template
            .as_ref()
            .ok_or_else(|| RequestError::field("messages", "this model has no chat template: use /v1/completions"))?;
        let tools = &chat.tools.tools;
        if !tools.is_empty() && template.tools.is_none() {
            let problem = "this model's chat template knows no tools";
            return Err(RequestError::field("tools", problem).with_code("unsupported_parameter"));
        }
        let extras = Extras { tools, values: &chat.template };
        template.render(messages, extras).map_err(|error| template_error(&error))
    }

    /// What the answer is held to. Reasoning is free: that comes first, up to the token that ends it.
    fn constraint(&self, chat: &ChatOptions, reading: &mut Reading) -> Result<Option<Constraint>, RequestError> {
        let (schema, param) = match (chat.tools.schema(), chat.format.schema()) {
            (Some(schema), _) => (schema, "tools"),
            (None, Some(schema)) => (schema, "response_format"),
            (None, None) => return Ok(None),
        };
        let constraint = self.follow(schema).map_err(|error| RequestError::field(param, error))?;
        let end = self.tokenizer.token_named("</think>").filter(|_| reading.thinking == Thinking::Begun);
        if end.is_none() {
            reading.thinking = Thinking::Off;
        }
        Ok(Some(match end {
            Some(end) => constraint.after(end),
            None => constraint,
        }))
    }

    fn follow(&self, schema: Value) -> Result<Constraint, ConstraintError> {
        let vocabulary = self.vocabulary.get_or_init(|| Vocabulary::new(&self.tokenizer));
        vocabulary.as_ref().map_err(Clone::clone)?.follow(schema)
    }

    fn encode(&self, text: &str, begin: Begin, param: &str) -> Result<Vec<u32>, RequestError> {
        // Splitting takes long for a long text: what can't fit in any way is not split at all.
        let fewest = self.tokenizer.fewest_tokens(text);
        if fewest >= self.context {
            return Err(too_long(&format!("at least {fewest}"), self.context, param));
        }
        let tokens = self.tokenizer.encode(text, begin);
        tokens.map_err(|error| RequestError::new(ErrorKind::Server, error.to_string()))
    }

    fn check_tokens(&self, tokens: Vec<u32>) -> Result<Vec<u32>, RequestError> {
        let count = self.tokenizer.vocabulary();
        match tokens.iter().enumerate().find(|(_, token)| **token as usize >= count) {
            Some((at, token)) => {
                let problem = format!("token {token} does not exist: the model has {count} tokens");
                Err(RequestError::field(&format!("prompt[{at}]"), problem))
            }
            None => Ok(tokens),
        }
    }
}

fn template_error(error: &TemplateError) -> RequestError {
    RequestError::field("messages", error)
}

/// How many tokens the answer may have.
fn fit(prompt: usize, asked: Option<usize>, context: usize, param: &str) -> Result<usize, RequestError> {
    if prompt == 0 {
        return Err(RequestError::field(param, "must not be empty"));
    }
    let room = context.saturating_sub(prompt);
    if room == 0 {
        return Err(too_long(&prompt.to_string(), context, param));
    }
    match asked {
        Some(asked) if asked > room => {
            let problem = format!(
                "{asked} tokens after a prompt of {prompt} are more than the context of {context} holds: ask for at most {room}"
            );
            Err(RequestError::field("max_tokens", problem).with_code(TOO_LONG))
        }
        asked => Ok(asked.unwrap_or(room)),
    }
}

fn too_long(prompt: &str, context: usize, param: &str) -> RequestError {
    let problem = format!("the prompt has {prompt} tokens, and prompt and answer together may have {context}");
    RequestError::field(param, problem).with_code(TOO_LONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_gets_the_room_that_is_left() {
        assert_eq!(fit(10, None, 100, "prompt"), Ok(90));
        assert_eq!(fit(10, Some(90), 100, "prompt"), Ok(90));
        assert_eq!(fit(99, None, 100, "prompt"), Ok(1));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        for (prompt, asked, param) in
            [(100, None, "messages"), (500, Some(1), "messages"), (10, Some(91), "max_tokens")]
        {
            let error = fit(prompt, asked, 100, "messages").unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Some(TOO_LONG), Some(param)));
            assert!(error.message.contains(&prompt.to_string()) && error.message.contains("100"), "{error}");
        }
        assert_eq!(fit(0, None, 100, "prompt").unwrap_err().param.as_deref(), Some("prompt"));
    }
}
