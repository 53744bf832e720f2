//! The script of a machine's first boot: the template with what is known only when the machine is made.

use crate::cloud::BOOT_PLACEHOLDERS;

/// What EC2 takes as user data, in bytes before base64.
pub const LIMIT: usize = 16_384;

/// What the placeholders stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootFacts<'a> {
    pub bucket: &'a str,
    pub region: &'a str,
    /// Of the `dsctl` for the host, in hex.
    pub dsctl_sha256: &'a str,
    /// URL of S3 where it is not AWS' own; else empty.
    pub endpoint: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    #[error("the boot script has {0} bytes; EC2 takes at most {LIMIT}")]
    TooLong(usize),
    #[error("the boot script holds {0}, which nothing fills in")]
    Placeholder(String),
}

/// The template with its placeholders filled in.
pub fn render(template: &str, facts: &BootFacts<'_>) -> Result<String, BootError> {
    let values = [facts.bucket, facts.region, facts.dsctl_sha256, facts.endpoint];
    if let Some(unknown) = placeholders(template).find(|found| !BOOT_PLACEHOLDERS.contains(&found.as_str())) {
        return Err(BootError::Placeholder(unknown));
    }
    let filled = BOOT_PLACEHOLDERS.iter().zip(values);
    let script = filled.fold(template.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value));
    if script.len() > LIMIT { Err(BootError::TooLong(script.len())) } else { Ok(script) }
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

    #[test]
    fn each_placeholder_is_filled_in_and_an_unknown_one_refused() {
        let all = "@BUCKET@ @REGION@ @DSCTL_SHA256@ [@ENDPOINT@] a@b";
        assert_eq!(render(all, &FACTS).unwrap(), "b eu-west-1 00 [] a@b");
        let unknown = BootError::Placeholder("@API_KEY@".to_owned());
        assert_eq!(render("key: @API_KEY@", &FACTS), Err(unknown));
    }

    #[test]
    fn what_ec2_would_refuse_is_refused_here() {
        assert!(render(&"x".repeat(LIMIT), &FACTS).is_ok());
        assert_eq!(render(&"x".repeat(LIMIT + 1), &FACTS), Err(BootError::TooLong(LIMIT + 1)));
    }
}
