//! The script of a machine's first boot, as Azure takes it.

use crate::boot_script::{BootError, BootFacts, Limit, render as render_for};

/// What Azure takes as custom data, in bytes before base64.
const LIMIT: Limit = Limit { taker: "Azure", bytes: 65_535 };

/// Of Azure alone: a machine may be given further identities, and then has to say which of them it means.
const IDENTITY: &str = "@IDENTITY@";

/// The template with its placeholders filled in: `@BUCKET@` is `ACCOUNT/CONTAINER`, `@ENDPOINT@` the URL of the account's blobs,
/// `@IDENTITY@` the id of the machine's identity.
pub fn render(template: &str, facts: &BootFacts<'_>, identity: &str) -> Result<String, BootError> {
    render_for(&template.replace(IDENTITY, identity), facts, LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: BootFacts<'_> = BootFacts {
        bucket: "acc/dsctl",
        region: "westeurope",
        dsctl_sha256: "00",
        endpoint: "https://acc.blob.core.windows.net",
    };

    #[test]
    fn what_azure_would_refuse_is_refused_here() {
        assert!(render(&"x".repeat(LIMIT.bytes), &FACTS, "").is_ok());
        let error = render(&"x".repeat(LIMIT.bytes + 1), &FACTS, "").unwrap_err();
        assert_eq!(error.to_string(), "the boot script has 65536 bytes; Azure takes at most 65535");
    }

    #[test]
    fn the_identity_counts_among_what_is_filled_in() {
        assert_eq!(
            render("@IDENTITY@ of @REGION@", &FACTS, "/subscriptions/s").unwrap(),
            "/subscriptions/s of westeurope"
        );
        assert!(render(&"x".repeat(LIMIT.bytes - 10), &FACTS, "").is_ok());
        assert!(render(&format!("{}@IDENTITY@", "x".repeat(LIMIT.bytes - 10)), &FACTS, "/subscriptions/s").is_err());
    }
}
