//! The events of a streamed answer: every text of every choice is one text that comes in pieces.
//!
//! ```text
//! event --its texts, by choice and path--> scanner -> restorer --> the same event with what is settled
//! ```
//! What is held back of a text comes out with the choice's end, or with the first piece of another text of it (the
//! answer after the reasoning).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::compile::Guards;
use crate::json::{CUT_TEXTS, is_binary, is_text};
use crate::lens::Lens;
use crate::scan::{Finding, Report, Scanner};
use crate::vault::{Restorer, Vault, Writing};

/// One streamed answer.
#[derive(Debug)]
pub struct AnswerStream {
    guards: Arc<Guards>,
    vault: Vault,
    texts: Vec<Text>,
    /// What all events have in common, for one of our own.
    head: Option<Map<String, Value>>,
    length: u64,
}

/// What came of an event.
#[derive(Debug, Default)]
pub struct Passed {
    /// The event's JSON as it may pass; none if it may as it is.
    pub changed: Option<String>,
    pub findings: Vec<Finding>,
    pub blocked: Option<usize>,
}

/// A text under way.
#[derive(Debug)]
struct Text {
    choice: u64,
    path: Vec<Step>,
    scanner: Scanner,
    restorer: Restorer,
    writing: Writing,
    /// Whether the event at hand has a piece of it.
    is_touched: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    /// Elements say which they are: an event has the ones that go on.
    Index(u64),
}

impl AnswerStream {
    pub fn new(guards: Arc<Guards>, vault: Vault) -> Self {
        Self { guards, vault, texts: Vec::new(), head: None, length: 0 }
    }

    /// Takes an event's JSON.
    pub fn event(&mut self, json: &str) -> Result<Passed, serde_json::Error> {
        let mut event: Map<String, Value> = serde_json::from_str(json)?;
        let before = event.clone();
        self.head.get_or_insert_with(|| head_of(&event));
        let mut report = Report::default();
        for (key, value) in &mut event {
            match value {
                Value::Array(choices) if key == "choices" => self.take_choices(choices, &mut report),
                value => self.take_whole(key, value, &mut report),
            }
        }
        let changed = (event != before).then(|| Value::Object(event).to_string());
        Ok(Passed { changed, findings: report.findings, blocked: report.blocked })
    }

    /// The stream ends: an event with what is held still, if something is.
    pub fn close(&mut self) -> Passed {
        let mut report = Report::default();
        let mut choices: Vec<Value> = Vec::new();
        for index in self.texts.iter().map(|text| text.choice).collect::<std::collections::BTreeSet<_>>() {
            let mut choice = json!({"index": index, "finish_reason": null});
            if self.put_tails(index, &mut choice, &mut report, |_| true) {
                choices.push(choice);
            }
        }
        let mut event = self.head.clone().unwrap_or_default();
        let has_tails = !choices.is_empty();
        event.insert("choices".to_owned(), Value::Array(choices));
        let changed = has_tails.then(|| Value::Object(event).to_string());
        Passed { changed, findings: report.findings, blocked: report.blocked }
    }

    /// Bytes held back of all texts.
    pub fn held(&self) -> usize {
        self.texts.iter().map(Text::held).sum()
    }

    fn lens(&self) -> &Lens {
        &self.guards.answer
    }

    fn take_choices(&mut self, choices: &mut [Value], report: &mut Report) {
        for (at, choice) in choices.iter_mut().enumerate() {
            let index = index_of(choice, at);
            if let Some(pieces) = choice.get_mut(CUT_TEXTS) {
                *pieces = Value::Null;
            }
            let mut has_piece = false;
            self.take_pieces(index, &mut Vec::new(), choice, &mut has_piece, report);
            let has_ended = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
            if has_piece || has_ended {
                self.put_tails(index, choice, report, |text| has_ended || !text.is_touched);
            }
            self.texts.iter_mut().for_each(|text| text.is_touched = false);
        }
    }

    fn take_pieces(
        &mut self,
        choice: u64,
        path: &mut Vec<Step>,
        value: &mut Value,
        has_piece: &mut bool,
        report: &mut Report,
    ) {
        match value {
            Value::Object(members) => {
                for (key, value) in members.iter_mut().filter(|(key, _)| is_text(key)) {
                    if key == "name" {
                        // A name comes whole, and before what it names.
                        self.take_whole(key, value, report);
                        continue;
                    }
                    path.push(Step::Key(key.clone()));
                    self.take_pieces(choice, path, value, has_piece, report);
                    path.pop();
                }
            }
            Value::Array(elements) => {
                for (at, element) in elements.iter_mut().enumerate() {
                    path.push(Step::Index(index_of(element, at)));
                    self.take_pieces(choice, path, element, has_piece, report);
                    path.pop();
                }
            }
            Value::String(piece) if !piece.is_empty() => {
                *has_piece = true;
                *piece = self.take_piece(choice, path, piece, report);
            }
            _ => {}
        }
    }

    fn take_piece(&mut self, choice: u64, path: &[Step], piece: &str, report: &mut Report) -> String {
        if self.is_too_long(piece, report) {
            return String::new();
        }
        let at = self.texts.iter().position(|text| text.choice == choice && text.path == path);
        let at = at.unwrap_or_else(|| {
            self.texts.push(Text::new(choice, path.to_vec()));
            self.texts.len() - 1
        });
        let text = &mut self.texts[at];
        text.is_touched = true;
        text.scanner.push(&self.guards.answer, piece, report, None);
        text.restorer.push(&self.vault, text.writing, &std::mem::take(&mut report.text))
    }

    fn is_too_long(&mut self, piece: &str, report: &mut Report) -> bool {
        self.length += piece.len() as u64;
        let limit = self.lens().limit_passed(self.length);
        if let Some(limit) = limit.filter(|_| report.blocked.is_none()) {
            report.block(limit);
        }
        report.blocked.is_some()
    }

    /// Ends texts of a choice and puts what was held of them into an event; whether there was something.
    fn put_tails(&mut self, choice: u64, into: &mut Value, report: &mut Report, ends: impl Fn(&Text) -> bool) -> bool {
        let mut has_tails = false;
        for text in self.texts.iter_mut().filter(|text| text.choice == choice && ends(text)) {
            text.scanner.finish(&self.guards.answer, report, None);
            let mut tail = text.restorer.push(&self.vault, text.writing, &std::mem::take(&mut report.text));
            tail += &text.restorer.finish(&self.vault, text.writing);
            if !tail.is_empty() {
                append(into, &text.path, &tail);
                has_tails = true;
            }
        }
        has_tails
    }

    /// A text that is not one of a choice's stands for itself.
    fn take_whole(&mut self, key: &str, value: &mut Value, report: &mut Report) {
        match value {
            Value::Object(members) => members.iter_mut().for_each(|(key, value)| self.take_whole(key, value, report)),
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.take_whole(key, element, report)),
            Value::String(text) if is_text(key) && !is_binary(text) && !self.is_too_long(text, report) => {
                Scanner::scan(self.lens(), text, report, None);
                let mut restorer = Restorer::default();
                *text = restorer.push(&self.vault, Writing::of(key), &std::mem::take(&mut report.text))
                    + &restorer.finish(&self.vault, Writing::of(key));
            }
            _ => {}
        }
    }
}

impl Text {
    fn new(choice: u64, path: Vec<Step>) -> Self {
        let writing = match path.last() {
            Some(Step::Key(key)) => Writing::of(key),
            _ => Writing::Plain,
        };
        Self { choice, path, scanner: Scanner::default(), restorer: Restorer::default(), writing, is_touched: false }
    }

    fn held(&self) -> usize {
        self.scanner.held() + self.restorer.held()
    }
}

fn head_of(event: &Map<String, Value>) -> Map<String, Value> {
    event
        .iter()
        .filter(|(key, _)| !is_text(key) || *key == "created")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn index_of(element: &Value, at: usize) -> u64 {
    element.get("index").and_then(Value::as_u64).unwrap_or(at as u64)
}

/// Appends to the text at a path, which is made where it is missing.
fn append(value: &mut Value, path: &[Step], tail: &str) {
    match (path, value) {
        ([], Value::String(text)) => text.push_str(tail),
        ([], value) => *value = Value::from(tail),
        ([Step::Key(key), rest @ ..], Value::Object(members)) => {
            append(members.entry(key.as_str()).or_insert(Value::Null), rest, tail);
        }
        ([Step::Index(index), rest @ ..], Value::Array(elements)) => {
            let found = elements.iter().enumerate().position(|(at, element)| index_of(element, at) == *index);
            let at = found.unwrap_or_else(|| {
                elements.push(json!({"index": index}));
                elements.len() - 1
            });
            append(&mut elements[at], rest, tail);
        }
        ([Step::Key(_), ..], value) => {
            *value = json!({});
            append(value, path, tail);
        }
        ([Step::Index(_), ..], value) => {
            *value = json!([]);
            append(value, path, tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(vault: Vault) -> AnswerStream {
        let config = serde_json::from_value(json!({"redact": {}})).unwrap();
        AnswerStream::new(Arc::new(Guards::compile(&config).unwrap()), vault)
    }

    fn pass(stream: &mut AnswerStream, event: &Value) -> Value {
        let passed = stream.event(&event.to_string()).unwrap();
        passed.changed.map_or_else(|| event.clone(), |json| serde_json::from_str(&json).unwrap())
    }

    fn delta(delta: Value) -> Value {
        json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    }

    #[test]
    fn reasoning_comes_out_before_the_answer_begins() {
        let mut stream = stream(Vault::default());
        let first = pass(&mut stream, &delta(json!({"reasoning_content": "hm, a@b.de"})));
        assert_eq!(first["choices"][0]["delta"]["reasoning_content"], "hm, ");
        let second = pass(&mut stream, &delta(json!({"content": "Yes "})));
        assert_eq!(second["choices"][0]["delta"], json!({"content": "Yes ", "reasoning_content": "<EMAIL_ADDRESS>"}));
    }

    #[test]
    fn arguments_of_calls_are_texts_of_their_own() {
        let mut vault = Vault::default();
        let placeholder = vault.placeholder("EMAIL_ADDRESS", "a\"b@c.de");
        let mut stream = stream(vault);
        let call = |index: u64, text: &str| json!({"index": index, "function": {"arguments": text}});
        let named =
            json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "send", "arguments": ""}});
        assert_eq!(pass(&mut stream, &delta(json!({"tool_calls": [named]}))), delta(json!({"tool_calls": [named]})));
        let both =
            json!({"tool_calls": [call(1, "{\"x\":\"e@f.g"), call(0, &format!("{{\"to\":\"{placeholder}\"}}"))]});
        let event = pass(&mut stream, &delta(both));
        assert_eq!(event["choices"][0]["delta"]["tool_calls"][0], call(1, "{\"x\":\""));
        assert_eq!(event["choices"][0]["delta"]["tool_calls"][1], call(0, r#"{"to":"a\"b@c.de"}"#));
        let mut last = delta(json!({}));
        last["choices"][0]["finish_reason"] = json!("tool_calls");
        let event = pass(&mut stream, &last);
        assert_eq!(event["choices"][0]["delta"], json!({"tool_calls": [call(1, "e@f.g")]}));
        assert!(stream.close().changed.is_none());
    }

    #[test]
    fn pieces_in_tokens_are_left_out_and_what_is_no_choice_stands_for_itself() {
        let mut stream = stream(Vault::default());
        let event =
            json!({"choices": [{"index": 0, "text": "hi ", "logprobs": {"tokens": ["a@", "b.de"]}}], "note": "a@b.de"});
        let expected = json!({"choices": [{"index": 0, "text": "hi ", "logprobs": null}], "note": "<EMAIL_ADDRESS>"});
        assert_eq!(pass(&mut stream, &event), expected);
    }

    proptest! {
        #[test]
        fn choices_do_not_mix(pieces in proptest::collection::vec((0..2_u64, "[a-z@. ]{1,4}|@x\\.de "), 0..24)) {
            let mut streamed = stream(Vault::default());
            let (mut given, mut told) = ([String::new(), String::new()], [String::new(), String::new()]);
            let note = |event: &Value, told: &mut [String; 2]| {
                for choice in event["choices"].as_array().unwrap() {
                    told[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
                }
            };
            for (choice, piece) in &pieces {
                given[*choice as usize] += piece;
                note(&pass(&mut streamed, &json!({"choices": [{"index": choice, "text": piece}]})), &mut told);
                prop_assert!(streamed.held() <= 2 * crate::MAX_HELD);
            }
            if let Some(json) = streamed.close().changed {
                note(&serde_json::from_str(&json).unwrap(), &mut told);
            }
            let expected = given.map(|text| {
                let mut report = Report::default();
                Scanner::scan(&streamed.guards.answer, &text, &mut report, None);
                report.text
            });
            prop_assert_eq!(told, expected);
        }
    }
}
