//! Whether dsgate keeps an audit log, and how: `audit:` in `dsctl.yaml`.
//!
//! ```yaml
//! audit:
//!   keep: true          # without it: on a cloud where there are guards or compliance; `audit: {}` is enough to keep one
//!   sync: answer        # a record is on disk before its answer ends; or grouped: soon after
//!   when_full: refuse   # no answer that can't be recorded; or degrade: answer on, count what is lost, and alert
//!   rotate_mib: 64      # a new file at this size, and each day (UTC)
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The secret that the keys of chain and digests follow from.
pub const AUDIT_KEY: &str = "audit-key";

/// The log's folder in dsgate's data folder.
pub const AUDIT_FOLDER: &str = "audit";

/// As it is written; what is left out is decided by the rest of the deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditWish {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<AuditSync>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_mib: Option<u32>,
}

impl AuditWish {
    pub fn policy(self) -> AuditPolicy {
        let default = AuditPolicy::default();
        AuditPolicy {
            sync: self.sync.unwrap_or(default.sync),
            when_full: self.when_full.unwrap_or(default.when_full),
            rotate_mib: self.rotate_mib.unwrap_or(default.rotate_mib),
        }
    }
}

/// How a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditPolicy {
    pub sync: AuditSync,
    pub when_full: WhenFull,
    pub rotate_mib: u32,
}

impl Default for AuditPolicy {
    fn default() -> Self {
        Self { sync: AuditSync::Answer, when_full: WhenFull::Refuse, rotate_mib: 64 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditSync {
    /// The record is on disk before the answer's last bytes go.
    Answer,
    /// With others, soon after: a power cut may take the last of them.
    Grouped,
}

/// What becomes of requests while nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// 503.
    Refuse,
    /// They are answered. Records wait in memory, and those that don't fit are counted, in the log too.
    Degrade,
}

/// Of dsgate's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    pub key_file: PathBuf,
    pub policy: AuditPolicy,
}
