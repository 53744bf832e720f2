//! The script of a machine's first boot, as Compute Engine takes it.

pub use crate::boot_script::BootFacts;
use crate::boot_script::{self, BootError, Limit};

/// Of one value of a machine's metadata.
const LIMIT: Limit = Limit { taker: "Compute Engine", bytes: 262_144 };

/// The template with its placeholders filled in.
pub fn render(template: &str, facts: &BootFacts<'_>) -> Result<String, BootError> {
    boot_script::render(template, facts, LIMIT)
}
