//! The script of a machine's first boot, as EC2 takes it.

pub use crate::boot_script::BootFacts;
use crate::boot_script::{self, BootError, Limit};

/// Of user data, before base64.
const LIMIT: Limit = Limit { taker: "EC2", bytes: 16_384 };

/// The template with its placeholders filled in.
pub fn render(template: &str, facts: &BootFacts<'_>) -> Result<String, BootError> {
    boot_script::render(template, facts, LIMIT)
}
