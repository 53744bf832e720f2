//! Keys and tokens: read from files, compared in constant time, never shown.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use spec::virtual_key::{DIGEST, InvalidKeyLine, KeyLine, VirtualKey};
use subtle::{Choice, ConstantTimeEq};

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("can't read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path} holds no key: write one key a line")]
    Empty { path: String },
    #[error("{path} holds more than one key; only one can be sent")]
    Several { path: String },
    #[error("{path}: line {line} can't be sent in a header: only printable ASCII without spaces can")]
    Unprintable { path: String, line: usize },
    #[error("{path}: {source}")]
    Line { path: String, source: InvalidKeyLine },
}

/// The keys that are accepted, as their SHA-256: 256 random bits need no slower digest, and none is kept here to be read.
#[derive(Clone)]
pub struct Keys(Vec<Arc<KnownKey>>);

/// One of them.
pub struct KnownKey {
    digest: [u8; 32],
    /// For records and metrics: its name, or the start of its digest, which opens nothing.
    pub id: Arc<str>,
    /// None: it may do all.
    pub limits: Option<VirtualKey>,
}

/// Digits of a digest that tell keys apart.
const ID_DIGITS: usize = 12;

/// The key that a request was admitted with.
#[derive(Debug, Clone)]
pub struct ClientKey(pub Arc<KnownKey>);

/// What a request's `Authorization` header is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Accepted,
    Missing,
    Wrong,
    /// It was right once.
    Expired,
}

impl Keys {
    /// One key a line, or `sha256:` and its digest, or that with limits; blank lines and lines that begin with `#` are no keys.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let known = lines(path)?.iter().map(|line| known_key(line).map(Arc::new)).collect::<Result<_, _>>();
        known.map(Self).map_err(|source| KeyError::Line { path: path.display().to_string(), source })
    }

    /// Which key it is, of a request that was admitted.
    pub fn find(&self, headers: &http::HeaderMap) -> Option<ClientKey> {
        let token: [u8; 32] = Sha256::digest(headers.get(AUTHORIZATION)?.to_str().ok().and_then(bearer_token)?).into();
        self.0.iter().find(|known| known.digest == token).map(|known| ClientKey(Arc::clone(known)))
    }

    /// Every key is compared, whichever matches, so that the time taken says nothing.
    pub fn admit(&self, headers: &http::HeaderMap) -> Admission {
        let Some(header) = headers.get(AUTHORIZATION) else { return Admission::Missing };
        let Some(token) = header.to_str().ok().and_then(bearer_token) else { return Admission::Wrong };
        let token: [u8; 32] = Sha256::digest(token).into();
        let now = Timestamp::now();
        let none = (Choice::from(0), Choice::from(0));
        let (found, expired) = self.0.iter().fold(none, |(found, expired), known| {
            let is_it = known.digest.ct_eq(&token);
            (found | is_it, expired | (is_it & Choice::from(u8::from(known.is_over(now)))))
        });
        match (found.into(), expired.into()) {
            (false, _) => Admission::Wrong,
            (true, true) => Admission::Expired,
            (true, false) => Admission::Accepted,
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl KnownKey {
    fn is_over(&self, now: Timestamp) -> bool {
        self.limits.as_ref().and_then(|limits| limits.expires).is_some_and(|expires| expires <= now)
    }

    pub fn may_use(&self, model: &str) -> bool {
        let models = self.limits.as_ref().map_or(&[][..], |limits| &limits.models);
        models.is_empty() || models.iter().any(|name| name == model)
    }
}

impl fmt::Debug for KnownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownKey({})", self.id)
    }
}

/// The `Authorization` header for an upstream, from a file that holds one key.
pub fn read_authorization(path: &Path) -> Result<HeaderValue, KeyError> {
    let keys = lines(path)?;
    let [key] = keys.as_slice() else { return Err(KeyError::Several { path: path.display().to_string() }) };
    let mut header = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| KeyError::Unprintable { path: path.display().to_string(), line: 1 })?;
    header.set_sensitive(true);
    Ok(header)
}

/// The lines that are keys; at least one.
fn lines(path: &Path) -> Result<Vec<String>, KeyError> {
    let shown = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| KeyError::Read { path: shown(), source })?;
    let mut keys = Vec::new();
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let is_sendable = line.starts_with(DIGEST) || line.bytes().all(|b| b.is_ascii_graphic());
        if !is_sendable {
            return Err(KeyError::Unprintable { path: shown(), line: at + 1 });
        }
        keys.push(line.to_owned());
    }
    if keys.is_empty() { Err(KeyError::Empty { path: shown() }) } else { Ok(keys) }
}

fn known_key(line: &str) -> Result<KnownKey, InvalidKeyLine> {
    let bytes = |digits: &str| hex::decode(digits).ok().and_then(|digest| digest.try_into().ok());
    if let Some(KeyLine { digest, key }) = KeyLine::read(line)? {
        let digest = bytes(digest.as_str()).ok_or(InvalidKeyLine::Digest)?;
        return Ok(KnownKey { digest, id: key.name.as_str().into(), limits: Some(key) });
    }
    let digest: [u8; 32] = match line.strip_prefix(DIGEST) {
        None => Sha256::digest(line).into(),
        Some(digits) => bytes(digits).ok_or(InvalidKeyLine::Digest)?,
    };
    let id = format!("key-{}", &hex::encode(digest)[..ID_DIGITS]).into();
    Ok(KnownKey { digest, id, limits: None })
}

fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn admit(keys: &Keys, header: Option<&str>) -> Admission {
        let mut headers = http::HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        keys.admit(&headers)
    }

    #[test]
    fn only_a_listed_key_is_accepted() {
        let keys = Keys::read(file("# ours\nalpha\n\n  beta  \n").path()).unwrap();
        for header in ["Bearer alpha", "bearer beta", "BEARER  alpha"] {
            assert_eq!(admit(&keys, Some(header)), Admission::Accepted, "{header}");
        }
        for header in
            ["alpha", "Basic alpha", "Bearer alphab", "Bearer alph", "Bearer ", "Bearer #", "Bearer alpha beta"]
        {
            assert_eq!(admit(&keys, Some(header)), Admission::Wrong, "{header}");
        }
        assert_eq!(admit(&keys, None), Admission::Missing);
        assert_eq!(format!("{keys:?}"), "Keys(2)");
    }

    #[test]
    fn a_digest_stands_for_its_key_and_opens_nothing_itself() {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest("alpha")));
        let keys = Keys::read(file(&format!("{digest}\nbeta\n")).path()).unwrap();
        assert_eq!(admit(&keys, Some("Bearer alpha")), Admission::Accepted);
        assert_eq!(admit(&keys, Some("Bearer beta")), Admission::Accepted);
        assert_eq!(admit(&keys, Some(&format!("Bearer {digest}"))), Admission::Wrong);
    }

    #[test]
    fn a_bad_file_is_refused_by_name() {
        for (text, hint) in [
            ("", "holds no key"),
            ("# none\n", "holds no key"),
            ("a b\n", "line 1"),
            ("ok\nü\n", "line 2"),
            ("sha256:00", "64 hexadecimal digits"),
        ] {
            let file = file(text);
            let error = Keys::read(file.path()).unwrap_err().to_string();
            assert!(error.contains(hint) && error.contains(file.path().to_str().unwrap()), "{error}");
        }
        let error = Keys::read(Path::new("/nowhere/keys")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/keys"), "{error}");
    }

    #[test]
    fn an_upstream_has_one_key_and_it_is_not_shown() {
        let header = read_authorization(file("secret-1\n").path()).unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer secret-1");
        assert!(!format!("{header:?}").contains("secret"));
        assert!(matches!(read_authorization(file("a\nb\n").path()), Err(KeyError::Several { .. })));
    }
}
