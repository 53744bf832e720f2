//! A request's body: checked to be a JSON object with a model, and otherwise left as the client wrote it.
//!
//! Only the bytes of the model's name are replaced. What is re-serialised is changed somewhere (a number with twenty
//! digits, a key given twice); what is spliced is not.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// A body that can be sent to any upstream.
#[derive(Debug, Clone)]
pub struct RequestBody {
    bytes: Bytes,
    /// Where the model's name stands, quotes included; all places, should it be given more than once.
    places: Vec<Range<usize>>,
    pub model: String,
    pub user: Option<String>,
    /// What the answer may have at the most, in tokens, if the request says it.
    pub max_tokens: Option<u64>,
    /// That it asks for.
    pub answers: u64,
}

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is not UTF-8: byte {at} is not")]
    NotUtf8 { at: usize },
    #[error("the body is not valid JSON: {0}")]
    NotJson(String),
    #[error("the body must be a JSON object, not {0}")]
    NotObject(&'static str),
    #[error("you must give a model: \"model\" is missing")]
    NoModel,
    #[error("\"model\" must be a non-empty string, not {0}")]
    ModelNotText(&'static str),
}

impl BodyError {
    /// The field of the request that is at fault, if it is one.
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            Self::NoModel | Self::ModelNotText(_) => Some("model"),
            Self::NotUtf8 { .. } | Self::NotJson(_) | Self::NotObject(_) => None,
        }
    }
}

impl RequestBody {
    pub fn parse(bytes: Bytes) -> Result<Self, BodyError> {
        let text = std::str::from_utf8(&bytes).map_err(|error| BodyError::NotUtf8 { at: error.valid_up_to() })?;
        let mut json = serde_json::Deserializer::from_str(text);
        let head = HeadSeed.deserialize(&mut json).and_then(|head| json.end().map(|()| head));
        let head = head.map_err(|error| BodyError::NotJson(error.to_string()))?.map_err(BodyError::NotObject)?;
        let (max_tokens, answers) = (head.max_tokens(), head.answers());
        let model = match head.model {
            None => return Err(BodyError::NoModel),
            Some(Value::String(name)) if !name.is_empty() => name,
            Some(Value::String(_)) => return Err(BodyError::ModelNotText("an empty one")),
            Some(other) => return Err(BodyError::ModelNotText(kind_of(&other))),
        };
        let user = head.user.and_then(|user| user.as_str().filter(|user| !user.is_empty()).map(str::to_owned));
        let places = places_of(&bytes, "model");
        Ok(Self { bytes, places, model, user, max_tokens, answers })
    }

    /// As it is sent, but for the model's name.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same request in other words; what routes it stays as the client wrote it.
    #[must_use]
    pub fn reworded(&self, bytes: Bytes) -> Self {
        let places = places_of(&bytes, "model");
        Self { bytes, places, model: self.model.clone(), user: self.user.clone(), ..*self }
    }

    /// The same body with another model's name.
    pub fn with_model(&self, name: &str) -> Bytes {
        if name == self.model && self.places.len() == 1 {
            return self.bytes.clone();
        }
        let name = Value::from(name).to_string();
        let mut out = Vec::with_capacity(self.bytes.len() + name.len() * self.places.len());
        let mut from = 0;
        for place in &self.places {
            out.extend_from_slice(&self.bytes[from..place.start]);
            out.extend_from_slice(name.as_bytes());
            from = place.end;
        }
        out.extend_from_slice(&self.bytes[from..]);
        Bytes::from(out)
    }
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The members that dsgate looks at; of one that is given twice the last counts, as everywhere.
#[derive(Default)]
struct Head {
    model: Option<Value>,
    user: Option<Value>,
    max_tokens: Option<Value>,
    n: Option<Value>,
    best_of: Option<Value>,
    prompt: Option<Value>,
    max_completion_tokens: Option<Value>,
}

/// No upstream generates more in one answer.
const MOST_TOKENS: u64 = u32::MAX as u64;

fn number(value: Option<&Value>) -> Option<u64> {
    value.and_then(Value::as_u64).map(|number| number.min(MOST_TOKENS))
}

impl Head {
    /// Whichever of the two limits is larger: which one an upstream goes by is not known here.
    fn max_tokens(&self) -> Option<u64> {
        let limits = [self.max_completion_tokens.as_ref(), self.max_tokens.as_ref()];
        limits.into_iter().filter_map(number).max()
    }

    /// Choices of each prompt.
    fn answers(&self) -> u64 {
        let choices = [self.n.as_ref(), self.best_of.as_ref()].into_iter().filter_map(number).max().unwrap_or(1).max(1);
        let prompts = match &self.prompt {
            Some(Value::Array(all)) if all.iter().any(|one| !one.is_number()) => all.len() as u64,
            _ => 1,
        };
        choices.saturating_mul(prompts)
    }
}

/// Reads any JSON value: a head from an object, the kind's name from anything else.
struct HeadSeed;

impl<'de> DeserializeSeed<'de> for HeadSeed {
    type Value = Result<Head, &'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for HeadSeed {
    type Value = Result<Head, &'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut head = Head::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "model" => head.model = Some(map.next_value()?),
                "user" => head.user = Some(map.next_value()?),
                "max_tokens" => head.max_tokens = Some(map.next_value()?),
                "max_completion_tokens" => head.max_completion_tokens = Some(map.next_value()?),
                "n" => head.n = Some(map.next_value()?),
                "best_of" => head.best_of = Some(map.next_value()?),
                "prompt" => head.prompt = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Ok(head))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err("an array"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err("a string"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err("null"))
    }
}

/// Where the values of a top-level member stand, in a text that is known to be a JSON object.
fn places_of(text: &[u8], wanted: &str) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut at = skip(text, 0, b"{");
    while text.get(at) == Some(&b'"') {
        let key_end = end_of_string(text, at);
        let is_wanted = String::deserialize(&mut serde_json::Deserializer::from_slice(&text[at..key_end]))
            .is_ok_and(|key| key == wanted);
        let start = skip(text, key_end, b":");
        let end = end_of_value(text, start);
        if is_wanted {
            places.push(start..end);
        }
        at = skip(text, end, b",");
    }
    places
}

/// The next place that is neither white space nor one of `punctuation`.
fn skip(text: &[u8], from: usize, punctuation: &[u8]) -> usize {
    let is_skipped = |b: &u8| b.is_ascii_whitespace() || punctuation.contains(b);
    from + text[from..].iter().take_while(|b| is_skipped(b)).count()
}

fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn end_of_value(text: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut depth = 0_usize;
    while at < text.len() {
        match text[at] {
            b'"' => at = end_of_string(text, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            b'}' | b']' | b',' if depth == 0 => return at,
            b if depth == 0 && b.is_ascii_whitespace() => return at,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;

    fn parse(text: &str) -> Result<RequestBody, BodyError> {
        RequestBody::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn renamed(text: &str, name: &str) -> String {
        String::from_utf8(parse(text).unwrap().with_model(name).to_vec()).unwrap()
    }

    #[test]
    fn all_that_may_be_generated_is_counted() {
        let most = |rest: &str| {
            let body = parse(&format!("{{\"model\":\"m\",{rest}}}")).unwrap();
            (body.max_tokens, body.answers)
        };
        assert_eq!(most("\"n\":3"), (None, 3));
        assert_eq!(most("\"max_completion_tokens\":0,\"max_tokens\":100000"), (Some(100_000), 1));
        assert_eq!(most("\"max_tokens\":18446744073709551615,\"best_of\":4"), (Some(MOST_TOKENS), 4));
        assert_eq!(most("\"max_tokens\":5,\"n\":2,\"prompt\":[\"a\",\"b\",\"c\"]"), (Some(5), 6));
        assert_eq!(most("\"prompt\":[1,2,3],\"n\":0"), (None, 1));
    }

    #[test]
    fn only_the_name_is_touched() {
        let text = " {\"n\":123456789012345678901234567890, \"model\" :\t\"a\\\"}\" ,\"t\":1.10,\"x\":{\"model\":\"a\"},\n\"e\":1E400}\n";
        assert_eq!(renamed(text, "b/\"c\""), text.replacen("\"a\\\"}\"", "\"b/\\\"c\\\"\"", 1));
        assert_eq!(renamed(text, "a\"}"), text);
    }

    #[test]
    fn a_name_given_twice_or_in_escapes_leaves_no_way_around() {
        assert_eq!(renamed(r#"{"model":"x","model":"y"}"#, "z"), r#"{"model":"z","model":"z"}"#);
        assert_eq!(renamed(r#"{"model":["x"],"model":"y"}"#, "y"), r#"{"model":"y","model":"y"}"#);
        assert_eq!(renamed(r#"{"mod\u0065l":"x"}"#, "z"), r#"{"mod\u0065l":"z"}"#);
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_place() {
        for (bad, hint) in [
            ("", "line 1 column 0"),
            ("{\"model\":\n \"x\",}", "line 2"),
            ("{\"model\":\"x\"} {}", "trailing characters"),
            ("{\"model\":\"x\", \"a\": 01}", "column"),
            ("[1]", "not an array"),
            ("3", "not a number"),
            ("\"s\"", "not a string"),
            ("null", "not null"),
            ("true", "not a boolean"),
            ("{}", "\"model\" is missing"),
            ("{\"model\":null}", "not null"),
            ("{\"model\":7}", "not a number"),
            ("{\"model\":\"\"}", "not an empty one"),
            ("{\"model\":{\"a\":[]}}", "not an object"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
        let error = RequestBody::parse(Bytes::from_static(b"{\"model\":\"\xff\"}")).unwrap_err();
        assert_eq!(error, BodyError::NotUtf8 { at: 10 });
        assert_eq!(parse("{}").unwrap_err().param(), Some("model"));
    }

    #[test]
    fn deep_nesting_is_no_trouble() {
        let deep = format!("{{\"a\":{}{},\"model\":\"x\"}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(renamed(&deep, "y").ends_with(",\"model\":\"y\"}"));
        assert!(parse(&format!("{{\"model\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000))).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
            Just(Value::from("model")),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((any_key(), inner), 0..6).prop_map(object),
            ]
        })
    }

    fn any_key() -> impl Strategy<Value = String> {
        prop_oneof![".{0,8}".boxed(), Just("model".to_owned()).boxed(), Just("user".to_owned()).boxed()]
    }

    fn object(members: Vec<(String, Value)>) -> Value {
        Value::Object(members.into_iter().collect::<Map<_, _>>())
    }

    proptest! {
        #[test]
        fn every_object_keeps_everything_but_the_name(
            before in proptest::collection::vec((any_key(), any_json()), 0..4),
            after in proptest::collection::vec((any_key(), any_json()), 0..4),
            old in ".{1,8}", new in ".{1,8}", is_pretty in any::<bool>(),
        ) {
            let mut members = before;
            members.extend(after);
            members.retain(|(key, _)| key != "model");
            let middle = members.len() / 2;
            members.insert(middle, ("model".to_owned(), Value::from(old.clone())));
            let value = object(members);
            let write = |value: &Value| {
                if is_pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap()
            };
            let text = write(&value);

            let body = parse(&text).unwrap();
            prop_assert_eq!(&body.model, &old);
            let renamed = body.with_model(&new);
            let mut expected = value.clone();
            expected["model"] = Value::from(new);
            prop_assert_eq!(std::str::from_utf8(&renamed).unwrap(), write(&expected));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = RequestBody::parse(Bytes::from(bytes));
        }
    }
}
