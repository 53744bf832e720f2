//! Reads the fields of a JSON object one by one; every error names the field by its path.

use serde_json::{Map, Value};
use spec::openai::{ErrorBody, ErrorKind};

/// A request that can't be served as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    pub kind: ErrorKind,
    pub message: String,
    pub param: Option<String>,
    pub code: Option<&'static str>,
}

impl RequestError {
    /// 400 about one field.
    pub fn field(path: &str, problem: impl std::fmt::Display) -> Self {
        let (message, param) = (format!("{path}: {problem}"), Some(path.to_owned()));
        Self { kind: ErrorKind::InvalidRequest, message, param, code: None }
    }

    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, code: None }
    }

    pub fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub fn body(&self) -> ErrorBody {
        self.kind.body(self.message.clone(), self.param.as_deref(), self.code)
    }
}

/// The fields of one object that were not read yet. `null` is the same as absent.
#[derive(Debug)]
pub struct Fields {
    path: String,
    values: Map<String, Value>,
}

impl Fields {
    /// The object at a path; the request itself has the empty path.
    pub fn new(path: &str, value: Value) -> Result<Self, RequestError> {
        match value {
            Value::Object(values) => Ok(Self { path: path.to_owned(), values }),
            other if path.is_empty() => {
                let message = format!("the request body must be a JSON object, got {}", kind_of(&other));
                Err(RequestError::new(ErrorKind::InvalidRequest, message))
            }
            other => Err(wrong_kind(path, "an object", &other)),
        }
    }

    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name).filter(|value| !value.is_null())
    }

    pub fn required(&mut self, name: &str) -> Result<Value, RequestError> {
        let path = self.path(name);
        self.take(name).ok_or_else(|| RequestError::field(&path, "is required"))
    }

    pub fn string(&mut self, name: &str) -> Result<Option<String>, RequestError> {
        self.read(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub fn boolean(&mut self, name: &str) -> Result<bool, RequestError> {
        self.flag(name, false)
    }

    pub fn flag(&mut self, name: &str, absent: bool) -> Result<bool, RequestError> {
        Ok(self.read(name, "true or false", Value::as_bool)?.unwrap_or(absent))
    }

    pub fn number(&mut self, name: &str, least: f64, most: f64) -> Result<Option<f64>, RequestError> {
        let number = self.read(name, "a number", Value::as_f64)?;
        match number {
            Some(number) if !(least..=most).contains(&number) => {
                Err(RequestError::field(&self.path(name), format!("must be from {least} to {most}, got {number}")))
            }
            number => Ok(number),
        }
    }

    pub fn integer(&mut self, name: &str, least: i64, most: i64) -> Result<Option<i64>, RequestError> {
        let integer = self.read(name, "a whole number", whole)?;
        match integer {
            Some(integer) if integer < least => {
                Err(RequestError::field(&self.path(name), format!("must be at least {least}, got {integer}")))
            }
            Some(integer) if integer > most => {
                Err(RequestError::field(&self.path(name), format!("must be at most {most}, got {integer}")))
            }
            integer => Ok(integer),
        }
    }

    /// Drops fields that change nothing about the answer.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.values.remove(*name);
        }
    }

    /// Accepts a field only with values that ask for nothing.
    pub fn only(&mut self, name: &str, neutral: &[Value]) -> Result<(), RequestError> {
        match self.take(name) {
            Some(value) if !neutral.contains(&value) => {
                Err(RequestError::field(&self.path(name), "is not supported by this server")
                    .with_code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }

    /// What is left was not understood, and may have been meant to change the answer.
    pub fn finish(self) -> Result<(), RequestError> {
        match self.values.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => {
                Err(RequestError::field(&self.path(name), "is not a field of this request")
                    .with_code("unknown_parameter"))
            }
            None => Ok(()),
        }
    }

    fn read<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, RequestError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| wrong_kind(&self.path(name), expected, &value)),
        }
    }
}

/// The error for a value of the wrong JSON type.
pub fn wrong_kind(path: &str, expected: &str, value: &Value) -> RequestError {
    RequestError::field(path, format!("must be {expected}, got {}", kind_of(value)))
}

/// 3.0 is a whole number too: some clients send every number with a fraction.
fn whole(value: &Value) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let fraction = || value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT);
    value.as_i64().or_else(|| fraction().map(|number| number as i64))
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
