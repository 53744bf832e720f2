//! A deployment, complete and checked: every default, size and name filled in. Phases after this one ask no questions.

use serde::{Deserialize, Serialize};

use crate::amount::Utilization;
use crate::audit::AuditPolicy;
use crate::deployment::{CertificateWish, Cloud};
use crate::encryption_key::EncryptionKey;
use crate::guards::GuardsConfig;
use crate::id::{DeploymentName, WeightsName};
use crate::machine::ResolvedMachine;
use crate::monitoring::Monitoring;
use crate::route::{CacheConfig, TokenPrice};
use crate::weights::WeightsSpec;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedSpec {
    pub name: DeploymentName,
    pub cloud: Cloud,
    pub model: ResolvedModel,
    pub gateway_port: PortChoice,
    #[serde(default)]
    pub tls: ResolvedTls,
    pub daemon: ResolvedDaemon,
    pub baseline: Option<ResolvedBaseline>,
    /// What is asked between candidate and baseline when one of them fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spare: Option<ResolvedApi>,
    /// None: the gateway looks into nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsConfig>,
    /// None: every request is asked of an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfig>,
    /// None: no audit log is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditPolicy>,
    pub monitoring: Monitoring,
    /// None: the cloud's own keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<EncryptionKey>,
    /// None on this machine itself.
    pub machine: Option<ResolvedMachine>,
}

impl ResolvedSpec {
    /// All weights that the deployment needs, each once.
    pub fn weights(&self) -> Vec<WeightsSpec> {
        let mut all = self.model.weights.clone();
        if let Some(ResolvedBaseline::Local(model)) = &self.baseline
            && model.name != self.model.name
        {
            all.extend(model.weights.iter().cloned());
        }
        all
    }
}

/// A model to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedModel {
    /// What was asked for, e.g. `70b-int8`.
    pub name: WeightsName,
    /// What the API calls it, e.g. `deepseek-r1-distill-llama-70b`.
    pub served_name: String,
    /// One file, or the parts of one in their order.
    pub weights: Vec<WeightsSpec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortChoice {
    Fixed(u16),
    /// A free one, found once and then kept.
    AnyFree,
}

/// What the gateway shows its clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvedTls {
    /// Nothing: it speaks plain HTTP.
    #[default]
    Plain,
    /// A certificate that its host issues, from an authority of the deployment's own.
    Issued,
    /// The user's own certificate.
    Given(CertificateWish),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedDaemon {
    /// Tokens a sequence; none = the daemon's own default for the model.
    pub context: Option<u32>,
    pub max_sequences: u32,
    /// None = as many as the machine has cores.
    pub threads: Option<u32>,
    /// Of the memory that is free when it starts; none = the daemon's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_utilization: Option<Utilization>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvedBaseline {
    Local(ResolvedModel),
    Api(ResolvedApi),
}

/// An API that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedApi {
    pub url: String,
    /// Further addresses of the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<String>,
    /// None: the client's own model name goes through.
    pub model: Option<String>,
    pub key: KeySource,
    /// None: nobody said what it charges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<TokenPrice>,
}

/// Where a key of the user's is read from at `up`; never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySource {
    None,
    Environment(String),
    File(std::path::PathBuf),
}
