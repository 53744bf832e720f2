//! API keys: read once from a file, compared in constant time.

use std::path::{Path, PathBuf};

use subtle::{Choice, ConstantTimeEq};

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("cannot read the API key file {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the API key file {} holds no key: write one key per line", path.display())]
    Empty { path: PathBuf },
}

/// The accepted keys.
#[derive(Clone)]
pub struct ApiKeys(Vec<String>);

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ApiKeys({})", self.0.len())
    }
}

impl ApiKeys {
    /// Reads one key per line; blank lines and lines that begin with `#` are no keys.
    pub fn read(path: &Path) -> Result<Self, AuthError> {
        let text = std::fs::read_to_string(path).map_err(|source| AuthError::Read { path: path.to_owned(), source })?;
        let keys = Self::parse(&text);
        if keys.0.is_empty() { Err(AuthError::Empty { path: path.to_owned() }) } else { Ok(keys) }
    }

    fn parse(text: &str) -> Self {
        let keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(keys.map(str::to_owned).collect())
    }

    /// Whether an `Authorization` header carries one of the keys. Every key is compared, whichever matches.
    pub fn accept(&self, header: Option<&str>) -> bool {
        let Some(token) = header.and_then(bearer_token) else { return false };
        let found = self.0.iter().fold(Choice::from(0), |found, key| found | key.as_bytes().ct_eq(token.as_bytes()));
        found.into()
    }
}

fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listed_key_is_accepted() {
        let keys = ApiKeys::parse("# ours\nalpha\n\n  beta  \n");
        assert!(keys.accept(Some("Bearer alpha")) && keys.accept(Some("bearer beta")));
        for header in
            [None, Some("alpha"), Some("Basic alpha"), Some("Bearer alphab"), Some("Bearer "), Some("Bearer #")]
        {
            assert!(!keys.accept(header), "{header:?}");
        }
    }

    #[test]
    fn a_file_without_a_key_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = ApiKeys::read(file.path()).unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
}
