//! The official contract: what Google's discovery documents say of a call, and what an actual one has wrong.
//!
//! ```text
//! document  a document as python's client ships it      route  method and path -> one of its methods
//! schema    its schemas as JSON Schema, strict          here   a request or an answer -> sentences about what is wrong
//! ```
//! Google takes more than it describes (unknown fields are ignored here and refused there); ours sends what is described.

mod document;
mod route;
mod schema;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};

pub use document::REQUIREMENTS;
pub(super) use document::folder;
use document::{Document, Method};
pub(super) use route::decoded;
use schema::{Nulls, Way};

use super::lock;

/// A method of Google's, with what its path says.
#[derive(Debug)]
pub(super) struct Found {
    document: &'static Document,
    method: &'static Method,
    /// By the names of the path's own template: `project`, `zone`, `name`.
    pub path: BTreeMap<String, String>,
}

/// As Google names it, `compute.instances.insert`; none for a path that no document has.
pub fn name(verb: &str, path: &str) -> Option<&'static str> {
    find(verb, path).map(|found| found.method.id)
}

/// Whether a path is one of those that documents describe, known or not.
pub(super) fn is_described(path: &str) -> bool {
    !document::of_path(path).is_empty()
}

pub(super) fn find(verb: &str, path: &str) -> Option<Found> {
    let documents = document::of_path(path).iter().map(|name| document::document(name));
    documents.into_iter().find_map(|document| {
        let (method, path) = route::find(&document.methods, verb, path)?;
        Some(Found { document, method, path })
    })
}

impl Found {
    pub const fn id(&self) -> &'static str {
        self.method.id
    }

    pub fn takes_body(&self) -> bool {
        self.method.described.get("request").is_some()
    }

    /// Path, query and body against the method's description.
    pub fn wrong_request(&self, query: &[(String, String)], body: Option<&Value>) -> Vec<String> {
        let id = self.method.id;
        let validator = validator(self.key("parameters"), || schema::parameters(self.document, self.method));
        let mut wrong = wrong(&validator, &self.parameters(query), &format!("{id}: parameters"));
        match (self.request_schema(), body) {
            (None, Some(_)) => wrong.push(format!("{id}: body: it has none")),
            (None, None) => {}
            (Some(name), body) => wrong.extend(self.wrong_body(name, body.unwrap_or(&json!({})))),
        }
        wrong
    }

    pub fn wrong_answer(&self, body: Option<&Value>) -> Vec<String> {
        let Some(body) = body else { return Vec::new() };
        let Some(name) = self.method.described["response"]["$ref"].as_str() else {
            return vec![format!("{}: answer: it has no body", self.method.id)];
        };
        let key = format!("{} {name}", self.document.name);
        let validator = validator(key, || schema::message(self.document, name, Way::Answered));
        wrong(&validator, body, &format!("{}: answer", self.method.id))
    }

    /// Versions of a service have methods of the same name.
    fn key(&self, part: &str) -> String {
        format!("{} {} {part}", self.document.name, self.method.id)
    }

    fn request_schema(&self) -> Option<&'static str> {
        self.method.described["request"]["$ref"].as_str()
    }

    fn wrong_body(&self, name: &str, body: &Value) -> Vec<String> {
        let id = self.method.id;
        let nulls = if self.method.verb == "PATCH" { Nulls::TakeAway } else { Nulls::Refused };
        let way = Way::Asked { method: id, nulls };
        let validator = validator(self.key("body"), || schema::message(self.document, name, way));
        wrong(&validator, body, &format!("{id}: body"))
    }

    /// Everything of path and query by name; what comes more than once is a list.
    fn parameters(&self, query: &[(String, String)]) -> Value {
        let mut all = Map::new();
        for (name, value) in self.path.iter().chain(query.iter().map(|(name, value)| (name, value))) {
            match all.get_mut(name) {
                None if schema::is_repeated(self.method, name) => drop(all.insert(name.clone(), json!([value]))),
                None => drop(all.insert(name.clone(), json!(value))),
                Some(Value::Array(list)) => list.push(json!(value)),
                Some(single) => *single = json!([single.clone(), value]),
            }
        }
        Value::Object(all)
    }
}

/// Compiled once a process: one of instances takes longer than a test's calls.
fn validator(key: String, schema: impl FnOnce() -> Value) -> Arc<Validator> {
    static COMPILED: OnceLock<Mutex<HashMap<String, Arc<Validator>>>> = OnceLock::new();
    let mut compiled = lock(COMPILED.get_or_init(Mutex::default));
    let compile = || {
        let schema = schema();
        Arc::new(jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("the document's schema: {error}")))
    };
    Arc::clone(compiled.entry(key).or_insert_with(compile))
}

fn wrong(validator: &Validator, value: &Value, at: &str) -> Vec<String> {
    let told = validator.iter_errors(value).map(|error| {
        let what = match error.kind() {
            ValidationErrorKind::FalseSchema => "is Google's to say, not the caller's".to_owned(),
            _ => error.to_string(),
        };
        format!("{at}{}: {what}", error.instance_path())
    });
    told.collect()
}

/// Whether a text is, as a whole, what an expression of Google's describes.
pub(super) fn fits(expression: &str, text: &str) -> Result<bool, String> {
    let schema = json!({"pattern": schema::whole(expression)});
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
    Ok(validator.is_valid(&json!(text)))
}
