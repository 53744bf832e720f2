//! What an answer may be besides text: calls of tools, JSON, JSON of a schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::request_fields::{Fields, RequestError, wrong_kind};

/// Longest name of a tool, as in the OpenAI API.
const LONGEST_NAME: usize = 64;
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// The tools that may be called, none if the request forbids calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Tools {
    pub tools: Vec<Tool>,
    pub choice: ToolChoice,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    /// The whole definition, for the template.
    pub definition: Value,
    /// Schema of the arguments.
    pub parameters: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    /// One of the tools must be called.
    Required,
    Named(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    Text,
    Json,
    Schema(Value),
}

/// The fields `tools` and `tool_choice`.
pub fn tools(fields: &mut Fields) -> Result<Tools, RequestError> {
    let tools = match fields.take("tools") {
        None => Vec::new(),
        Some(Value::Array(tools)) => tools
            .into_iter()
            .enumerate()
            .map(|(at, value)| tool(&format!("tools[{at}]"), value))
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong_kind("tools", "an array", &other)),
    };
    match fields.take("tool_choice") {
        None => Ok(Tools { tools, choice: ToolChoice::Auto }),
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => Ok(Tools { tools: Vec::new(), choice: ToolChoice::Auto }),
            "auto" => Ok(Tools { tools, choice: ToolChoice::Auto }),
            "required" => must_have(Tools { tools, choice: ToolChoice::Required }),
            other => Err(RequestError::field(
                "tool_choice",
                format!("must be none, auto, required or a function, got {other:?}"),
            )),
        },
        Some(value) => {
            let mut choice = Fields::new("tool_choice", value)?;
            let mut function = Fields::new("tool_choice.function", choice.required("function")?)?;
            let name = function.string("name")?.unwrap_or_default();
            must_have(Tools { tools, choice: ToolChoice::Named(name) })
        }
    }
}

fn must_have(tools: Tools) -> Result<Tools, RequestError> {
    let is_there = match &tools.choice {
        ToolChoice::Named(name) => tools.tools.iter().any(|tool| tool.name == *name),
        ToolChoice::Auto | ToolChoice::Required => !tools.tools.is_empty(),
    };
    if !is_there {
        return Err(RequestError::field("tool_choice", "asks for a tool that is not among tools"));
    }
    match doubtful_definition(&tools.tools) {
        Some(name) => {
            let problem =
                format!("two of them define {name:?}, and not alike: rename one, or tool_choice can't be held to");
            Err(RequestError::field("tools", problem))
        }
        None => Ok(tools),
    }
}

/// A name that two tools mean different things by: their definitions come to lie side by side.
fn doubtful_definition(tools: &[Tool]) -> Option<&str> {
    let mut known: BTreeMap<&str, &Value> = BTreeMap::new();
    let definitions =
        tools.iter().flat_map(|tool| DEFINITIONS.iter().filter_map(|key| tool.parameters.get(*key)?.as_object()));
    for (name, definition) in definitions.flatten() {
        if known.insert(name, definition).is_some_and(|earlier| earlier != definition) {
            return Some(name);
        }
    }
    None
}

fn tool(path: &str, value: Value) -> Result<Tool, RequestError> {
    let definition = value.clone();
    let mut fields = Fields::new(path, value)?;
    match fields.string("type")?.as_deref() {
        Some("function") => {}
        _ => return Err(RequestError::field(&fields.path("type"), "must be \"function\"")),
    }
    let mut function = Fields::new(&fields.path("function"), fields.required("function")?)?;
    let name_path = function.path("name");
    let name = match function.string("name")? {
        Some(name) if !name.is_empty() && name.len() <= LONGEST_NAME => name,
        _ => return Err(RequestError::field(&name_path, format!("must be a string of 1 to {LONGEST_NAME} bytes"))),
    };
    let parameters_path = function.path("parameters");
    let parameters = match function.take("parameters") {
        None => Map::new(),
        Some(Value::Object(parameters)) => parameters,
        Some(other) => return Err(wrong_kind(&parameters_path, "an object", &other)),
    };
    Ok(Tool { name, definition, parameters })
}

impl Tools {
    /// The schema of a call, if there must be one.
    pub fn schema(&self) -> Option<Value> {
        let is_meant = |tool: &&Tool| match &self.choice {
            ToolChoice::Named(name) => tool.name == *name,
            ToolChoice::Auto | ToolChoice::Required => true,
        };
        if self.choice == ToolChoice::Auto {
            return None;
        }
        let mut root = Map::new();
        let calls: Vec<Value> = self.tools.iter().filter(is_meant).map(|tool| call_schema(tool, &mut root)).collect();
        root.insert("anyOf".to_owned(), json!(calls));
        Some(Value::Object(root))
    }
}

/// References of the arguments' schema begin at its root, so that its definitions move to the root of all.
fn call_schema(tool: &Tool, root: &mut Map<String, Value>) -> Value {
    let mut parameters = tool.parameters.clone();
    for key in DEFINITIONS {
        if let Some(Value::Object(definitions)) = parameters.remove(key) {
            let all = root.entry(key).or_insert_with(|| json!({}));
            if let Some(all) = all.as_object_mut() {
                all.extend(definitions);
            }
        }
    }
    parameters.entry("type").or_insert_with(|| json!("object"));
    json!({
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": false,
    })
}

/// The field `response_format`.
pub fn format(fields: &mut Fields) -> Result<Format, RequestError> {
    let Some(value) = fields.take("response_format") else { return Ok(Format::Text) };
    let mut format = Fields::new("response_format", value)?;
    match format.string("type")?.as_deref() {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::Json),
        Some("json_schema") => {
            let mut named = Fields::new("response_format.json_schema", format.required("json_schema")?)?;
            match named.required("schema")? {
                schema @ Value::Object(_) => Ok(Format::Schema(schema)),
                other => Err(wrong_kind(&named.path("schema"), "an object", &other)),
            }
        }
        _ => Err(RequestError::field("response_format.type", "must be text, json_object or json_schema")),
    }
}

impl Format {
    pub fn schema(&self) -> Option<Value> {
        match self {
            Self::Text => None,
            Self::Json => Some(json!({"type": "object"})),
            Self::Schema(schema) => Some(schema.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_must_be_made_has_the_schema_of_its_tool() {
        let tool = |name: &str| {
            json!({"type": "function", "function": {"name": name, "parameters": {
                "properties": {"x": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}},
            }}})
        };
        let request =
            json!({"tools": [tool("a"), tool("b")], "tool_choice": {"type": "function", "function": {"name": "b"}}});
        let schema = tools(&mut Fields::new("", request).unwrap()).unwrap().schema().unwrap();
        assert_eq!(schema["anyOf"].as_array().unwrap().len(), 1);
        assert_eq!(schema["anyOf"][0]["properties"]["name"]["const"], "b");
        assert_eq!(schema["anyOf"][0]["properties"]["arguments"]["type"], "object");
        assert_eq!(schema["$defs"]["n"]["type"], "integer");
        let free = json!({"tools": [tool("a")]});
        assert_eq!(tools(&mut Fields::new("", free).unwrap()).unwrap().schema(), None);
    }
}
