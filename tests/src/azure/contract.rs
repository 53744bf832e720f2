//! Microsoft's contract: which operation a request is, and what stands in its way. `python/azure_contract.py` writes
//! it from Microsoft's own clients; it is made once and kept in the target folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::Validator;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::ask::Asked;
use crate::process::run;
use crate::proxy::lock;
use crate::{binaries, python};

/// What python's environment of these tests is made of.
pub const REQUIREMENTS: &str = "azure-requirements.txt";
const SCRIPT: &str = "azure_contract.py";

#[derive(Debug, Deserialize)]
pub(super) struct Contract {
    pub operations: Vec<Operation>,
    pub blob_versions: BTreeSet<String>,
    #[serde(rename = "$defs")]
    definitions: Map<String, Value>,
    /// Compiled when first needed, by what they stand for.
    #[serde(skip)]
    validators: Mutex<BTreeMap<String, Arc<Validator>>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Operation {
    /// As Microsoft's reference names it: `VirtualMachines_CreateOrUpdate`.
    pub name: String,
    pub method: String,
    path: String,
    /// Schemas of what stands in the path.
    pub parameters: BTreeMap<String, Value>,
    /// Those of them that may have slashes.
    many: Vec<String>,
    pub api_version: Option<String>,
    pub query: BTreeMap<String, Rule>,
    pub headers: BTreeMap<String, Rule>,
    pub is_blob: bool,
    pub body: Option<Value>,
    pub answer: Option<Value>,
    pub statuses: Vec<u16>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Rule {
    pub required: bool,
    pub schema: Value,
}

/// An operation with the parts of the path that it names.
#[derive(Debug, Clone)]
pub(super) struct Matched<'a> {
    pub operation: &'a Operation,
    pub parameters: BTreeMap<String, String>,
}

impl Contract {
    /// The same for all tests of a process.
    pub fn get() -> &'static Self {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| {
            let text = fs::read(written()).expect("the contract");
            serde_json::from_slice(&text).expect("the contract's JSON")
        })
    }

    /// The most exact operation that a request can be.
    pub fn find(&self, asked: &Asked, is_blob: bool) -> Option<Matched<'_>> {
        let segments = asked.segments();
        let fitting = self.operations.iter().filter(|it| it.is_blob == is_blob && it.method == asked.method.as_str());
        let mut best: Option<(usize, Matched<'_>)> = None;
        for operation in fitting {
            let Some(parameters) = operation.parameters_of(&segments) else { continue };
            let Some(weight) = operation.weight(asked) else { continue };
            if best.as_ref().is_none_or(|(other, _)| weight > *other) {
                best = Some((weight, Matched { operation, parameters }));
            }
        }
        best.map(|(_, matched)| matched)
    }

    /// What is wrong with a value, each with its path.
    pub fn errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        let validator = self.validator(schema);
        let told = validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path()));
        told.collect()
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = lock(&self.validators);
        let made = validators.entry(schema.to_string()).or_insert_with(|| Arc::new(self.compile(schema)));
        Arc::clone(made)
    }

    /// With the definitions that it leads to and no others: there are hundreds.
    fn compile(&self, schema: &Value) -> Validator {
        let mut reached = BTreeSet::new();
        self.reach(schema, &mut reached);
        let mut whole = schema.clone();
        if !reached.is_empty() {
            let definitions = reached.iter().map(|name| (name.clone(), self.definitions[name].clone()));
            whole["$defs"] = Value::Object(definitions.collect());
        }
        jsonschema::validator_for(&whole).unwrap_or_else(|error| panic!("{schema}: {error}"))
    }

    fn reach(&self, value: &Value, reached: &mut BTreeSet<String>) {
        if let Some(name) = value["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"))
            && reached.insert(name.to_owned())
        {
            self.reach(&self.definitions[name], reached);
        }
        let inner = value.as_object().into_iter().flat_map(Map::values);
        inner.chain(value.as_array().into_iter().flatten()).for_each(|below| self.reach(below, reached));
    }
}

impl Operation {
    fn parameters_of(&self, segments: &[String]) -> Option<BTreeMap<String, String>> {
        let parts: Vec<&str> = self.path.split('/').filter(|part| !part.is_empty()).collect();
        let mut found = BTreeMap::new();
        self.fit(&parts, segments, &mut found).then_some(found)
    }

    fn fit(&self, parts: &[&str], segments: &[String], found: &mut BTreeMap<String, String>) -> bool {
        let ([part, parts @ ..], [segment, rest @ ..]) = (parts, segments) else {
            return parts.is_empty() && segments.is_empty();
        };
        let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            return part.eq_ignore_ascii_case(segment) && self.fit(parts, rest, found);
        };
        let longest = if self.many.iter().any(|many| many == name) { segments.len() } else { 1 };
        (1..=longest).any(|length| {
            let fits = self.fit(parts, &segments[length..], found);
            if fits {
                found.insert(name.to_owned(), segments[..length].join("/"));
            }
            fits
        })
    }

    /// How much of the request it speaks of; none if the request speaks of something else.
    fn weight(&self, asked: &Asked) -> Option<usize> {
        let literal = self.path.split('/').filter(|part| !part.starts_with('{')).count();
        if !self.is_blob {
            return Some(literal);
        }
        let of_query = |name: &str| asked.parameter(name);
        let of_header = |name: &str| asked.header(name).map(str::to_owned);
        let is_named =
            ["comp", "restype"].iter().all(|name| of_query(name).is_none() || self.query.contains_key(*name));
        let fits = is_named && all_fit(&self.query, of_query) && all_fit(&self.headers, of_header);
        let required = self.query.values().chain(self.headers.values()).filter(|rule| rule.required).count();
        fits.then_some(literal + required)
    }
}

/// Whatever tells operations of one path apart: constants, and headers that only one of them demands.
fn all_fit(rules: &BTreeMap<String, Rule>, value: impl Fn(&str) -> Option<String>) -> bool {
    const OF_ALL: [&str; 4] = ["accept", "content-length", "x-ms-version", "content-type"];
    rules.iter().filter(|(name, rule)| rule.required && !OF_ALL.contains(&name.as_str())).all(|(name, rule)| {
        let value = value(name);
        rule.schema.get("const").map_or(value.is_some(), |fixed| value.as_deref() == fixed.as_str())
    })
}

/// Makes the contract, which takes a minute the first time.
pub(super) fn prepare() {
    Contract::get();
}

/// The file, made if it is not there: it goes with what it is made from.
pub(super) fn written() -> PathBuf {
    let sources = [REQUIREMENTS, SCRIPT].map(|name| fs::read(python::sources().join(name)).expect("a source"));
    let digest = hex::encode(Sha256::digest(sources.concat()));
    let path = binaries::kept("test-azure").join(format!("contract-{}.json", &digest[..12]));
    let mutex = File::create(binaries::kept("test-locks").join("azure-contract")).expect("a lock file");
    mutex.lock().expect("the contract's lock");
    if !path.is_file() {
        write(&path);
    }
    path
}

fn write(path: &Path) {
    let mut command = Command::new(python::environment(REQUIREMENTS).join("bin/python"));
    crate::home::environment(&mut command, Path::new("/nonexistent"));
    let outcome = run(command.arg(python::sources().join(SCRIPT))).exits(0);
    let beside = path.with_extension("new");
    fs::write(&beside, outcome.stdout).expect("the contract's file");
    fs::rename(beside, path).expect("the contract in its place");
}

/// A text as a value of the type that a schema asks for.
pub(super) fn typed(schema: &Value, text: &str) -> Value {
    let parsed = match schema["type"].as_str() {
        Some("integer") => text.parse::<i64>().ok().map(|number| json!(number)),
        Some("number") => text.parse::<f64>().ok().map(|number| json!(number)),
        Some("boolean") => text.parse::<bool>().ok().map(|is| json!(is)),
        _ => None,
    };
    parsed.unwrap_or_else(|| json!(text))
}
