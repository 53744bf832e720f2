//! Routing as data: the gateway's configuration, the route table in force, and the shapes of its admin API.
//!
//! Admin API of dsgate, on a loopback address of its own, `Authorization: Bearer <admin token>`:
//!
//! | call | answers |
//! |---|---|
//! | `GET /admin/status` | [`GatewayStatus`] |
//! | `PUT /admin/route-table` with [`RouteTableChange`] | [`RouteTable`]; 409 if the generation moved on or a rollout owns the weights |
//! | `POST /admin/reload` | [`GatewayStatus`]; 422 with the reason if the configuration file is refused |
//! | `POST /admin/rollout` with [`crate::rollout::RolloutSpec`] | 201 [`crate::rollout::RolloutReport`]; 409 if one is going on |
//! | `GET /admin/rollout` | [`crate::rollout::RolloutReport`] of the last rollout; 404 if there was none |
//! | `POST /admin/rollout/pause`, `/resume`, `/abort` | [`crate::rollout::RolloutReport`]; 409 if its phase has no such move |
//! | `GET /admin/rollout/history` | a list of [`crate::rollout::RolloutEvent`] |
//!
//! Errors are [`crate::openai::ErrorBody`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::amount::{Span, Usd, Weight};
use crate::audit::AuditConfig;
use crate::guards::GuardsConfig;
use crate::id::Variant;

/// dsgate's configuration file (JSON). Validated whole, then swapped; a bad one leaves the last good one in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where clients come in.
    pub listen: SocketAddr,
    /// Where `dsctl` comes in; loopback only.
    pub admin_listen: SocketAddr,
    /// One API key a line.
    pub api_keys_file: PathBuf,
    pub admin_token_file: PathBuf,
    /// Without a baseline the candidate gets everything.
    pub variants: BTreeMap<Variant, VariantConfig>,
    /// What is asked between candidate and baseline when one of them fails: no variant of a rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spare: Option<VariantConfig>,
    /// Mixed into the hash that assigns requests to variants.
    pub salt: String,
    pub limits: Limits,
    /// Price of the machine and what goes with it, for the cost metrics; none if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_hourly: Option<Usd>,
    /// What is looked for in requests and answers; nothing without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsConfig>,
    /// None: every request is asked of an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfig>,
    /// None: no audit log is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditConfig>,
}

/// Answers that are given again: `cache:` in `dsctl.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Of memory.
    pub max_mib: u32,
    pub keep_for: Span,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { max_mib: 64, keep_for: Span::seconds(600) }
    }
}

/// A model and settings behind a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantConfig {
    /// Ends in `/v1` (or what the API has in its place).
    pub base_url: String,
    /// Further addresses of the same: the least busy one is asked, another if it fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<String>,
    /// The upstream's API key, if it wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Model name in the request -> model name for this upstream.
    #[serde(default)]
    pub models: BTreeMap<String, String>,
    /// For a model name that `models` does not have; without it the name goes through as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
    /// Answers 200 while the variant can serve; probed by the rollout controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_url: Option<String>,
    /// Prometheus text format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_url: Option<String>,
    /// What the upstream charges; none if it does not charge by the token, or nobody said what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<TokenPrice>,
}

/// What an API charges, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrice {
    pub prompt_per_million: Usd,
    pub completion_per_million: Usd,
}

/// A price for one token, given as one for a million, is caught by this: no million costs more.
const MOST_FOR_A_MILLION: Usd = Usd::from_millionths(10_000 * 1_000_000);

/// Why a price is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("${given} for a million tokens is over ${MOST_FOR_A_MILLION}; give the price of a million in dollars")]
pub struct InvalidPrice {
    /// Below the price's own field.
    pub field: &'static str,
    pub given: Usd,
}

impl TokenPrice {
    pub fn check(&self) -> Result<(), InvalidPrice> {
        let fields =
            [("prompt_per_million", self.prompt_per_million), ("completion_per_million", self.completion_per_million)];
        match fields.into_iter().find(|(_, given)| *given > MOST_FOR_A_MILLION) {
            Some((field, given)) => Err(InvalidPrice { field, given }),
            None => Ok(()),
        }
    }

    /// Of so many tokens.
    pub fn dollars(&self, prompt: u64, completion: u64) -> f64 {
        let part = |price: Usd, tokens: u64| price.dollars() * tokens as f64 / 1e6;
        part(self.prompt_per_million, prompt) + part(self.completion_per_million, completion)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: u64,
    pub connect_timeout: Span,
    /// From sending the request to the first byte of the answer.
    pub first_byte_timeout: Span,
    /// Between two pieces of a streamed answer.
    pub idle_timeout: Span,
    /// After so many an upstream is not asked for a while, as long as there is another one.
    #[serde(default = "five")]
    pub failures_in_a_row: u32,
}

const fn five() -> u32 {
    5
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            connect_timeout: Span::seconds(5),
            first_byte_timeout: Span::seconds(120),
            idle_timeout: Span::seconds(60),
            failures_in_a_row: five(),
        }
    }
}

/// Weights in force. The generation goes up with each change and never comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    pub generation: u64,
    pub salt: String,
    /// The candidate's share; the baseline has the rest.
    pub candidate: Weight,
}

impl RouteTable {
    pub const fn weight(&self, variant: Variant) -> Weight {
        match variant {
            Variant::Baseline => self.candidate.rest(),
            Variant::Candidate => self.candidate,
        }
    }
}

/// A change by hand: carried out only if the table is still the one that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTableChange {
    pub expected_generation: u64,
    pub candidate: Weight,
}

/// What the gateway is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    pub version: String,
    pub route_table: RouteTable,
    pub variants: BTreeMap<Variant, VariantStatus>,
    pub rollout: Option<crate::rollout::RolloutReport>,
}

/// Counts since the gateway's start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantStatus {
    pub base_url: String,
    pub attempts: u64,
    /// Upstream errors and truncated answers.
    pub failures: u64,
    pub in_flight: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(prompt: &str, completion: &str) -> TokenPrice {
        TokenPrice { prompt_per_million: prompt.parse().unwrap(), completion_per_million: completion.parse().unwrap() }
    }

    #[test]
    fn tokens_cost_what_a_million_of_them_costs_in_parts() {
        assert!((price("0.15", "0.60").dollars(2_000_000, 500_000) - 0.60).abs() < 1e-12);
        assert!(price("0.15", "0.60").dollars(0, 0).abs() < 1e-12);
    }

    #[test]
    fn a_price_that_can_not_be_one_of_a_million_is_refused_by_field() {
        assert_eq!(price("0", "10000").check(), Ok(()));
        let error = price("1", "10000.01").check().unwrap_err();
        assert_eq!(error.field, "completion_per_million");
        assert!(error.to_string().starts_with("$10000.01 for a million tokens is over $10000.00; give"), "{error}");
    }
}
