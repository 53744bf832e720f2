//! What an answer's text is made of: reasoning, content, and calls of tools. It comes in pieces, and each is told as soon
//! as it is certain what it is.
//!
//! ```text
//! <think> reasoning </think> content <tool_call> {"name": .., "arguments": ..} </tool_call>
//! ```

use crate::tool_calls::{ToolCall, ToolFormat};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// How an answer is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub thinking: Thinking,
    pub tools: Option<ToolFormat>,
}

impl Reading {
    /// Text as it comes.
    pub const PLAIN: Self = Self { thinking: Thinking::Off, tools: None };
}

/// Where an answer's reasoning begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// It is not told from content.
    Off,
    /// With `<think>`, if the model begins with that.
    Marked,
    /// With the answer: the prompt ends with `<think>`.
    Begun,
}

/// What became certain. Both may be empty; reasoning comes before content.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    pub reasoning: String,
    pub content: String,
}

#[derive(Debug)]
pub struct Reader {
    place: Place,
    held: String,
    /// White space around the markers belongs to nobody.
    skips_space: bool,
    calls: Option<Calls>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Beginning,
    Reasoning,
    Content,
}

impl Reader {
    pub fn new(reading: Reading) -> Self {
        let place = match reading.thinking {
            Thinking::Off => Place::Content,
            Thinking::Marked => Place::Beginning,
            Thinking::Begun => Place::Reasoning,
        };
        let calls = reading.tools.map(|format| Calls { format, state: State::Looking, held: String::new() });
        Self { place, held: String::new(), skips_space: place == Place::Reasoning, calls }
    }

    pub fn push(&mut self, text: &str) -> Piece {
        let mut piece = self.divide(text);
        if let Some(calls) = &mut self.calls {
            piece.content = calls.push(&piece.content);
        }
        piece
    }

    /// The answer ended: what was held back, and the calls.
    pub fn finish(&mut self) -> (Piece, Vec<ToolCall>) {
        let held = std::mem::take(&mut self.held);
        let mut piece = match self.place {
            Place::Reasoning => Piece { reasoning: held, content: String::new() },
            Place::Beginning | Place::Content => Piece { reasoning: String::new(), content: held },
        };
        let Some(calls) = &mut self.calls else { return (piece, Vec::new()) };
        piece.content = calls.push(&piece.content);
        let (rest, found) = calls.finish();
        piece.content.push_str(&rest);
        (piece, found)
    }

    fn divide(&mut self, text: &str) -> Piece {
        let mut piece = Piece::default();
        self.held.push_str(text);
        if self.place == Place::Beginning && !self.find_opening() {
            return piece;
        }
        if self.place == Place::Reasoning {
            let closed = self.held.find(CLOSE);
            let end = closed.unwrap_or_else(|| self.held.len() - begun(&self.held, CLOSE));
            let reasoning: String = self.held.drain(..end).collect();
            piece.reasoning = self.without_space(reasoning);
            if closed.is_none() {
                return piece;
            }
            self.held.drain(..CLOSE.len());
            (self.place, self.skips_space) = (Place::Content, true);
        }
        let content = std::mem::take(&mut self.held);
        piece.content = self.without_space(content);
        piece
    }

    /// Whether it is certain now how the answer begins.
    fn find_opening(&mut self) -> bool {
        let text = self.held.trim_start();
        if let Some(rest) = text.strip_prefix(OPEN) {
            self.held = rest.to_owned();
            (self.place, self.skips_space) = (Place::Reasoning, true);
        } else if OPEN.starts_with(text) {
            return false;
        } else {
            self.place = Place::Content;
        }
        true
    }

    fn without_space(&mut self, text: String) -> String {
        if !self.skips_space {
            return text;
        }
        let rest = text.trim_start();
        self.skips_space = rest.is_empty();
        rest.to_owned()
    }
}

/// Looks for calls in content.
#[derive(Debug)]
struct Calls {
    format: ToolFormat,
    state: State,
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Looking,
    Found,
    /// There can be none any more.
    Passed,
}

impl Calls {
    /// What of the content is certainly no call.
    fn push(&mut self, content: &str) -> String {
        self.held.push_str(content);
        match self.state {
            State::Found => return String::new(),
            State::Passed => return std::mem::take(&mut self.held),
            State::Looking => {}
        }
        let shown = match self.format.marker() {
            Some(marker) => match self.held.find(marker) {
                Some(at) => {
                    self.state = State::Found;
                    at
                }
                None => self.held.len() - begun(&self.held, marker),
            },
            None => {
                self.state = match self.held.trim_start().chars().next() {
                    None => State::Looking,
                    Some('{' | '[') => State::Found,
                    Some(_) => State::Passed,
                };
                if self.state == State::Passed { self.held.len() } else { 0 }
            }
        };
        self.held.drain(..shown).collect()
    }

    /// What could not be read as calls is content after all.
    fn finish(&mut self) -> (String, Vec<ToolCall>) {
        let held = std::mem::take(&mut self.held);
        match (self.state == State::Found).then(|| self.format.read(&held)).flatten() {
            Some(calls) => (String::new(), calls),
            None => (held, Vec::new()),
        }
    }
}

/// Bytes at the end of a text that may become a marker.
fn begun(text: &str, marker: &str) -> usize {
    let ends = text.char_indices().map(|(at, _)| &text[at..]);
    ends.filter(|end| end.len() < marker.len()).find(|end| marker.starts_with(end)).map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const THINKS: Reading = Reading { thinking: Thinking::Marked, tools: None };

    fn read(reading: Reading, chunks: &[&str]) -> (Piece, Vec<ToolCall>) {
        let mut reader = Reader::new(reading);
        let mut all = Piece::default();
        for chunk in chunks {
            let piece = reader.push(chunk);
            all.reasoning += &piece.reasoning;
            all.content += &piece.content;
        }
        let (rest, calls) = reader.finish();
        (Piece { reasoning: all.reasoning + &rest.reasoning, content: all.content + &rest.content }, calls)
    }

    fn divided(reading: Reading, text: &str) -> (String, String) {
        let (piece, _) = read(reading, &[text]);
        (piece.reasoning, piece.content)
    }

    #[test]
    fn reasoning_is_told_from_content() {
        let pair = |reasoning: &str, content: &str| (reasoning.to_owned(), content.to_owned());
        assert_eq!(divided(THINKS, "<think>\nHm.\n</think>\n\nYes."), pair("Hm.\n", "Yes."));
        assert_eq!(divided(THINKS, "Yes <think>."), pair("", "Yes <think>."));
        assert_eq!(divided(THINKS, "<think>cut o"), pair("cut o", ""));
        assert_eq!(divided(THINKS, "<thin"), pair("", "<thin"));
        let begun = Reading { thinking: Thinking::Begun, ..THINKS };
        assert_eq!(divided(begun, "Hm.</think>Yes."), pair("Hm.", "Yes."));
        assert_eq!(divided(begun, "</think>\n\nYes.</think>"), pair("", "Yes.</think>"));
        assert_eq!(divided(Reading::PLAIN, "<think>a</think>b"), pair("", "<think>a</think>b"));
    }

    #[test]
    fn calls_are_taken_out_of_content() {
        let tagged = Reading { thinking: Thinking::Off, tools: Some(ToolFormat::Tagged) };
        let call = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>";
        let (piece, calls) = read(tagged, &["Wait. ", call]);
        assert_eq!((piece.content.as_str(), calls.len(), calls[0].name.as_str()), ("Wait. ", 1, "add"));
        let broken = "<tool_call>{\"name\": ";
        assert_eq!(read(tagged, &[broken]), (Piece { content: broken.to_owned(), ..Piece::default() }, Vec::new()));
        let bare = Reading { tools: Some(ToolFormat::Bare), ..tagged };
        let (piece, calls) = read(bare, &["{\"name\": \"add\", ", "\"parameters\": {}}"]);
        assert_eq!((piece.content.as_str(), calls[0].arguments.as_str()), ("", "{}"));
        assert_eq!(read(bare, &["I say {\"name\": 1}"]).0.content, "I say {\"name\": 1}");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_text_is_cut(
            words in prop::collection::vec(prop::sample::select(vec!["<think>", "</think>", " ", "\n", "a", "<", "é", "<tool_call>", "{}", "</tool_call>"]), 0..12),
            cut in 1usize..6,
        ) {
            let text = words.concat();
            let characters: Vec<char> = text.chars().collect();
            let chunks: Vec<String> = characters.chunks(cut).map(|chunk| chunk.iter().collect()).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            for thinking in [Thinking::Off, Thinking::Marked, Thinking::Begun] {
                for tools in [None, Some(ToolFormat::Tagged), Some(ToolFormat::Bare)] {
                    let reading = Reading { thinking, tools };
                    prop_assert_eq!(read(reading, &chunks), read(reading, &[&text]));
                }
            }
        }
    }
}
