//! A key of a client with a name and limits: one line of the deployment's client keys.
//!
//! ```text
//! sha256:<64 hexadecimal digits of the key's digest> {"name":"team-a","models":["gpt-4"],"requests_per_minute":60,…}
//! ```
//! The key itself stands nowhere: `dsctl keys create` shows it once.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::amount::Usd;
use crate::id::Sha256;

/// In front of a digest that stands in a key's place.
pub const DIGEST: &str = "sha256:";

/// What a key may do; what is left out is not limited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtualKey {
    /// Lower-case letters, digits, dashes.
    pub name: String,
    pub made_at: Timestamp,
    /// As clients name them; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Of prompts and answers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// What may be spent on upstreams that have a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub dollars: Usd,
    pub per: Period,
}

/// In UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    Day,
    Month,
}

impl Period {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dollars, self.per.as_str())
    }
}

/// Why a text is no budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no budget: write dollars and a period, like 20/day or 300/month")]
pub struct InvalidBudget(pub String);

impl FromStr for Budget {
    type Err = InvalidBudget;

    fn from_str(given: &str) -> Result<Self, InvalidBudget> {
        let invalid = || InvalidBudget(given.to_owned());
        let (dollars, period) = given.split_once('/').ok_or_else(invalid)?;
        let per = match period {
            "day" => Period::Day,
            "month" => Period::Month,
            _ => return Err(invalid()),
        };
        Ok(Self { dollars: dollars.parse().map_err(|_| invalid())?, per })
    }
}

/// A line of the client keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    pub digest: Sha256,
    pub key: VirtualKey,
}

/// Why a line is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyLine {
    #[error("a line begins with {DIGEST} and has not 64 hexadecimal digits after it")]
    Digest,
    #[error("the limits of a key can't be read: {0}")]
    Limits(String),
}

impl fmt::Display for KeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = serde_json::to_string(&self.key).map_err(|_| fmt::Error)?;
        write!(f, "{DIGEST}{} {limits}", self.digest)
    }
}

impl KeyLine {
    /// None of a line that has no limits.
    pub fn read(line: &str) -> Result<Option<Self>, InvalidKeyLine> {
        let Some((digest, limits)) = line.strip_prefix(DIGEST).and_then(|rest| rest.split_once(' ')) else {
            return Ok(None);
        };
        let digest = digest.parse().map_err(|_| InvalidKeyLine::Digest)?;
        let key = serde_json::from_str(limits).map_err(|error| InvalidKeyLine::Limits(error.to_string()))?;
        Ok(Some(Self { digest, key }))
    }
}

/// Whether a text can be a key's name.
pub fn is_name(text: &str) -> bool {
    let is_kept = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_kept) && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let key = VirtualKey {
            name: "team-a".to_owned(),
            made_at: Timestamp::UNIX_EPOCH,
            models: vec!["gpt 4".to_owned()],
            requests_per_minute: Some(60),
            tokens_per_minute: None,
            budget: Some("12.5/month".parse().unwrap()),
            expires: None,
        };
        let line = KeyLine { digest: "a".repeat(64).parse().unwrap(), key };
        assert_eq!(KeyLine::read(&line.to_string()).unwrap(), Some(line));
        assert_eq!(KeyLine::read("dsk-1").unwrap(), None);
        assert_eq!(KeyLine::read(&format!("sha256:{}", "a".repeat(64))).unwrap(), None);
        assert!(KeyLine::read("sha256:00 {}").is_err());
        let error = KeyLine::read(&format!("sha256:{} {{\"name\":1}}", "a".repeat(64))).unwrap_err().to_string();
        assert!(error.contains("limits of a key"), "{error}");
    }

    #[test]
    fn a_budget_has_a_period() {
        assert_eq!("20/day".parse::<Budget>().unwrap().to_string(), "20.00/day");
        for none in ["20", "/day", "20/week", "-1/day", "x/month"] {
            assert!(none.parse::<Budget>().is_err(), "{none}");
        }
    }
}
