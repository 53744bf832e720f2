//! The model's own chat template, rendered as the `transformers` library renders it.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value as Json};

use crate::json_text::python_json;
use crate::model::{Metadata, MetadataError};
use crate::request_messages::ChatMessage;
use crate::request_tools::Tool;
use crate::tokenizer::Tokenizer;
use crate::tool_calls::ToolFormat;

const NAME: &str = "chat";

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("tokenizer.chat_template can't be read")]
    Syntax(#[source] Error),
    /// The template's own refusal, such as roles that do not alternate.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
    #[error("the model's chat template failed on these messages: {0}")]
    Render(Error),
}

#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
    /// How the model writes calls of tools, if it knows any.
    pub tools: Option<ToolFormat>,
    /// Whether the model's answers may begin with reasoning.
    pub thinks: bool,
}

/// What a conversation has beside its messages.
#[derive(Debug, Clone, Copy)]
pub struct Extras<'a> {
    pub tools: &'a [Tool],
    /// Values of the model's own, such as `enable_thinking`.
    pub values: &'a Map<String, Json>,
}

impl ChatTemplate {
    /// `None` if the file has no template.
    pub fn from_metadata(metadata: &Metadata<'_>, tokenizer: &Tokenizer) -> Result<Option<Self>, TemplateError> {
        let source = metadata.optional_string("tokenizer.chat_template")?;
        source.map(|source| Self::new(source, tokenizer.begin_name(), tokenizer.end_name())).transpose()
    }

    fn new(source: &str, begin: String, end: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(TemplateError::Syntax)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source.to_owned()).map_err(TemplateError::Syntax)?;
        let (tools, thinks) = (ToolFormat::of_template(source), source.contains("</think>"));
        Ok(Self { environment, begin, end, tools, thinks })
    }

    /// The text whose continuation is the assistant's answer.
    pub fn render(&self, messages: &[ChatMessage], extras: Extras<'_>) -> Result<String, TemplateError> {
        let messages: Vec<Json> = messages.iter().map(ChatMessage::to_json).collect();
        let mut context: BTreeMap<&str, Value> =
            extras.values.iter().map(|(name, value)| (name.as_str(), Value::from(Serde(value)))).collect();
        context.insert("messages", Value::from(Serde(messages)));
        context.insert("add_generation_prompt", Value::from(true));
        context.insert("bos_token", Value::from(self.begin.as_str()));
        context.insert("eos_token", Value::from(self.end.as_str()));
        if !extras.tools.is_empty() {
            let definitions: Vec<&Json> = extras.tools.iter().map(|tool| &tool.definition).collect();
            context.insert("tools", Value::from(Serde(definitions)));
        }
        let template = self.environment.get_template(NAME).map_err(TemplateError::Render)?;
        template.render(context).map_err(|error| match error.detail() {
            Some(detail) if error.kind() == ErrorKind::InvalidOperation && detail.starts_with(REFUSAL) => {
                TemplateError::Refused(detail[REFUSAL.len()..].to_owned())
            }
            _ => TemplateError::Render(error),
        })
    }
}

/// Marks the errors that the template raises itself.
const REFUSAL: &str = "template raised: ";

fn raise_exception(message: String, _: Kwargs) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUSAL}{message}")))
}

/// As Python writes it, which is what models were trained on; the engine's own escapes for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let text = serde_json::to_value(value).and_then(|value| python_json(&value, indent));
    text.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    let now = jiff::ZonedDateTime::now();
    jiff::fmt::strtime::format(format, &now)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_messages::Role;

    fn message(role: Role, content: &str) -> ChatMessage {
        ChatMessage::text(role, content)
    }

    fn render(source: &str, messages: &[ChatMessage]) -> Result<String, TemplateError> {
        let extras = Extras { tools: &[], values: &Map::new() };
        ChatTemplate::new(source, "<s>".to_owned(), "</s>".to_owned())?.render(messages, extras)
    }

    /// As in Qwen's templates.
    #[test]
    fn tools_and_values_of_the_models_own_are_there() {
        let source = "{%- if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}{% for message in messages %}{% for call in message.tool_calls %}{{ call.function.name }}{{ call.function.arguments | tojson }}{% endfor %}{% endfor %}{% if enable_thinking is defined and enable_thinking is false %}!{% endif %}";
        let definition = serde_json::json!({"type": "function", "function": {"name": "a<b"}});
        let tool = Tool { name: "a<b".to_owned(), definition, parameters: Map::new() };
        let call = serde_json::json!({"function": {"name": "f", "arguments": {"x": [1, "é"]}}});
        let asked = ChatMessage { content: None, tool_calls: vec![call], ..message(Role::Assistant, "") };
        let values = [("enable_thinking".to_owned(), Json::Bool(false))].into_iter().collect();
        let template = ChatTemplate::new(source, String::new(), String::new()).unwrap();
        let text = template.render(&[asked], Extras { tools: &[tool], values: &values }).unwrap();
        assert_eq!(text, "{\"type\": \"function\", \"function\": {\"name\": \"a<b\"}}f{\"x\": [1, \"é\"]}!");
        assert_eq!(template.tools, Some(ToolFormat::Bare));
    }

    #[test]
    fn a_chatml_template_renders_as_in_transformers() {
        let source = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        assert_eq!(
            render(source, &[message(Role::User, "Hi")]).unwrap(),
            "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    /// What DeepSeek's R1 template uses: namespace, negative indexes, split, tests on absent keys.
    #[test]
    fn the_constructs_of_reasoning_templates_work() {
        let source = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + eos_token}}{%- endif %}{%- endfor -%}{% if add_generation_prompt %}{{'<|Assistant|><think>\\n'}}{% endif %}";
        let messages = [
            message(Role::System, "S"),
            message(Role::User, "one"),
            message(Role::Assistant, "<think>x</think>two"),
            message(Role::User, "three"),
        ];
        assert_eq!(
            render(source, &messages).unwrap(),
            "<s>S<|User|>one<|Assistant|>two</s><|User|>three<|Assistant|><think>\n"
        );
    }

    #[test]
    fn the_templates_own_refusal_is_passed_on() {
        let source = "{{ raise_exception('roles must alternate') }}";
        let error = render(source, &[message(Role::User, "Hi")]).unwrap_err();
        assert_eq!(error.to_string(), "the model's chat template refuses these messages: roles must alternate");
    }

    #[test]
    fn the_date_is_that_of_now() {
        let year = render("{{ strftime_now('%Y') }}", &[]).unwrap();
        assert_eq!(year.parse::<i16>().unwrap(), jiff::ZonedDateTime::now().year());
    }

    #[test]
    fn a_broken_template_is_refused_when_it_is_read() {
        assert!(matches!(render("{% if %}", &[]), Err(TemplateError::Syntax(_))));
    }
}
