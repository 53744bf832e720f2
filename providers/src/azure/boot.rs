//! The script of a machine's first boot, as Azure takes it.

use crate::boot_script::{BootError, BootFacts, Limit, render as render_for};

/// What Azure takes as custom data, in bytes before base64.
const LIMIT: Limit = Limit { taker: "Azure", bytes: 65_535 };

/// The template with its placeholders filled in: `@BUCKET@` is `ACCOUNT/CONTAINER`, `@ENDPOINT@` the URL of the account's blobs.
pub fn render(template: &str, facts: &BootFacts<'_>) -> Result<String, BootError> {
    render_for(template, facts, LIMIT)
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
        assert!(render(&"x".repeat(LIMIT.bytes), &FACTS).is_ok());
        let error = render(&"x".repeat(LIMIT.bytes + 1), &FACTS).unwrap_err();
        assert_eq!(error.to_string(), "the boot script has 65536 bytes; Azure takes at most 65535");
    }
}
