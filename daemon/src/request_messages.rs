//! The messages of a chat, as they are read from a request and shown to a template.

use serde_json::{Value, json};

use crate::request_fields::{Fields, RequestError, wrong_kind};

#[derive(Debug, Clone, PartialEq)]
pub struct ChatMessage {
    pub role: Role,
    /// Only an assistant that called tools may have said nothing.
    pub content: Option<String>,
    pub tool_calls: Vec<Value>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
    pub reasoning: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

impl ChatMessage {
    #[cfg(test)]
    pub fn text(role: Role, content: &str) -> Self {
        let content = Some(content.to_owned());
        Self { role, content, tool_calls: Vec::new(), tool_call_id: None, reasoning: None }
    }

    /// What a template sees: keys that say nothing are absent, since templates ask whether they are there.
    pub fn to_json(&self) -> Value {
        let mut message = json!({"role": self.role.name(), "content": self.content});
        if !self.tool_calls.is_empty() {
            message["tool_calls"] = json!(self.tool_calls);
        }
        if let Some(id) = &self.tool_call_id {
            message["tool_call_id"] = json!(id);
        }
        if let Some(reasoning) = &self.reasoning {
            message["reasoning_content"] = json!(reasoning);
        }
        message
    }
}

/// The field `messages`.
pub fn messages(value: Value) -> Result<Vec<ChatMessage>, RequestError> {
    match value {
        Value::Array(messages) if messages.is_empty() => {
            Err(RequestError::field("messages", "must hold at least one message"))
        }
        Value::Array(messages) => messages.into_iter().enumerate().map(|(at, value)| message(at, value)).collect(),
        other => Err(wrong_kind("messages", "an array", &other)),
    }
}

fn message(at: usize, value: Value) -> Result<ChatMessage, RequestError> {
    let mut fields = Fields::new(&format!("messages[{at}]"), value)?;
    let path = fields.path("role");
    let role = match fields.required("role")? {
        Value::String(role) => self::role(&path, &role)?,
        other => return Err(wrong_kind(&path, "a string", &other)),
    };
    let tool_calls = tool_calls(&mut fields)?;
    let path = fields.path("content");
    let content = match fields.take("content") {
        Some(content) => Some(self::content(&path, content)?),
        None if role == Role::Assistant && !tool_calls.is_empty() => None,
        None => return Err(RequestError::field(&path, "is required")),
    };
    let tool_call_id = fields.string("tool_call_id")?;
    let reasoning = fields.string("reasoning_content")?;
    fields.ignore(&["name", "refusal", "annotations"]);
    fields.finish()?;
    Ok(ChatMessage { role, content, tool_calls, tool_call_id, reasoning })
}

/// Each as templates want it: its arguments as an object, where the API has text.
fn tool_calls(fields: &mut Fields) -> Result<Vec<Value>, RequestError> {
    let path = fields.path("tool_calls");
    match fields.take("tool_calls") {
        None => Ok(Vec::new()),
        Some(Value::Array(calls)) => {
            calls.into_iter().enumerate().map(|(at, call)| tool_call(&format!("{path}[{at}]"), call)).collect()
        }
        Some(other) => Err(wrong_kind(&path, "an array", &other)),
    }
}

fn tool_call(path: &str, value: Value) -> Result<Value, RequestError> {
    let mut fields = Fields::new(path, value)?;
    let mut function = Fields::new(&fields.path("function"), fields.required("function")?)?;
    let name_path = function.path("name");
    let name = function.string("name")?.ok_or_else(|| RequestError::field(&name_path, "is required"))?;
    let text = function.string("arguments")?.unwrap_or_else(|| "{}".to_owned());
    let arguments = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let id = fields.string("id")?;
    Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}

fn role(path: &str, name: &str) -> Result<Role, RequestError> {
    match name {
        // The newer name of the same role; templates know the older one.
        "system" | "developer" => Ok(Role::System),
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "tool" => Ok(Role::Tool),
        other => {
            Err(RequestError::field(path, format!("must be system, developer, user, assistant or tool, got {other:?}")))
        }
    }
}

/// A string, or an array of text parts.
fn content(path: &str, value: Value) -> Result<String, RequestError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Array(parts) => {
            parts.into_iter().enumerate().map(|(at, part)| text_part(&format!("{path}[{at}]"), part)).collect()
        }
        other => Err(wrong_kind(path, "a string or an array of parts", &other)),
    }
}

fn text_part(path: &str, value: Value) -> Result<String, RequestError> {
    let mut part = Fields::new(path, value)?;
    let kind_path = part.path("type");
    match part.required("type")? {
        Value::String(kind) if kind == "text" => {}
        Value::String(kind) => {
            return Err(RequestError::field(
                &kind_path,
                format!("must be \"text\", got {kind:?}: this server reads text only"),
            ));
        }
        other => return Err(wrong_kind(&kind_path, "a string", &other)),
    }
    let text_path = part.path("text");
    match part.required("text")? {
        Value::String(text) => Ok(text),
        other => Err(wrong_kind(&text_path, "a string", &other)),
    }
}
