//! Names and ids as types: checked once where they enter, trusted afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a word is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{given}\" is not valid: {rule}")]
pub struct InvalidId {
    pub what: &'static str,
    pub given: String,
    pub rule: &'static str,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(given: &str) -> Result<Self, InvalidId> {
                let check: fn(&str) -> bool = $check;
                if check(given) {
                    Ok(Self(given.to_owned()))
                } else {
                    Err(InvalidId { what: $what, given: given.to_owned(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(given: String) -> Result<Self, InvalidId> {
                given.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

/// Lower-case letters, digits and single dashes, first a letter: safe as a file name, a label and a cloud name.
fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 40
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// A file name without a path: letters, digits, dots, dashes, underscores.
fn is_file_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

checked_text!(
    /// The name of a deployment.
    DeploymentName,
    "deployment name",
    "1 to 40 lower-case letters, digits and dashes, first a letter, last no dash",
    is_slug
);
checked_text!(
    /// The name of a host inside a deployment.
    HostName,
    "host name",
    "1 to 40 lower-case letters, digits and dashes, first a letter, last no dash",
    is_slug
);
checked_text!(
    /// The name of a supervised process.
    UnitName,
    "unit name",
    "1 to 40 lower-case letters, digits and dashes, first a letter, last no dash",
    is_slug
);
checked_text!(
    /// The name of a secret: a file under `secrets/`.
    SecretName,
    "secret name",
    "1 to 40 lower-case letters, digits and dashes, first a letter, last no dash",
    is_slug
);
checked_text!(
    /// The name of a weights entry, e.g. `smollm2-135m` or `70b-int8`.
    WeightsName,
    "weights name",
    "letters, digits, dots, dashes and underscores, at most 200, first no dot",
    is_file_name
);
checked_text!(
    /// A SHA-256 digest in lower-case hexadecimal.
    Sha256,
    "SHA-256 digest",
    "64 lower-case hexadecimal digits",
    is_sha256
);

/// The two variants between which traffic is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// The one in force before the rollout: the old API.
    Baseline,
    /// The one on trial: our own daemon.
    Candidate,
}

impl Variant {
    pub const ALL: [Self; 2] = [Self::Baseline, Self::Candidate];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        }
    }

    pub const fn other(self) -> Self {
        match self {
            Self::Baseline => Self::Candidate,
            Self::Candidate => Self::Baseline,
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        for bad in ["", "..", "a/b", "A", "-a", "a-", "a b", "1a", &"a".repeat(41)] {
            assert!(bad.parse::<DeploymentName>().is_err(), "{bad:?}");
        }
        for bad in ["", ".", "..", "a/b", ".hidden"] {
            assert!(bad.parse::<WeightsName>().is_err(), "{bad:?}");
        }
        assert_eq!("default".parse::<DeploymentName>().unwrap().as_str(), "default");
    }

    #[test]
    fn deserializing_checks_too() {
        let error = serde_json::from_str::<DeploymentName>("\"No\"").unwrap_err().to_string();
        assert!(error.contains("deployment name \"No\" is not valid"), "{error}");
    }
}
