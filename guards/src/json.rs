//! Every text of a JSON body, each changed where it stands: the rest stays byte for byte as it was written.

use std::borrow::Cow;

/// Members that name things of the API's own, not of anybody's.
const NO_TEXTS: &[&str] =
    &["model", "role", "type", "object", "id", "tool_call_id", "finish_reason", "system_fingerprint", "service_tier"];

/// Pieces of the answer once more, cut into tokens: no scanner sees through that, so they are left out.
pub(crate) const CUT_TEXTS: &str = "logprobs";

/// Whether a member holds text that somebody wrote.
pub fn is_text(key: &str) -> bool {
    !NO_TEXTS.contains(&key)
}

/// A picture or a sound, written out: nothing to be read, and chance would find numbers in it.
pub fn is_binary(text: &str) -> bool {
    let Some((_, data)) = text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) else { return false };
    data.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

/// What happens to `logprobs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutTexts {
    Keep,
    Drop,
}

/// An object or an array that is open.
struct Level {
    is_object: bool,
    is_key_next: bool,
    /// An array's elements have the key of the array.
    key: String,
}

/// Shows every text of a body that is known to be JSON, with its key; what `change` gives takes its place.
pub fn rewrite(json: &str, cut: CutTexts, change: &mut dyn FnMut(&str, &str) -> Option<String>) -> Option<String> {
    let bytes = json.as_bytes();
    let mut levels: Vec<Level> = Vec::new();
    let mut out = String::new();
    let (mut at, mut written) = (0, 0);
    let mut put = |from: usize, to: usize, text: &str| {
        out.push_str(&json[written..from]);
        out.push_str(text);
        written = to;
    };
    while at < bytes.len() {
        let key = levels.last().map_or("", |level| level.key.as_str());
        match bytes[at] {
            b'"' => {
                let end = end_of_string(bytes, at);
                let text = unquoted(&json[at..end]);
                if levels.last().is_some_and(|level| level.is_key_next) {
                    name(&mut levels, text.into_owned());
                } else if let Some(changed) = change(key, &text) {
                    put(at, end, &serde_json::Value::from(changed).to_string());
                }
                at = end;
                continue;
            }
            b'{' | b'[' if key == CUT_TEXTS && cut == CutTexts::Drop => {
                let end = end_of_group(bytes, at);
                put(at, end, "null");
                at = end;
                continue;
            }
            b'{' => levels.push(Level { is_object: true, is_key_next: true, key: String::new() }),
            b'[' => {
                let key = key.to_owned();
                levels.push(Level { is_object: false, is_key_next: false, key });
            }
            b'}' | b']' => drop(levels.pop()),
            b',' => {
                if let Some(level) = levels.last_mut() {
                    level.is_key_next = level.is_object;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (written > 0).then(|| out + &json[written..])
}

/// Takes the key of the member that comes.
fn name(levels: &mut [Level], key: String) {
    if let Some(level) = levels.last_mut() {
        level.key = key;
        level.is_key_next = false;
    }
}

fn unquoted(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    match serde_json::from_str(quoted) {
        Ok(text) => Cow::Owned(text),
        // Half a character in escapes: it can't be shown, but what stands around it can.
        Err(_) => Cow::Borrowed(inner),
    }
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn end_of_group(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let key = prop_oneof![any::<String>(), Just("content".to_owned()), Just(CUT_TEXTS.to_owned())];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// What a reader of the whole would do.
    fn changed(value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(format!("{text}\"é")),
            Value::Array(elements) => elements.iter().map(changed).collect(),
            Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), changed(value))).collect(),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn it_changes_what_a_reader_of_the_whole_would(value in any_json(), is_pretty in any::<bool>()) {
            let written = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let json = written.unwrap();
            let rewritten = rewrite(&json, CutTexts::Keep, &mut |_, text| Some(format!("{text}\"é")));
            let rewritten: Value = serde_json::from_str(rewritten.as_deref().unwrap_or(&json)).unwrap();
            prop_assert_eq!(rewritten, changed(&value));
        }
    }

    fn shown(json: &str) -> Vec<(String, String)> {
        let mut shown = Vec::new();
        rewrite(json, CutTexts::Keep, &mut |key, text| {
            shown.push((key.to_owned(), text.to_owned()));
            None
        });
        shown
    }

    #[test]
    fn every_text_is_shown_with_its_key() {
        let json = r#"{"a":"x", "b":["y\n",{"c":"z"}, "\"w"],"d":1,"e":{"f":true},"a":"v","g\u0041":"u"}"#;
        let expected = [("a", "x"), ("b", "y\n"), ("c", "z"), ("b", "\"w"), ("a", "v"), ("gA", "u")];
        assert_eq!(shown(json), expected.map(|(key, text)| (key.to_owned(), text.to_owned())));
    }

    #[test]
    fn only_what_changes_is_written_anew() {
        let json = r#"{"n": 123456789012345678901234567890, "t":[ "a","\u0062" ], "k" : 1.10}"#;
        let changed = rewrite(json, CutTexts::Keep, &mut |_, text| (text == "b").then(|| "\"c".to_owned()));
        assert_eq!(changed.unwrap(), json.replace(r#""\u0062""#, r#""\"c""#));
        assert_eq!(rewrite(json, CutTexts::Keep, &mut |_, _| None), None);
    }

    #[test]
    fn texts_in_tokens_are_left_out_if_wished() {
        let json = r#"{"choices":[{"logprobs":{"content":[{"token":"a]"}]},"x":"y"},{"logprobs":null}]}"#;
        let expected = r#"{"choices":[{"logprobs":null,"x":"y"},{"logprobs":null}]}"#;
        assert_eq!(rewrite(json, CutTexts::Drop, &mut |_, _| None).unwrap(), expected);
    }

    #[test]
    fn only_what_is_all_base_64_is_no_text() {
        assert!(is_binary("data:image/png;base64,iVBORw0KGgo="));
        assert!(!is_binary("data:image/png;base64,write to a@b.de"));
    }
}
