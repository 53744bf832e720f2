//! Where things lie on a machine: pure path arithmetic, so that no two rooms disagree.
//!
//! ```text
//! $DSCTL_HOME/                       default: the user's data folder + dsctl
//!   weights/                         content-addressed cache, shared by deployments
//!   artifacts/<sha256>/NAME          binaries, by digest
//!   audit/<name>-<time>/             audit logs of deployments that are gone: log/, audit-key
//!   incidents/<name>/<id>.jsonl      what runbooks saw and did to a deployment; outlives it
//!   runbooks/<name>.yaml             runbooks of one's own
//!   trusted/<name>.pem               whom clients of a deployment's gateway may trust that was not made here
//!   deployments/<name>/
//!     dsctl.yaml                     the deployment as it was written last
//!     ca.pem                         whom clients of its gateway may trust
//!     state/                         the engine's store: state, journal, lease
//!     bucket/                        what a cloud deployment keeps in its bucket
//!       host/<host>/desired.json     what the host must have     (written by dsctl)
//!       host/<host>/status.json      what the host has           (written by the agent)
//!       secrets/<name>               one secret a file, mode 0600
//!     host/                          what a cloud host keeps on its disk
//!       files/ logs/ units/ data/    files of the host spec; unit output; unit records; what units keep
//!       tls/                         the certificate that the agent issues: certificate.pem, key.pem, issued.json
//!       agent.lock                   held by the living agent
//! ```

use std::path::{Path, PathBuf};

use crate::id::{DeploymentName, HostName, SecretName, Sha256, UnitName};

/// The folder that holds everything dsctl keeps on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeLayout {
    root: PathBuf,
}

impl HomeLayout {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn weights(&self) -> PathBuf {
        self.root.join("weights")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    pub fn artifact(&self, digest: &Sha256, name: &str) -> PathBuf {
        self.artifacts().join(digest.as_str()).join(name)
    }

    /// Whom clients of a gateway may trust that somebody else of a team made, in PEM.
    pub fn trusted(&self, name: &DeploymentName) -> PathBuf {
        self.root.join("trusted").join(format!("{name}.pem"))
    }

    /// What runbooks saw and did to a deployment; it outlives the deployment.
    pub fn incidents(&self, name: &DeploymentName) -> PathBuf {
        self.root.join("incidents").join(name.as_str())
    }

    /// Audit logs of deployments that are gone.
    pub fn audit_logs(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// Runbooks of one's own.
    pub fn runbooks(&self) -> PathBuf {
        self.root.join("runbooks")
    }

    pub fn deployments(&self) -> PathBuf {
        self.root.join("deployments")
    }

    pub fn deployment(&self, name: &DeploymentName) -> DeploymentLayout {
        DeploymentLayout { root: self.deployments().join(name.as_str()) }
    }
}

/// One deployment's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentLayout {
    root: PathBuf,
}

impl DeploymentLayout {
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The deployment as it was written last: what `up` without a model means.
    pub fn spec_file(&self) -> PathBuf {
        self.root.join("dsctl.yaml")
    }

    /// Whom a client of the gateway may trust, in PEM; as the host told it last.
    pub fn certificate_authority(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// The engine's store.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    pub fn bucket(&self) -> BucketLayout {
        BucketLayout { root: self.root.join("bucket") }
    }

    pub fn host(&self) -> HostLayout {
        HostLayout { root: self.root.join("host") }
    }
}

/// A deployment's bucket, as a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketLayout {
    root: PathBuf,
}

impl BucketLayout {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Key of the host spec inside the bucket.
    pub fn desired_key(host: &HostName) -> String {
        format!("host/{host}/desired.json")
    }

    /// Key of the host status inside the bucket.
    pub fn status_key(host: &HostName) -> String {
        format!("host/{host}/status.json")
    }

    /// Key of the last diagnostics bundle inside the bucket.
    pub fn diagnostics_key(host: &HostName) -> String {
        format!("host/{host}/diagnostics.zip")
    }

    pub fn diagnostics(&self, host: &HostName) -> PathBuf {
        self.root.join(Self::diagnostics_key(host))
    }

    pub fn desired(&self, host: &HostName) -> PathBuf {
        self.root.join(Self::desired_key(host))
    }

    pub fn status(&self, host: &HostName) -> PathBuf {
        self.root.join(Self::status_key(host))
    }

    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    pub fn secret(&self, name: &SecretName) -> PathBuf {
        self.secrets().join(name.as_str())
    }
}

/// What the agent keeps on its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLayout {
    root: PathBuf,
}

impl HostLayout {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn agent_lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    /// The host spec that served last, and the one that did not come to.
    pub fn served(&self) -> PathBuf {
        self.root.join("served.json")
    }

    /// Files of the host spec.
    pub fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// A unit's captured output; rotated ones are `NAME.log.1` and up. The agent's own is `agent.log`.
    pub fn log(&self, unit: &str) -> PathBuf {
        self.logs().join(format!("{unit}.log"))
    }

    /// A unit's record: process id and start time, by which a new agent finds it again.
    pub fn unit(&self, unit: &UnitName) -> PathBuf {
        self.root.join("units").join(format!("{unit}.json"))
    }

    /// What the agent renders for what watches the host.
    pub fn monitoring(&self) -> PathBuf {
        self.root.join("monitoring")
    }

    /// What the agent issues.
    pub fn certificate_folder(&self) -> PathBuf {
        self.root.join("tls")
    }

    pub fn certificate(&self) -> PathBuf {
        self.certificate_folder().join("certificate.pem")
    }

    pub fn certificate_key(&self) -> PathBuf {
        self.certificate_folder().join("key.pem")
    }

    /// For which names that certificate is, and until when.
    pub fn certificate_record(&self) -> PathBuf {
        self.certificate_folder().join("issued.json")
    }

    /// A folder that a unit may write to.
    pub fn data(&self, unit: &UnitName) -> PathBuf {
        self.root.join("data").join(unit.as_str())
    }
}
