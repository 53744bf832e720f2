//! The script of a machine's first boot: the template with what is known only when the machine is made. Pure; what each cloud
//! takes at most is said in its own room.

use crate::cloud::BOOT_PLACEHOLDERS;

/// What the placeholders stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootFacts<'a> {
    pub bucket: &'a str,
    pub region: &'a str,
    /// Of the `dsctl` for the host, in hex.
    pub dsctl_sha256: &'a str,
    /// URL of the cloud where it is not the cloud's own; else empty.
    pub endpoint: &'a str,
}

/// Who takes a script, and how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub taker: &'static str,
    pub bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    #[error("the boot script has {bytes} bytes; {} takes at most {}", limit.taker, limit.bytes)]
    TooLong { bytes: usize, limit: Limit },
    #[error("the boot script holds {0}, which nothing fills in")]
    Placeholder(String),
}

/// The template with its placeholders filled in.
pub fn render(template: &str, facts: &BootFacts<'_>, limit: Limit) -> Result<String, BootError> {
    let values = [facts.bucket, facts.region, facts.dsctl_sha256, facts.endpoint];
    if let Some(unknown) = placeholders(template).find(|found| !BOOT_PLACEHOLDERS.contains(&found.as_str())) {
        return Err(BootError::Placeholder(unknown));
    }
    let filled = BOOT_PLACEHOLDERS.iter().zip(values);
    let script = filled.fold(template.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value));
    if script.len() > limit.bytes { Err(BootError::TooLong { bytes: script.len(), limit }) } else { Ok(script) }
}

fn placeholders(text: &str) -> impl Iterator<Item = String> {
    let is_name = |part: &&str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    text.split('@').skip(1).filter(is_name).map(|name| format!("@{name}@"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: BootFacts<'_> = BootFacts { bucket: "b", region: "eu-west-1", dsctl_sha256: "00", endpoint: "" };
    const LIMIT: Limit = Limit { taker: "a cloud", bytes: 100 };

    #[test]
    fn each_placeholder_is_filled_in_and_an_unknown_one_refused() {
        let all = "@BUCKET@ @REGION@ @DSCTL_SHA256@ [@ENDPOINT@] a@b";
        assert_eq!(render(all, &FACTS, LIMIT).unwrap(), "b eu-west-1 00 [] a@b");
        let unknown = BootError::Placeholder("@API_KEY@".to_owned());
        assert_eq!(render("key: @API_KEY@", &FACTS, LIMIT), Err(unknown));
    }

    #[test]
    fn what_the_cloud_would_refuse_is_refused_here() {
        assert!(render(&"x".repeat(100), &FACTS, LIMIT).is_ok());
        let error = render(&"x".repeat(101), &FACTS, LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "the boot script has 101 bytes; a cloud takes at most 100");
    }
}
