//! How a command ends: kind -> exit code, one sentence, and the next command to run.

use std::fmt;
use std::process::ExitCode;

use engine::apply::EngineError;
use engine::lease::LeaseError;
use engine::provider::{ErrorKind, ProviderError};

/// Why a command did not do what it was asked; the numbers are in docs/architecture.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Failed = 1,
    Usage = 2,
    Credentials = 3,
    Resource = 4,
    /// Budget, region or compliance forbid it.
    Policy = 5,
    NoSuchDeployment = 6,
    UnexpectedChanges = 7,
    Interrupted = 8,
    TimedOut = 9,
    RolledBack = 10,
    Locked = 11,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Credentials => "credentials",
            Self::Resource => "resource-failed",
            Self::Policy => "policy-refused",
            Self::NoSuchDeployment => "no-such-deployment",
            Self::UnexpectedChanges => "unexpected-changes",
            Self::Interrupted => "interrupted",
            Self::TimedOut => "timed-out",
            Self::RolledBack => "rolled-back",
            Self::Locked => "locked",
        }
    }
}

/// What a person reads when a command fails.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    /// The next command to run.
    pub next: Option<String>,
}

impl Failure {
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), next: None }
    }

    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    #[must_use]
    pub fn next(mut self, command: impl fmt::Display) -> Self {
        self.next = Some(command.to_string());
        self
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        let next = error.next().map(str::to_owned);
        Self { kind: kind_of(&error), message: error.to_string(), next }
    }
}

fn kind_of(error: &ProviderError) -> Kind {
    match error.kind {
        ErrorKind::Credentials => Kind::Credentials,
        ErrorKind::Throttled { .. }
        | ErrorKind::Ambiguous
        | ErrorKind::NotYet
        | ErrorKind::Capacity
        | ErrorKind::Quota
        | ErrorKind::Refused
        | ErrorKind::TokenSpent => Kind::Resource,
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Provider { address, source } => {
                let next = source.next().map(str::to_owned);
                Self { kind: kind_of(&source), message: format!("{address}: {source}"), next }
            }
            EngineError::NoCapacity { .. } => Self::new(Kind::Resource, error)
                .next("dsctl up (tries again; --max-hourly, --zone or --region widen the choice), or dsctl down"),
            EngineError::Impossible(_) => Self::usage(error),
            EngineError::Interrupted => Self::new(Kind::Interrupted, error).next("dsctl up, or dsctl down"),
            EngineError::Stale => Self::failed(error).next("dsctl plan"),
            EngineError::Journal(_) | EngineError::State(_) => Self::new(Kind::Resource, error),
        }
    }
}

impl From<LeaseError> for Failure {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Held { .. } | LeaseError::Lost => Self::new(Kind::Locked, error).next("dsctl status"),
            other => Self::failed(other),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}
