//! From a request for text to its answer, whole or in parts.
//!
//! ```text
//! choice 0: events -> Reader -> pieces \
//! choice 1: events -> Reader -> pieces  > one answer, or one stream of parts, each with its choice's number
//! ```

use std::pin::Pin;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream::{Stream, StreamExt, select_all, unfold};
use serde_json::{Value, json};
use spec::openai::ErrorKind;

use crate::answer::{Choice, Form, Heading};
use crate::engine::Generation;
use crate::http::{Refusal, check_model, json_body, service, splitting};
use crate::reading::{Piece, Reader, Reading};
use crate::request::{Delivery, ValidRequest};
use crate::sequence::{Event, FinishReason, TokenReport, Usage};
use crate::serve::App;
use crate::tool_calls::ToolCall;

pub async fn generate(app: &App, form: Form, request: Request) -> Result<Response, Refusal> {
    let service = service(app)?;
    let body = json_body(request).await?;
    let valid = match form {
        Form::Chat => ValidRequest::chat(&body)?,
        Form::Completion => ValidRequest::completion(&body)?,
    };
    check_model(app, &valid.model)?;
    let heading = Heading::new(form, &app.model_name, valid.sampling.logprobs.is_some());
    let delivery = valid.delivery;
    let engine = service.engine.clone();
    let prepared = splitting(move || service.language.prepare(valid)).await?;
    let generations = prepared.jobs.into_iter().map(|job| engine.submit(job)).collect::<Result<Vec<_>, _>>()?;
    match delivery {
        Delivery::Whole => whole(&heading, generations, prepared.reading).await,
        Delivery::Streamed { include_usage } => streamed(heading, generations, prepared.reading, include_usage).await,
    }
}

/// Something of one choice.
enum Part {
    Text(String, Vec<TokenReport>),
    End(FinishReason, Usage),
}

type Parts = Pin<Box<dyn Stream<Item = (usize, Result<Part, Refusal>)> + Send>>;

/// The parts of all choices as they come; each choice ends with its end or a failure. Dropping it stops all of them.
fn parts(generations: Vec<Generation>) -> Parts {
    let of_choice = |(index, generation): (usize, Generation)| {
        let next = async move |mut generation: Generation| {
            let part = part(generation.next().await);
            let goes_on = matches!(part, Ok(Part::Text(..)));
            ((index, part), goes_on.then_some(generation))
        };
        Box::pin(unfold(Some(generation), move |left| async move { Some(next(left?).await) }))
    };
    Box::pin(select_all(generations.into_iter().enumerate().map(of_choice).collect::<Vec<_>>()))
}

fn part(event: Option<Event>) -> Result<Part, Refusal> {
    match event {
        Some(Event::Text { text, logprobs }) => Ok(Part::Text(text, logprobs)),
        Some(Event::Finished { reason, usage }) => Ok(Part::End(reason, usage)),
        Some(Event::Failed(message)) => Err(Refusal::failed(ErrorKind::Server, message)),
        Some(Event::Aborted) => Err(Refusal::failed(ErrorKind::Unavailable, "the server is shutting down")),
        None => Err(Refusal::failed(ErrorKind::Server, "the engine has stopped")),
    }
}

/// The prompt is counted once.
fn add_usage(total: &mut Usage, choice: Usage) {
    total.prompt_tokens = choice.prompt_tokens;
    total.cached_tokens = total.cached_tokens.max(choice.cached_tokens);
    total.completion_tokens += choice.completion_tokens;
}

/// An answer with calls ends for their sake, unless it was cut.
fn reason(engine: FinishReason, calls: &[ToolCall]) -> FinishReason {
    if calls.is_empty() || engine == FinishReason::Length { engine } else { FinishReason::ToolCalls }
}

async fn whole(heading: &Heading, generations: Vec<Generation>, reading: Reading) -> Result<Response, Refusal> {
    let empty = |_: &Generation| {
        let (reasoning, content, calls, reports) = (String::new(), String::new(), Vec::new(), Vec::new());
        (Reader::new(reading), Choice { reasoning, content, calls, reports, reason: FinishReason::Stop })
    };
    let mut choices: Vec<(Reader, Choice)> = generations.iter().map(empty).collect();
    let mut usage = Usage::default();
    let mut parts = parts(generations);
    while let Some((index, part)) = parts.next().await {
        let (reader, choice) = &mut choices[index];
        let piece = match part? {
            Part::Text(text, reports) => {
                choice.reports.extend(reports);
                reader.push(&text)
            }
            Part::End(ended, of_choice) => {
                let (piece, calls) = reader.finish();
                choice.reason = reason(ended, &calls);
                choice.calls = calls;
                add_usage(&mut usage, of_choice);
                piece
            }
        };
        choice.reasoning.push_str(&piece.reasoning);
        choice.content.push_str(&piece.content);
    }
    let choices: Vec<Choice> = choices.into_iter().map(|(_, choice)| choice).collect();
    Ok(Json(heading.whole(&choices, usage)).into_response())
}

/// Waits for the first event before the head of the answer is sent: until then a failure still has its own status, and
/// whoever stands in front can still turn to another server.
async fn streamed(
    heading: Heading,
    generations: Vec<Generation>,
    reading: Reading,
    include_usage: bool,
) -> Result<Response, Refusal> {
    let mut choices: Vec<StreamedChoice> = (0..generations.len()).map(|at| StreamedChoice::new(at, reading)).collect();
    let mut parts = parts(generations);
    let first = match parts.next().await {
        Some((index, part)) => (index, part?),
        None => return Err(Refusal::failed(ErrorKind::Server, "the engine has stopped")),
    };
    let events = async_stream::stream! {
        for opening in choices.iter().filter_map(|choice| heading.opening(choice.index)) {
            yield data(opening, include_usage);
        }
        let mut usage = Usage::default();
        let mut next: Option<(usize, Result<Part, Refusal>)> = Some((first.0, Ok(first.1)));
        while let Some((index, part)) = next {
            let part = match part {
                Ok(part) => part,
                Err(refusal) => {
                    yield data(json!(refusal.error.body()), false);
                    return;
                }
            };
            if let Part::End(_, of_choice) = &part {
                add_usage(&mut usage, *of_choice);
            }
            for chunk in choices[index].chunks(&heading, part) {
                yield data(chunk, include_usage);
            }
            next = parts.next().await;
        }
        if include_usage {
            yield data(heading.usage_part(usage), false);
        }
        yield Ok(Bytes::from_static(b"data: [DONE]\n\n"));
    };
    let head = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((head, Body::from_stream(events)).into_response())
}

/// What a stream knows of one of its choices.
struct StreamedChoice {
    index: usize,
    reader: Reader,
    /// Characters of content that were sent.
    offset: usize,
    /// Reports of tokens whose text is held back by the reader.
    reports: Vec<TokenReport>,
}

impl StreamedChoice {
    fn new(index: usize, reading: Reading) -> Self {
        Self { index, reader: Reader::new(reading), offset: 0, reports: Vec::new() }
    }

    fn chunks(&mut self, heading: &Heading, part: Part) -> Vec<Value> {
        match part {
            Part::Text(text, reports) => {
                self.reports.extend(reports);
                let piece = self.reader.push(&text);
                // Reports of tokens without text, such as the one that ended the answer, come by themselves.
                if text.is_empty() { vec![self.content(heading, "")] } else { self.pieces(heading, &piece) }
            }
            Part::End(ended, _) => {
                let (piece, calls) = self.reader.finish();
                let mut chunks = self.pieces(heading, &piece);
                if !self.reports.is_empty() {
                    chunks.push(self.content(heading, ""));
                }
                if !calls.is_empty() {
                    chunks.push(heading.calls(self.index, &calls));
                }
                chunks.push(heading.closing(self.index, reason(ended, &calls)));
                chunks
            }
        }
    }

    fn pieces(&mut self, heading: &Heading, piece: &Piece) -> Vec<Value> {
        let mut chunks = Vec::new();
        if !piece.reasoning.is_empty() {
            let reports = std::mem::take(&mut self.reports);
            chunks.push(heading.reasoning(self.index, &piece.reasoning, &reports));
        }
        if !piece.content.is_empty() {
            chunks.push(self.content(heading, &piece.content));
        }
        chunks
    }

    fn content(&mut self, heading: &Heading, text: &str) -> Value {
        let reports = std::mem::take(&mut self.reports);
        let chunk = heading.part(self.index, text, &reports, self.offset);
        self.offset += text.chars().count();
        chunk
    }
}

/// One server-sent event. With `include_usage` every part but the last one says that it has no usage.
fn data(mut value: Value, null_usage: bool) -> Result<Bytes, std::convert::Infallible> {
    if null_usage {
        value["usage"] = Value::Null;
    }
    Ok(Bytes::from(format!("data: {value}\n\n")))
}
