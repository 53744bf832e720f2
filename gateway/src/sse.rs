//! Watching a stream of server-sent events as it passes: where events end, and which one is the end.
//!
//! ```text
//! chunks, cut anywhere --push--> held --next--> whole events, byte for byte, each with what it says
//! ```
//! Only whole events come out, so that whatever cuts the stream, what the client has is whole events, and an event of
//! our own can follow. Format: WHATWG HTML, "Server-sent events"; the end mark `[DONE]` is the OpenAI API's.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::cost::Usage;

/// An event longer than this is none: no answer has such, and it has to be held to be seen.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// The end of a stream.
const DONE: &[u8] = b"[DONE]";

/// Something whole that came out of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub bytes: Bytes,
    pub kind: EventKind,
    pub usage: Option<Usage>,
    /// A choice of it ended by the upstream's filter.
    pub is_refused: bool,
}

/// What an event or a whole answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub kind: EventKind,
    pub usage: Option<Usage>,
    /// A choice of it ended by the upstream's filter.
    pub is_refused: bool,
}

impl Said {
    const fn without_usage(kind: EventKind) -> Self {
        Self { kind, usage: None, is_refused: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A comment, or an event without data: a sign of life.
    Silent,
    /// A JSON object: a piece of the answer.
    Piece,
    /// A JSON object with an `error`, or an event of that name.
    Error,
    /// Data that is no JSON object.
    Unreadable,
    /// `data: [DONE]`.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// Reads one stream. Lines end in LF, CRLF or CR, as the format allows.
#[derive(Debug, Default)]
pub struct SseWatch {
    held: BytesMut,
    /// Bytes of `held` already looked at.
    seen: usize,
    line_start: usize,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    block: Block,
}

/// The event under way.
#[derive(Debug, Default)]
struct Block {
    data: Vec<u8>,
    has_data: bool,
    has_field: bool,
    is_error: bool,
}

impl SseWatch {
    /// Takes more bytes of the stream; all whole events should have been taken out before.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), TooLong> {
        if self.held.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.held.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole event; `None` until more bytes come.
    pub fn next(&mut self) -> Option<Event> {
        while let Some(&byte) = self.held.get(self.seen) {
            self.seen += 1;
            if byte == b'\n' && std::mem::take(&mut self.after_cr) {
                self.line_start = self.seen;
                continue;
            }
            self.after_cr = byte == b'\r';
            if matches!(byte, b'\n' | b'\r') {
                let line = self.line_start..self.seen - 1;
                self.take_rest_of_line_end();
                self.line_start = self.seen;
                if let Some(said) = self.block.take_line(&self.held[line]) {
                    return Some(self.release(said));
                }
            }
        }
        None
    }

    /// The stream is over. If what is held is the end mark without its blank line, it is the end all the same, and
    /// comes out completed.
    pub fn finish(&mut self) -> Option<Event> {
        let line = self.held.split_off(self.line_start);
        self.block.take_line(&line);
        let is_done = self.block.said().kind == EventKind::Done;
        let bytes = Bytes::from_static(b"data: [DONE]\n\n");
        is_done.then_some(Event { bytes, kind: EventKind::Done, usage: None, is_refused: false })
    }

    /// CRLF that came in one piece goes out in one piece.
    fn take_rest_of_line_end(&mut self) {
        if self.after_cr && self.held.get(self.seen) == Some(&b'\n') {
            self.seen += 1;
            self.after_cr = false;
        }
    }

    fn release(&mut self, Said { kind, usage, is_refused }: Said) -> Event {
        let bytes = self.held.split_to(self.seen).freeze();
        self.seen = 0;
        self.line_start = 0;
        self.block = Block::default();
        Event { bytes, kind, usage, is_refused }
    }
}

impl Block {
    /// Takes a line without its end; gives what the event says that it completes.
    fn take_line(&mut self, line: &[u8]) -> Option<Said> {
        if line.is_empty() {
            return Some(self.said());
        }
        let (name, value) = match line.iter().position(|b| *b == b':') {
            None => (line, &b""[..]),
            // A comment says nothing; before any field it need not wait for the event to pass on.
            Some(0) => return (!self.has_field).then_some(Said::without_usage(EventKind::Silent)),
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
        };
        self.has_field = true;
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.is_error = value == b"error",
            _ => {}
        }
        None
    }

    fn said(&self) -> Said {
        let data = self.data.trim_ascii();
        if !self.has_data {
            Said::without_usage(EventKind::Silent)
        } else if data == DONE {
            Said::without_usage(EventKind::Done)
        } else if self.is_error {
            Said::without_usage(EventKind::Error)
        } else {
            read_object(data)
        }
    }
}

/// An event's data, and before it the line with its name, if it has one.
pub fn data_of(event: &[u8]) -> (String, Vec<u8>) {
    let (mut name, mut data) = (String::new(), Vec::new());
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if let Some(value) = line.strip_prefix(b"data:") {
            data.extend_from_slice(value);
            data.push(b'\n');
        } else if line.starts_with(b"event:") {
            name = format!("{}\n", String::from_utf8_lossy(line));
        }
    }
    (name, data)
}

/// What an answer's JSON says: a piece, or an error; and its tokens, if it says them.
pub fn read_object(json: &[u8]) -> Said {
    #[derive(Deserialize)]
    struct Head {
        error: Option<IgnoredAny>,
        usage: Option<Value>,
        choices: Option<Value>,
    }
    // A derived struct would read an array too.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Said::without_usage(EventKind::Unreadable);
    }
    match serde_json::from_slice::<Head>(json) {
        Ok(Head { error: Some(_), .. }) => Said::without_usage(EventKind::Error),
        Ok(Head { error: None, usage, choices }) => Said {
            kind: EventKind::Piece,
            usage: usage.as_ref().and_then(Usage::read),
            is_refused: choices.as_ref().is_some_and(is_refused),
        },
        Err(_) => Said::without_usage(EventKind::Unreadable),
    }
}

fn is_refused(choices: &Value) -> bool {
    let is_filtered = |choice: &Value| choice.get("finish_reason").and_then(Value::as_str) == Some("content_filter");
    choices.as_array().is_some_and(|choices| choices.iter().any(is_filtered))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn watch(chunks: &[&[u8]]) -> (Vec<Event>, Option<Event>) {
        let mut watch = SseWatch::default();
        let mut events = Vec::new();
        for chunk in chunks {
            watch.push(chunk).unwrap();
            events.extend(std::iter::from_fn(|| watch.next()));
        }
        (events, watch.finish())
    }

    fn kinds(text: &str) -> Vec<EventKind> {
        let (events, end) = watch(&[text.as_bytes()]);
        events.into_iter().chain(end).map(|event| event.kind).collect()
    }

    #[test]
    fn what_the_upstreams_filter_ended_is_refused() {
        for (json, expected) in [
            (r#"{"choices":[{"finish_reason":"content_filter"}]}"#, true),
            (r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":"content_filter"}]}"#, true),
            (r#"{"choices":[{"finish_reason":"stop"}]}"#, false),
            (r#"{"choices":[{"text":"content_filter"}]}"#, false),
            (r#"{"choices":"content_filter"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(read_object(json.as_bytes()).is_refused, expected, "{json}");
        }
    }

    #[test]
    fn each_event_says_what_it_is() {
        use EventKind::*;
        for (text, expected) in [
            ("data: {\"a\":1}\n\n", vec![Piece]),
            ("data:{}\r\n\r\n", vec![Piece]),
            ("data: {}\r\r", vec![Piece]),
            ("data: {\ndata: }\n\n", vec![Piece]),
            ("event: x\nid: 1\ndata: {}\n\n", vec![Piece]),
            (": ping\n", vec![Silent]),
            (": ping\n\n", vec![Silent, Silent]),
            ("retry: 3\n\n", vec![Silent]),
            ("data: {\"error\":{\"message\":\"x\"}}\n\n", vec![Error]),
            ("data: {\"error\":null}\n\n", vec![Piece]),
            ("event: error\ndata: oh\n\n", vec![Error]),
            ("data: {\"a\":\n\n", vec![Unreadable]),
            ("data: [1]\n\n", vec![Unreadable]),
            ("data\n\n", vec![Unreadable]),
            ("data: [DONE]\n\n", vec![Done]),
            ("data:[DONE] \r\n\r\n", vec![Done]),
            ("data: [DONE]\n", vec![Done]),
            ("data: [DONE]", vec![Done]),
            ("data: [DONE", vec![]),
            ("data: {}", vec![]),
            ("data: {\"text\":\"[DONE]\"}\n\n", vec![Piece]),
            ("data: {}\n\ndata: [DONE]\n\n", vec![Piece, Done]),
            ("", vec![]),
        ] {
            assert_eq!(kinds(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_event_comes_out_with_its_last_byte() {
        let mut watch = SseWatch::default();
        watch.push(b"data: {}\n").unwrap();
        assert_eq!(watch.next(), None);
        watch.push(b"\n").unwrap();
        assert_eq!(&watch.next().unwrap().bytes[..], b"data: {}\n\n");
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut watch = SseWatch::default();
        let chunk = vec![b'x'; 1 << 20];
        let refused = (0..64).find(|_| {
            let refused = watch.push(&chunk).is_err();
            assert_eq!(watch.next(), None);
            refused
        });
        assert!(refused.is_some_and(|chunks| chunks >= 16), "{refused:?}");
    }

    fn any_stream() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just("data: {\"choices\":[]}"),
            Just("data: {\"error\":{}}"),
            Just("data: [DONE]"),
            Just("data: {"),
            Just("data: }"),
            Just(": comment"),
            Just("event: error"),
            Just("id: 1"),
            Just("data: é\u{2028}"),
            Just(""),
            Just(""),
        ];
        let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
        proptest::collection::vec((line, end), 0..24)
            .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [line, end]).collect::<String>().into_bytes())
    }

    /// Kinds, and all bytes but line feeds: where the LF of a split CRLF goes depends on the cut, and means nothing.
    fn seen(events: &(Vec<Event>, Option<Event>)) -> (Vec<EventKind>, Vec<u8>, bool) {
        let (events, end) = events;
        let bytes = events.iter().flat_map(|event| event.bytes.to_vec()).filter(|b| *b != b'\n').collect();
        (events.iter().map(|event| event.kind).collect(), bytes, end.is_some())
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(stream in any_stream(), cuts in proptest::collection::vec(0usize..600, 0..12)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let single: Vec<&[u8]> = stream.chunks(1).collect();
            let whole = watch(&[&stream]);
            prop_assert_eq!(seen(&watch(&chunks)), seen(&whole));
            prop_assert_eq!(seen(&watch(&single)), seen(&whole));
            let out: Vec<u8> = whole.0.iter().flat_map(|event| event.bytes.to_vec()).collect();
            prop_assert!(stream.starts_with(&out));
        }

        #[test]
        fn no_bytes_make_it_panic(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..16), 0..8)) {
            watch(&chunks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
}
