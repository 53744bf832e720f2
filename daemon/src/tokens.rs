//! `/tokenize` and `/detokenize`, in vLLM's shapes: what a text is for this model, and back.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::http::{Refusal, check_model, json_body, service, splitting};
use crate::request::{Input, prompt, read_json};
use crate::request_fields::{Fields, RequestError};
use crate::request_messages::messages;
use crate::serve::App;
use crate::tokenizer::{Begin, Detokenizer, Tokenizer};

/// `{"prompt": ..}` or `{"messages": ..}`.
pub async fn tokenize(app: &App, request: Request) -> Result<Response, Refusal> {
    let service = service(app)?;
    let mut fields = read_json(&json_body(request).await?)?;
    named(app, &mut fields)?;
    let begin = if fields.flag("add_special_tokens", true)? { Begin::AsModelWants } else { Begin::AsWritten };
    let input = match fields.take("messages") {
        Some(value) => Input::Chat(messages(value)?),
        None => prompt("prompt", fields.required("prompt")?)?,
    };
    fields.ignore(&["add_generation_prompt"]);
    fields.finish()?;
    let context = service.language.context();
    let tokens = splitting(move || service.language.tokens(&input, begin)).await?;
    Ok(Json(json!({"count": tokens.len(), "max_model_len": context, "tokens": tokens})).into_response())
}

/// `{"tokens": [..]}`. Tokens that are no text, such as the one that ends a turn, are given by their names.
pub async fn detokenize(app: &App, request: Request) -> Result<Response, Refusal> {
    let service = service(app)?;
    let mut fields = read_json(&json_body(request).await?)?;
    named(app, &mut fields)?;
    let tokens = match prompt("tokens", fields.required("tokens")?)? {
        Input::Tokens(tokens) => service.language.tokens(&Input::Tokens(tokens), Begin::AsWritten)?,
        Input::Chat(_) | Input::Text(_) => {
            return Err(RequestError::field("tokens", "must be an array of tokens").into());
        }
    };
    fields.finish()?;
    let text = text(service.language.tokenizer(), &tokens);
    Ok(Json(json!({"prompt": Value::from(text)})).into_response())
}

/// The model may be left out.
fn named(app: &App, fields: &mut Fields) -> Result<(), RequestError> {
    fields.string("model")?.map_or(Ok(()), |name| check_model(app, &name))
}

fn text(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    let mut detokenizer = Detokenizer::default();
    let mut text = String::new();
    for token in tokens {
        let name = tokenizer.name(*token);
        let bytes = if tokenizer.is_control(*token) { name.as_bytes() } else { tokenizer.bytes(*token) };
        text.push_str(&detokenizer.push(bytes));
    }
    text + &detokenizer.finish()
}
