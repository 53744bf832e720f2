//! Takes out of a text what nobody but its owner may read: the host's own secrets by their value, others by their form. Pure.

use regex::{Captures, Regex};

/// Stands where something was taken out.
pub(crate) const REDACTED: &str = "[REDACTED]";
/// Shorter values are words that stand anywhere.
const LEAST_LENGTH: usize = 8;

/// What gives a secret away that is not this host's own; the first group, where there is one, stays.
const FORMS: &[&str] = &[
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----",
    r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}",
    r"\b(?:sk|pk|rk|dsk|ghp|xox[abp])[-_][A-Za-z0-9_-]{8,}",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+",
    r"(://)[^\s/@:]+:[^\s/@]+@",
    r#"(?i)((?:api[_-]?key|token|passw(?:or)?d|client[_-]?secret|signature)["']?\s*[=:]\s*["']?)[^\s"',}&\[{]{4,}"#,
];

#[derive(Debug)]
pub(crate) struct Redactor {
    values: Vec<String>,
    forms: Vec<Regex>,
}

impl Redactor {
    /// Of the contents of all secrets of the host: each line of them is one.
    pub fn new(secrets: &[String]) -> Result<Self, regex::Error> {
        let lines = secrets.iter().flat_map(|text| text.lines()).map(str::trim);
        let is_value = |line: &&str| line.len() >= LEAST_LENGTH && !line.starts_with("-----");
        let mut values: Vec<String> = lines.filter(is_value).map(str::to_owned).collect();
        // One that holds another goes first.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Ok(Self { values, forms: FORMS.iter().map(|form| Regex::new(form)).collect::<Result<_, _>>()? })
    }

    pub fn redact(&self, text: &str) -> String {
        let without_own = self.values.iter().fold(text.to_owned(), |text, value| text.replace(value, REDACTED));
        let kept = |found: &Captures<'_>| {
            let kept = found.get(1).map_or("", |kept| kept.as_str());
            format!("{kept}{REDACTED}")
        };
        self.forms.iter().fold(without_own, |text, form| form.replace_all(&text, kept).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(&secrets.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_looks_like_a_secret_goes_and_the_rest_stays() {
        let redactor = redactor(&[]);
        for (text, wanted) in [
            ("Authorization: Bearer abcdefgh12", "Authorization: Bearer [REDACTED]"),
            ("key sk-proj-0123456789 refused", "key [REDACTED] refused"),
            ("https://user:pass@proxy:3128/x", "https://[REDACTED]proxy:3128/x"),
            ("url?api_key=abcd1234&x=1", "url?api_key=[REDACTED]&x=1"),
            (r#"{"password": "hunter22", "a": 1}"#, r#"{"password": "[REDACTED]", "a": 1}"#),
            ("AKIAIOSFODNN7EXAMPLE", "[REDACTED]"),
            ("-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\nafter", "[REDACTED]\nafter"),
            ("eyJhbGciOi.eyJzdWIi.SflKxw", "[REDACTED]"),
        ] {
            assert_eq!(redactor.redact(text), wanted);
        }
        for text in [
            "vllm:time_to_first_token_seconds_bucket{le=\"0.1\"} 5",
            r#""first_token": [{"unit": "dsserve"}]"#,
            "dsserve (pid 7) is ready at http://127.0.0.1:8082/ready",
            r#"{"secret": "daemon-key"}"#,
        ] {
            assert_eq!(redactor.redact(text), text);
        }
    }

    proptest! {
        /// Wherever it stands, a secret of the host is gone, also where one begins with another.
        #[test]
        fn no_secret_of_the_host_is_left(
            secret in "[A-Za-z0-9]{8,40}", longer in "[A-Za-z0-9]{1,8}", before in "[ -~\n]{0,40}", after in "[ -~\n]{0,40}",
        ) {
            let both = format!("{secret}{longer}");
            let redactor = redactor(&[&format!("# comment\n{secret}\n"), &both]);
            let redacted = redactor.redact(&format!("{before}{both}{after}{secret}"));
            prop_assert!(!redacted.contains(&secret), "{redacted}");
        }
    }
}
