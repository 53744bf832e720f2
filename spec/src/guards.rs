//! What dsgate looks for in requests and answers, and what it does about it: `guards:` in `dsctl.yaml`.
//!
//! ```yaml
//! guards:
//!   redact:                              # personal data and secrets; without it none are looked for
//!     entities: [EMAIL_ADDRESS, US_SSN]  # without it all of ENTITIES
//!     patterns: {EMPLOYEE_ID: 'E-[0-9]{6}'}  # your own, by name
//!     in: [request, answer]              # without it both
//!     placeholders: reversible           # the answer gets a request's values back; or one-way
//!   rules:
//!   - {name: rivals, words: [acme, "project x"], action: flag}   # block, redact or flag
//!   - {name: injection, preset: prompt-injection, action: block, in: [request]}
//!   - {name: tickets, patterns: ['TICKET-[0-9]{1,8}'], action: redact}
//!   - {name: keys, entities: [API_KEY, PRIVATE_KEY], action: block}
//!   max_request_text: 65536              # bytes of all texts of a request
//!   max_answer_text: 262144
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What can be found by itself, under Presidio's names where it has one.
pub const ENTITIES: &[&str] = &[
    "EMAIL_ADDRESS",
    "PHONE_NUMBER",
    "CREDIT_CARD",
    "IBAN_CODE",
    "US_SSN",
    "IP_ADDRESS",
    "URL_CREDENTIALS",
    "DATE_OF_BIRTH",
    "MEDICAL_RECORD",
    "INSURANCE_NUMBER",
    "API_KEY",
    "JWT",
    "PRIVATE_KEY",
    "ES_NIF",
    "ES_NIE",
];

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardsConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redact: Option<RedactConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<GuardRule>,
    /// Bytes of all texts of a request; more is blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_request_text: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_answer_text: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedactConfig {
    /// Of [`ENTITIES`]; empty means all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<String>,
    /// Entity name -> regular expression of bounded length.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub patterns: BTreeMap<String, String>,
    #[serde(rename = "in")]
    pub directions: Vec<Direction>,
    pub placeholders: Placeholders,
}

impl Default for RedactConfig {
    fn default() -> Self {
        let directions = Direction::ALL.to_vec();
        Self { entities: Vec::new(), patterns: BTreeMap::new(), directions, placeholders: Placeholders::default() }
    }
}

/// Exactly one of `words`, `patterns`, `preset` and `entities` says what is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardRule {
    /// The label `rule` of the metrics, and what a refused client is told.
    pub name: String,
    pub action: GuardAction,
    #[serde(rename = "in", default = "both")]
    pub directions: Vec<Direction>,
    /// Whole words, in upper or lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<GuardPreset>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<String>,
}

fn both() -> Vec<Direction> {
    Direction::ALL.to_vec()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardAction {
    /// The request is refused, the answer ends.
    Block,
    /// A placeholder takes its place.
    Redact,
    /// It is counted, and passes.
    Flag,
}

impl GuardAction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Redact => "redact",
            Self::Flag => "flag",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    Request,
    Answer,
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::Request, Self::Answer];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placeholders {
    /// Numbered in each request; where the answer repeats one, the client gets the value. Secrets never come back.
    #[default]
    Reversible,
    /// The entity's name; the value is nowhere kept.
    OneWay,
}

/// Rules that come with dsgate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardPreset {
    /// Texts that try to put other instructions in force.
    PromptInjection,
    /// SQL that destroys, or reads what it was not asked for.
    Sql,
    /// Passwords and connection strings written out.
    Secrets,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_head_of_this_page_shows_is_read() {
        let page = include_str!("guards.rs");
        let lines = page.lines().skip_while(|line| !line.contains("```yaml")).skip(1);
        let text: String = lines
            .take_while(|line| !line.contains("```"))
            .map(|line| format!("{}\n", line.trim_start_matches("//! ")))
            .collect();
        let deployment = crate::deployment::Deployment::parse(&text, "dsctl.yaml").unwrap();
        let guards = deployment.guards.unwrap();
        assert_eq!(guards.rules.len(), 4);
        assert_eq!(guards.redact.unwrap().directions, Direction::ALL);
    }

    #[test]
    fn slips_are_named_with_their_place() {
        for (text, hint) in [
            ("guards: {redakt: {}}", "guards: unknown key \"redakt\", did you mean \"redact\"?"),
            (
                "guards: {rules: [{name: a, action: drop, words: [x]}]}",
                "guards.rules[0].action: unknown variant `drop`",
            ),
            ("guards: {redact: {in: [out]}}", "guards.redact.in[0]: unknown variant `out`"),
        ] {
            let error = crate::deployment::Deployment::parse(text, "f").unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }
}
