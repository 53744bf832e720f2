//! Calls of tools as models write them, in three dialects; which one is a model's is seen in its chat template.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": .., "arguments": ..}</tool_call>`: Qwen and Hermes.
    Tagged,
    /// DeepSeek's own markers around a name and a fenced object.
    DeepSeek,
    /// The object alone: Llama 3.1, and whatever is made to call a tool.
    Bare,
}

const TAGGED: [&str; 2] = ["<tool_call>", "</tool_call>"];
const CALLS: &str = "<｜tool▁calls▁begin｜>";
const CALL: [&str; 2] = ["<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"];
const SEPARATOR: &str = "<｜tool▁sep｜>";

impl ToolFormat {
    /// `None` if a template does nothing with tools.
    pub fn of_template(source: &str) -> Option<Self> {
        if source.contains(CALLS) {
            Some(Self::DeepSeek)
        } else if !source.contains("tools") {
            None
        } else if source.contains(TAGGED[0]) {
            Some(Self::Tagged)
        } else {
            Some(Self::Bare)
        }
    }

    /// What stands before the first call; `None` if the call is all that the content is.
    pub const fn marker(self) -> Option<&'static str> {
        match self {
            Self::Tagged => Some(TAGGED[0]),
            Self::DeepSeek => Some(CALLS),
            Self::Bare => None,
        }
    }

    /// The calls in a text that begins with the marker; `None` if one of them can't be read.
    pub fn read(self, text: &str) -> Option<Vec<ToolCall>> {
        let calls: Vec<ToolCall> = match self {
            Self::Tagged => between(text, TAGGED).map(object).collect::<Option<_>>()?,
            Self::DeepSeek => between(text, CALL).map(fenced).collect::<Option<_>>()?,
            Self::Bare => bare(text)?,
        };
        (!calls.is_empty()).then_some(calls)
    }
}

/// The last one may lack its end: models stop there.
fn between<'a>(text: &'a str, [begin, end]: [&'static str; 2]) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).map(move |part| part.split(end).next().unwrap_or(part))
}

fn object(text: &str) -> Option<ToolCall> {
    call(serde_json::from_str(text.trim()).ok()?)
}

fn bare(text: &str) -> Option<Vec<ToolCall>> {
    match serde_json::from_str(text.trim()).ok()? {
        Value::Array(calls) => calls.into_iter().map(call).collect(),
        one => Some(vec![call(one)?]),
    }
}

fn call(mut value: Value) -> Option<ToolCall> {
    let name = value.get("name")?.as_str()?.to_owned();
    let arguments = ["arguments", "parameters"].into_iter().find_map(|key| value.get_mut(key).map(Value::take));
    let arguments = match arguments {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text,
        Some(object) => object.to_string(),
    };
    Some(ToolCall { name, arguments })
}

/// `function<｜tool▁sep｜>NAME`, then the arguments between fences.
fn fenced(text: &str) -> Option<ToolCall> {
    let (name, rest) = text.split_once(SEPARATOR)?.1.split_once("```json")?;
    let arguments = rest.split("```").next()?.trim();
    serde_json::from_str::<Value>(arguments).ok()?;
    Some(ToolCall { name: name.trim().to_owned(), arguments: arguments.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(format: ToolFormat, text: &str) -> Option<Vec<(String, String)>> {
        let calls = format.read(text)?;
        Some(calls.into_iter().map(|call| (call.name, call.arguments)).collect())
    }

    #[test]
    fn each_dialect_is_read() {
        let pair = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
        let two = "<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"b\", \"arguments\": {}}";
        assert_eq!(calls(ToolFormat::Tagged, two), Some(vec![pair("a", "{\"x\":1}"), pair("b", "{}")]));
        let deep = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>a\n```json\n{\"x\": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
        assert_eq!(calls(ToolFormat::DeepSeek, deep), Some(vec![pair("a", "{\"x\": 1}")]));
        let bare = "{\"name\": \"a\", \"parameters\": {\"x\": 1}}";
        assert_eq!(calls(ToolFormat::Bare, bare), Some(vec![pair("a", "{\"x\":1}")]));
        assert_eq!(calls(ToolFormat::Bare, "{\"name\": \"a\"}"), Some(vec![pair("a", "{}")]));
    }

    #[test]
    fn what_is_no_call_is_not_made_one() {
        for (format, text) in [
            (ToolFormat::Tagged, "<tool_call>soon</tool_call>"),
            (ToolFormat::Tagged, "<tool_call>{\"name\": 5}</tool_call>"),
            (ToolFormat::DeepSeek, "<｜tool▁calls▁begin｜>nothing"),
            (ToolFormat::Bare, "{\"answer\": 42}"),
        ] {
            assert_eq!(calls(format, text), None, "{text}");
        }
    }

    #[test]
    fn the_template_tells_the_dialect() {
        assert_eq!(ToolFormat::of_template("{{ messages }}"), None);
        assert_eq!(ToolFormat::of_template("{% if tools %}<tool_call>"), Some(ToolFormat::Tagged));
        assert_eq!(ToolFormat::of_template("{% if tools is not none %}"), Some(ToolFormat::Bare));
        assert_eq!(ToolFormat::of_template("'<｜tool▁calls▁begin｜>'"), Some(ToolFormat::DeepSeek));
    }
}
