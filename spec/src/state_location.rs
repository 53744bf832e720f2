//! Where a deployment's plan, state, journal and lease are kept: on this machine, or in a bucket that a team shares.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A bucket, or a container of an Azure storage account, and a folder in it: `s3://BUCKET/FOLDER`, `gs://BUCKET/FOLDER`,
/// `az://ACCOUNT/CONTAINER/FOLDER`. The folder may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StateLocation {
    pub service: ObjectService,
    /// Of Azure only.
    pub account: Option<String>,
    pub bucket: String,
    /// Without slashes at its ends; may be empty.
    pub folder: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectService {
    S3,
    Gs,
    Az,
}

impl ObjectService {
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is no place for state: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or az://ACCOUNT/CONTAINER/FOLDER")]
pub struct InvalidStateLocation {
    pub given: String,
}

impl FromStr for StateLocation {
    type Err = InvalidStateLocation;

    fn from_str(given: &str) -> Result<Self, InvalidStateLocation> {
        let invalid = || InvalidStateLocation { given: given.to_owned() };
        let (scheme, path) = given.split_once("://").ok_or_else(invalid)?;
        let service = [ObjectService::S3, ObjectService::Gs, ObjectService::Az]
            .into_iter()
            .find(|service| service.scheme() == scheme)
            .ok_or_else(invalid)?;
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let needed = if service == ObjectService::Az { 2 } else { 1 };
        if parts.len() < needed || !parts.iter().all(|part| is_part(part)) {
            return Err(invalid());
        }
        let (names, folder) = parts.split_at(needed);
        Ok(Self {
            service,
            account: (needed == 2).then(|| names[0].to_owned()),
            bucket: names[needed - 1].to_owned(),
            folder: folder.join("/"),
        })
    }
}

impl fmt::Display for StateLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.service.scheme())?;
        if let Some(account) = &self.account {
            write!(f, "{account}/")?;
        }
        f.write_str(&self.bucket)?;
        if self.folder.is_empty() { Ok(()) } else { write!(f, "/{}", self.folder) }
    }
}

impl TryFrom<String> for StateLocation {
    type Error = InvalidStateLocation;

    fn try_from(given: String) -> Result<Self, InvalidStateLocation> {
        given.parse()
    }
}

impl From<StateLocation> for String {
    fn from(location: StateLocation) -> Self {
        location.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["s3://bucket", "s3://bucket/team/dsctl", "gs://bucket/x", "az://account/container", "az://a/c/f"] {
            assert_eq!(text.parse::<StateLocation>().unwrap().to_string(), text);
        }
        assert_eq!("s3://bucket/".parse::<StateLocation>().unwrap().folder, "");
        for bad in ["", "bucket", "s3://", "s3:///x", "az://account", "s3://b/../c", "http://b", "s3://b//c"] {
            assert!(bad.parse::<StateLocation>().is_err(), "{bad}");
        }
    }
}
