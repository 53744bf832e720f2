//! From a valid request to tokens that fit the context.

use std::sync::Arc;

use spec::openai::ErrorKind;

use crate::chat_template::{ChatTemplate, TemplateError};
use crate::request::{Input, ValidRequest};
use crate::request_fields::RequestError;
use crate::sampler::Sampling;
use crate::tokenizer::{Begin, Tokenizer};

const TOO_LONG: &str = "context_length_exceeded";

/// What the engine needs of a request. Prompt and answer together fit the context.
#[derive(Debug)]
pub struct Job {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// At least one.
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    pub ignore_end: bool,
}

/// The model's way with text.
#[derive(Debug)]
pub struct Language {
    pub tokenizer: Arc<Tokenizer>,
    pub template: Option<ChatTemplate>,
    pub context: usize,
}

impl Language {
    pub fn prepare(&self, request: ValidRequest) -> Result<Job, RequestError> {
        let param = if matches!(request.input, Input::Chat(_)) { "messages" } else { "prompt" };
        let prompt = self.tokens(request.input, param)?;
        let max_tokens = fit(prompt.len(), request.max_tokens, self.context, param)?;
        let (sampling, stop, ignore_end) = (request.sampling, request.stop, request.ignore_end);
        Ok(Job { prompt, max_tokens, sampling, stop, ignore_end })
    }

    fn tokens(&self, input: Input, param: &str) -> Result<Vec<u32>, RequestError> {
        let encode = |text: &str, begin| {
            // Splitting takes long for a long text: what can't fit in any way is not split at all.
            let fewest = self.tokenizer.fewest_tokens(text);
            if fewest >= self.context {
                return Err(too_long(&format!("at least {fewest}"), self.context, param));
            }
            let tokens = self.tokenizer.encode(text, begin);
            tokens.map_err(|error| RequestError::new(ErrorKind::Server, error.to_string()))
        };
        match input {
            Input::Chat(messages) => {
                let template = self.template.as_ref().ok_or_else(|| {
                    RequestError::field("messages", "this model has no chat template: use /v1/completions")
                })?;
                let text = template.render(&messages).map_err(|error| template_error(&error))?;
                encode(&text, Begin::AsWritten)
            }
            Input::Text(text) => encode(&text, Begin::AsModelWants),
            Input::Tokens(tokens) => self.check_tokens(tokens),
        }
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
