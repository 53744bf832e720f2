//! What a user wrote: `dsctl.yaml`, flags laid over it. Everything may be left out; [`crate::resolved`] is the complete form.
//!
//! ```yaml
//! name: default            # lower-case letters, digits, dashes
//! cloud: local             # local, aws, gcp, azure
//! model: smollm2-135m      # a name of `dsctl models`, e.g. 70b-int8
//! gateway:
//!   port: 8080             # 0 = any free one
//!   certificate: {chain_file: chain.pem, key_file: key.pem}  # your own, in place of one of the deployment's authority
//! daemon:
//!   context: 4096          # tokens a sequence
//!   max_sequences: 8
//!   memory_utilization: 0.9
//!   threads: 2
//! baseline: local:smollm2-135m
//! # or: {url: https://api.openai.com/v1, model: gpt-4o-mini, key_env: OPENAI_API_KEY,
//! #      price: {prompt_per_million: 1.00, completion_per_million: 4.00}}  # US dollars, as its price list has it
//! spare: {url: https://api.deepseek.com/v1, model: deepseek-chat, key_env: DEEPSEEK_API_KEY}  # asked where one of both fails
//! guards: {redact: {entities: [EMAIL_ADDRESS, US_SSN]}}  # what the gateway looks for in texts, all of it: crate::guards
//! cache: {max_mib: 64, keep_for: 10m}  # the same request of the same key is answered from memory; without it none is
//! audit: {sync: answer, when_full: refuse}  # a record of each request, by itself where compliance is: crate::audit
//! region: eu-*             # from here on for a cloud only; one region, or a pattern
//! machine: {type: g6e.12xlarge, zones: [eu-west-1a], market: on-demand, disk_gib: 200, image: ami-…}
//! network: {range: 10.77.0.0/16, allow: [10.0.0.0/8], public: false, egress: nat, tls: gateway}  # tls on this machine too
//! budget: {max_hourly: 12.5, max_monthly: 8000, egress_gb: 100}
//! compliance: [gdpr, hipaa]
//! monitoring: {budget_per_day: 150}          # on a cloud; who is told and what runs: crate::monitoring
//! encryption_key: projects/…/cryptoKeys/…  # encrypts disk and bucket in place of the cloud's own; on gcp
//! state: s3://bucket/prefix  # where plan, state, journal and lease are kept; without it on this machine
//! weights:                 # in place of the catalogue's sources
//!   sources: [file:/data/model.gguf]
//!   sha256: …
//! ```

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::amount::Utilization;
use crate::audit::AuditWish;
use crate::guards::GuardsConfig;
use crate::id::{DeploymentName, Sha256};
use crate::machine::{BudgetWish, MachineWish, NetworkWish, Pack, RegionPattern};
use crate::monitoring::MonitoringWish;
use crate::route::{CacheConfig, TokenPrice};
use crate::state_location::StateLocation;
use crate::weights::WeightsSource;

/// Where the machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    Local,
    Aws,
    Gcp,
    Azure,
}

impl Cloud {
    pub const ALL: [Self; 4] = [Self::Local, Self::Aws, Self::Gcp, Self::Azure];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Aws => "aws",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The file, or the flags, or both laid over each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deployment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<DeploymentName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub gateway: GatewayWish,
    pub daemon: DaemonWish,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineWish>,
    /// Another API, asked between candidate and baseline when one of them fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare: Option<ApiWish>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditWish>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightsWish>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionPattern>,
    #[serde(skip_serializing_if = "is_default")]
    pub machine: MachineWish,
    #[serde(skip_serializing_if = "is_default")]
    pub network: NetworkWish,
    #[serde(skip_serializing_if = "is_default")]
    pub budget: BudgetWish,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compliance: Vec<Pack>,
    #[serde(skip_serializing_if = "is_default")]
    pub monitoring: MonitoringWish,
    /// As the cloud writes it in full; which clouds take one, and in what form: [`crate::encryption_key`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateLocation>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What was written last wins; what it leaves out stays.
fn over<T>(over: Vec<T>, under: Vec<T>) -> Vec<T> {
    if over.is_empty() { under } else { over }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayWish {
    /// 0 = any free one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The user's own certificate, in place of one that the host issues itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateWish>,
}

/// Where a certificate and its key are read from at `up`; both in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateWish {
    /// The gateway's certificate first, then those that lead to an authority.
    pub chain_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonWish {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sequences: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_utilization: Option<Utilization>,
}

/// The weights to serve in place of the catalogue's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsWish {
    pub sources: Vec<WeightsSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}

/// The variant in force before a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaselineWish {
    /// `local:MODEL`: a second dsserve, for trying a rollout without an API bill.
    Local {
        model: String,
    },
    Api(ApiWish),
}

/// Any OpenAI-compatible API. The key is read from an environment variable or a file, never from a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiWish {
    /// E.g. `https://api.openai.com/v1`.
    pub url: String,
    /// Further addresses of the same, with the same key: the least busy one is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<String>,
    /// The model that the old API is asked for; without it the client's own name goes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// What it charges, for the cost metrics; dsctl knows no API's prices by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<TokenPrice>,
}

/// Why a text is no baseline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("baseline \"{0}\" should be local:MODEL or a URL like https://api.openai.com/v1")]
pub struct InvalidBaseline(pub String);

impl FromStr for BaselineWish {
    type Err = InvalidBaseline;

    fn from_str(given: &str) -> Result<Self, InvalidBaseline> {
        if let Some(model) = given.strip_prefix("local:").filter(|model| !model.is_empty()) {
            return Ok(Self::Local { model: model.to_owned() });
        }
        if given.starts_with("https://") || given.starts_with("http://") {
            let url = given.to_owned();
            return Ok(Self::Api(ApiWish {
                url,
                replicas: Vec::new(),
                model: None,
                key_env: None,
                key_file: None,
                price: None,
            }));
        }
        Err(InvalidBaseline(given.to_owned()))
    }
}

impl Serialize for BaselineWish {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Local { model } => serializer.collect_str(&format_args!("local:{model}")),
            Self::Api(api) => api.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for BaselineWish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = BaselineWish;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("local:MODEL, a URL, or {url, model, key_env or key_file, price}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                ApiWish::deserialize(de::value::MapAccessDeserializer::new(map)).map(BaselineWish::Api)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Deployment {
    /// Reads `dsctl.yaml`.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, crate::yaml::YamlError> {
        crate::yaml::parse(text, source_name)
    }

    /// What `top` says wins; what it leaves out stays.
    pub fn overlaid_by(self, top: Self) -> Self {
        Self {
            name: top.name.or(self.name),
            cloud: top.cloud.or(self.cloud),
            model: top.model.or(self.model),
            gateway: GatewayWish {
                port: top.gateway.port.or(self.gateway.port),
                certificate: top.gateway.certificate.or(self.gateway.certificate),
            },
            daemon: DaemonWish {
                context: top.daemon.context.or(self.daemon.context),
                max_sequences: top.daemon.max_sequences.or(self.daemon.max_sequences),
                threads: top.daemon.threads.or(self.daemon.threads),
                memory_utilization: top.daemon.memory_utilization.or(self.daemon.memory_utilization),
            },
            baseline: top.baseline.or(self.baseline),
            spare: top.spare.or(self.spare),
            guards: top.guards.or(self.guards),
            cache: top.cache.or(self.cache),
            audit: top.audit.or(self.audit),
            weights: top.weights.or(self.weights),
            region: top.region.or(self.region),
            machine: MachineWish {
                machine_type: top.machine.machine_type.or(self.machine.machine_type),
                zones: over(top.machine.zones, self.machine.zones),
                market: top.machine.market.or(self.machine.market),
                disk_gib: top.machine.disk_gib.or(self.machine.disk_gib),
                image: top.machine.image.or(self.machine.image),
            },
            network: NetworkWish {
                range: top.network.range.or(self.network.range),
                allow: over(top.network.allow, self.network.allow),
                public: top.network.public.or(self.network.public),
                egress: top.network.egress.or(self.network.egress),
                tls: top.network.tls.or(self.network.tls),
            },
            budget: BudgetWish {
                max_hourly: top.budget.max_hourly.or(self.budget.max_hourly),
                max_monthly: top.budget.max_monthly.or(self.budget.max_monthly),
                egress_gb: top.budget.egress_gb.or(self.budget.egress_gb),
            },
            compliance: over(top.compliance, self.compliance),
            monitoring: self.monitoring.overlaid_by(top.monitoring),
            encryption_key: top.encryption_key.or(self.encryption_key),
            state: top.state.or(self.state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_baseline_is_read() {
        let read = |text: &str| Deployment::parse(text, "dsctl.yaml").unwrap().baseline.unwrap();
        assert_eq!(read("baseline: local:smollm2-135m"), BaselineWish::Local { model: "smollm2-135m".to_owned() });
        let BaselineWish::Api(api) = read("baseline: {url: 'https://api.example.org/v1', key_env: KEY}") else {
            panic!("not an API")
        };
        assert_eq!(api.key_env.as_deref(), Some("KEY"));
    }

    #[test]
    fn slips_are_named_with_their_place() {
        let error = |text: &str| Deployment::parse(text, "dsctl.yaml").unwrap_err().to_string();
        assert_eq!(error("modle: x\n"), "dsctl.yaml:1: unknown key \"modle\", did you mean \"model\"?");
        assert_eq!(
            error("gateway:\n  prot: 1\n"),
            "dsctl.yaml:2: gateway: unknown key \"prot\", did you mean \"port\"?"
        );
        for (text, hint) in [
            ("cloud: awz", "cloud: unknown variant `awz`"),
            ("gateway: {port: 70000}", "gateway.port: invalid value: integer `70000`"),
            ("baseline: openai", "should be local:MODEL or a URL"),
            ("baseline: {url: x, key: secret}", "unknown key \"key\""),
            ("baseline: {url: x, price: {prompt_per_million: 1}}", "missing field `completion_per_million`"),
            ("baseline: {url: x, price: {prompt_per_million: -1}}", "an amount in US dollars"),
            ("name: Default", "deployment name \"Default\" is not valid"),
            ("weights: {sources: [model.gguf]}", "known scheme"),
            ("- a list", "invalid type: sequence"),
        ] {
            assert!(error(text).contains(hint), "{text}: {}", error(text));
        }
    }

    #[test]
    fn flags_win_over_the_file_and_leave_the_rest() {
        let text = "model: a\ngateway: {port: 1}\ndaemon: {context: 2}\nencryption_key: k";
        let file = Deployment::parse(text, "f").unwrap();
        let flags = Deployment::parse("model: b\ndaemon: {threads: 3}", "f").unwrap();
        let both = file.overlaid_by(flags);
        assert_eq!(both.model.as_deref(), Some("b"));
        assert_eq!((both.gateway.port, both.daemon.context, both.daemon.threads), (Some(1), Some(2), Some(3)));
        assert_eq!(both.encryption_key.as_deref(), Some("k"));
    }
}
