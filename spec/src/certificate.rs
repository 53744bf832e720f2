//! A deployment's certificates: what the authority is called, and what its host's certificate is for.

use serde::{Deserialize, Serialize};

use crate::deployment::Cloud;
use crate::id::{DeploymentName, SecretName};

/// The authority that a deployment's host issues its own certificate from: key and certificate in PEM, in this order.
pub const AUTHORITY: &str = "tls-ca";
/// The user's own certificate with its chain, in PEM.
pub const CERTIFICATE: &str = "tls-certificate";
/// The key of the user's own certificate, in PEM.
pub const CERTIFICATE_KEY: &str = "tls-key";

/// The authority's common name. Whoever makes it and whoever issues from it must have the same, since the one is the
/// subject and the other the issuer.
pub fn authority_name(deployment: &DeploymentName) -> String {
    format!("dsctl {deployment}")
}

/// A certificate that the agent issues on its host, and issues again in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateSpec {
    /// The secret that holds the authority.
    pub authority: SecretName,
    pub reach: Reach,
}

/// By which names clients reach a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// From the host itself only.
    Loopback,
    /// By its hostname and the addresses that it has.
    Network,
    /// Also by a public address that it does not have itself: this cloud's metadata service tells it.
    Public(Cloud),
}
