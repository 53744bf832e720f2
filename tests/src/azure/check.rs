//! Requests and answers against Microsoft's contract: whatever differs is a violation, with the path of what is wrong.

use axum::http::Method;
use serde_json::{Value, json};

use super::ask::{Answer, Asked};
use super::contract::{Contract, Matched, Operation, typed};

/// Query parameters that ARM takes everywhere: its own `nextLink`s carry them.
const PAGES: [&str; 2] = ["$skiptoken", "monitor"];
/// Headers of the blob service that belong to no operation.
const OF_ALL_BLOBS: [&str; 5] =
    ["x-ms-version", "x-ms-date", "x-ms-client-request-id", "x-ms-return-client-request-id", "x-ms-meta"];

/// What is wrong with a request.
pub(super) fn request(asked: &Asked, matched: &Matched<'_>) -> Vec<String> {
    let mut wrong = path(matched);
    wrong.extend(query(asked, matched.operation));
    wrong.extend(headers(asked, matched.operation));
    if !matched.operation.is_blob {
        wrong.extend(body(asked, matched.operation));
    }
    wrong
}

fn path(matched: &Matched<'_>) -> Vec<String> {
    let schemas = &matched.operation.parameters;
    let named = matched.parameters.iter().filter_map(|(name, value)| Some((name, value, schemas.get(name)?)));
    named.flat_map(|(name, value, schema)| at(&format!("path {name}"), schema, value)).collect()
}

fn query(asked: &Asked, operation: &Operation) -> Vec<String> {
    let mut wrong = Vec::new();
    let given = asked.query();
    for (name, value) in &given {
        let known = operation.query.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        match known {
            Some((known, _)) if known == "api-version" => wrong.extend(version(operation, value)),
            Some((_, rule)) => wrong.extend(at(&format!("query {name}"), &rule.schema, value)),
            None if !operation.is_blob && PAGES.iter().any(|page| page.eq_ignore_ascii_case(name)) => {}
            None => wrong.push(format!("query {name}: there is no such parameter")),
        }
    }
    let is_given = |name: &str| given.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let missing = operation.query.iter().filter(|(name, rule)| rule.required && !is_given(name));
    wrong.extend(missing.map(|(name, _)| format!("query {name}: it is missing")));
    wrong
}

fn version(operation: &Operation, given: &str) -> Option<String> {
    let known = operation.api_version.as_deref()?;
    (known != given).then(|| format!("query api-version: {given} is not {known}"))
}

fn headers(asked: &Asked, operation: &Operation) -> Vec<String> {
    let known = |name: &str| operation.headers.contains_key(name);
    let names = asked.headers.keys().map(|name| name.as_str());
    let mut wrong: Vec<String> = names
        .filter(|name| is_meaningful(name, operation.is_blob) && !known(without_key(name)))
        .filter(|name| !OF_ALL_BLOBS[..4].contains(name))
        .map(|name| format!("header {name}: the operation does not take it"))
        .collect();
    if operation.is_blob {
        let version = asked.header("x-ms-version").unwrap_or_default();
        if !Contract::get().blob_versions.contains(version) {
            wrong.push(format!("header x-ms-version: there is no version {version:?}"));
        }
    }
    wrong
}

/// Headers that change what is done.
fn is_meaningful(name: &str, is_blob: bool) -> bool {
    name.starts_with("if-") || (is_blob && name.starts_with("x-ms-"))
}

/// `x-ms-meta-NAME` is one header with many names.
fn without_key(name: &str) -> &str {
    if name.starts_with("x-ms-meta-") { OF_ALL_BLOBS[4] } else { name }
}

fn body(asked: &Asked, operation: &Operation) -> Vec<String> {
    let Some(schema) = &operation.body else {
        let is_empty = asked.body.is_empty() || asked.body.as_ref() == b"{}";
        return if is_empty { Vec::new() } else { vec!["body: the operation takes none".to_owned()] };
    };
    if asked.body.is_empty() {
        let is_optional = asked.method == Method::POST;
        return if is_optional { Vec::new() } else { vec!["body: it is missing".to_owned()] };
    }
    if !asked.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return vec!["header content-type: it is not application/json".to_owned()];
    }
    match serde_json::from_slice::<Value>(&asked.body) {
        Ok(value) => Contract::get().errors(schema, &value).into_iter().map(|error| format!("body {error}")).collect(),
        Err(error) => vec![format!("body: {error}")],
    }
}

fn at(place: &str, schema: &Value, text: &str) -> Vec<String> {
    let errors = Contract::get().errors(schema, &typed(schema, text));
    errors.into_iter().map(|error| format!("{place}{error}")).collect()
}

/// What is wrong with an answer of the fake's.
pub(super) fn answer(answer: &Answer, method: &Method, operation: &Operation) -> Vec<String> {
    if answer.status >= 400 {
        return refused(answer, method, operation);
    }
    let is_unchanged = operation.is_blob && answer.status == 304;
    if !operation.statuses.contains(&answer.status) && !is_unchanged {
        return vec![format!("answer {}: the operation answers {:?}", answer.status, operation.statuses)];
    }
    let Some(schema) = &operation.answer else { return Vec::new() };
    if answer.body.is_empty() {
        let is_needed = method == Method::GET;
        return if is_needed { vec!["answer: there is none".to_owned()] } else { Vec::new() };
    }
    Contract::get().errors(schema, &answer.value()).into_iter().map(|error| format!("answer {error}")).collect()
}

/// The shape of every error of ARM's.
fn refused(answer: &Answer, method: &Method, operation: &Operation) -> Vec<String> {
    if operation.is_blob || method == Method::HEAD {
        return Vec::new();
    }
    let text = json!({"type": "string", "minLength": 1});
    let error =
        json!({"type": "object", "required": ["code", "message"], "properties": {"code": text, "message": text}});
    let schema = json!({"type": "object", "required": ["error"], "properties": {"error": error}});
    Contract::get().errors(&schema, &answer.value()).into_iter().map(|error| format!("answer {error}")).collect()
}
