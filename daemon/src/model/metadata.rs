//! Typed look-ups in a GGUF file's metadata, with errors that name the key.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("metadata {0} is missing")]
    Missing(String),
    #[error("metadata {key} must be {expected}")]
    Kind { key: String, expected: &'static str },
    #[error("metadata {key} has the value {value}, which is not supported")]
    Unsupported { key: String, value: String },
}

/// The key-value part of a GGUF header.
#[derive(Debug, Clone, Copy)]
pub struct Metadata<'a>(&'a HashMap<String, Value>);

impl<'a> Metadata<'a> {
    pub const fn new(values: &'a HashMap<String, Value>) -> Self {
        Self(values)
    }

    pub fn optional_size(&self, key: &str) -> Result<Option<usize>, MetadataError> {
        self.get(key, "a whole number", size)
    }

    pub fn optional_float(&self, key: &str) -> Result<Option<f64>, MetadataError> {
        self.get(key, "a number", |value| match value {
            Value::F32(value) => Some(f64::from(*value)),
            Value::F64(value) => Some(*value),
            other => size(other).map(|value| value as f64),
        })
    }

    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        self.get(key, "true or false", |value| value.to_bool().ok())
    }

    pub fn optional_string(&self, key: &str) -> Result<Option<&'a str>, MetadataError> {
        self.get(key, "a string", |value| value.to_string().ok().map(String::as_str))
    }

    pub fn optional_sizes(&self, key: &str) -> Result<Option<Vec<usize>>, MetadataError> {
        self.get(key, "a list of whole numbers", |value| value.to_vec().ok()?.iter().map(size).collect())
    }

    pub fn size(&self, key: &str) -> Result<usize, MetadataError> {
        required(key, self.optional_size(key)?)
    }

    pub fn float(&self, key: &str) -> Result<f64, MetadataError> {
        required(key, self.optional_float(key)?)
    }

    pub fn string(&self, key: &str) -> Result<&'a str, MetadataError> {
        required(key, self.optional_string(key)?)
    }

    pub fn strings(&self, key: &str) -> Result<Vec<&'a str>, MetadataError> {
        let strings = self.get(key, "a list of strings", |value| {
            value.to_vec().ok()?.iter().map(|item| item.to_string().ok().map(String::as_str)).collect()
        })?;
        required(key, strings)
    }

    /// The number of entries of a list, without reading them.
    pub fn length(&self, key: &str) -> Result<usize, MetadataError> {
        required(key, self.get(key, "a list", |value| value.to_vec().ok().map(Vec::len))?)
    }

    fn get<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, MetadataError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| MetadataError::Kind { key: key.to_owned(), expected }),
        }
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, MetadataError> {
    value.ok_or_else(|| MetadataError::Missing(key.to_owned()))
}

/// Writers differ in the integer type they use for the same key.
fn size(value: &Value) -> Option<usize> {
    match value {
        Value::U8(value) => Some(usize::from(*value)),
        Value::U16(value) => Some(usize::from(*value)),
        Value::U32(value) => usize::try_from(*value).ok(),
        Value::U64(value) => usize::try_from(*value).ok(),
        Value::I8(value) => usize::try_from(*value).ok(),
        Value::I16(value) => usize::try_from(*value).ok(),
        Value::I32(value) => usize::try_from(*value).ok(),
        Value::I64(value) => usize::try_from(*value).ok(),
        _ => None,
    }
}
