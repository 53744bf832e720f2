//! Where one agent works: its deployment, its host, and their folders.

use std::path::PathBuf;

use spec::id::{DeploymentName, HostName, SecretName};
use spec::layout::{BucketLayout, HomeLayout, HostLayout};

#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub deployment: DeploymentName,
    pub name: HostName,
    pub home: HomeLayout,
    pub bucket: BucketLayout,
    pub host: HostLayout,
}

impl Site {
    pub fn new(home: &HomeLayout, deployment: &DeploymentName, host: &HostName) -> Self {
        let layout = home.deployment(deployment);
        Self {
            deployment: deployment.clone(),
            name: host.clone(),
            home: home.clone(),
            bucket: layout.bucket(),
            host: layout.host(),
        }
    }

    pub fn desired(&self) -> PathBuf {
        self.bucket.desired(&self.name)
    }

    pub fn status(&self) -> PathBuf {
        self.bucket.status(&self.name)
    }

    pub fn diagnostics(&self) -> PathBuf {
        self.bucket.diagnostics(&self.name)
    }

    pub fn secret(&self, name: &SecretName) -> PathBuf {
        self.bucket.secret(name)
    }
}
