//! What answers cost: the tokens that an upstream says it took and gave, at the variant's price.
//!
//! What an answer does not say is not guessed: it is counted as unmetered, so that a reader knows what a sum leaves out.

use serde_json::Value;
use spec::id::Variant;
use spec::metric::cost;
use spec::route::{GatewayConfig, TokenPrice};

use crate::metrics::Metrics;

/// The values of the label `kind`.
const PROMPT: &str = "prompt";
const COMPLETION: &str = "completion";

/// An answer's member `usage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub prompt: u64,
    pub completion: u64,
}

impl Usage {
    /// None of what is no usage, such as the null in the pieces of a stream; embeddings have no completion.
    pub fn read(usage: &Value) -> Option<Self> {
        let completion = usage.get("completion_tokens").and_then(Value::as_u64).unwrap_or_default();
        Some(Self { prompt: usage.get("prompt_tokens")?.as_u64()?, completion })
    }
}

/// Shows what is known of prices beforehand: series of a variant without a price stay absent, since zero is a price too.
pub fn show(metrics: &Metrics, config: &GatewayConfig) {
    match config.machine_hourly {
        Some(price) => metrics.set(&cost::MACHINE_HOURLY, &[], price.dollars()),
        None => metrics.forget(&cost::MACHINE_HOURLY, &[]),
    }
    for (variant, _) in config.variants.iter().filter(|(_, given)| given.price.is_some()) {
        metrics.add_dollars(&cost::DOLLARS, &[variant.as_str()], 0.0);
        metrics.begin_histogram(&cost::REQUEST_DOLLARS, &[variant.as_str()]);
    }
}

/// Series that are there whatever is charged.
pub fn begin_at_zero(metrics: &Metrics, variant: Variant) {
    for kind in [PROMPT, COMPLETION] {
        metrics.count(&cost::TOKENS, &[variant.as_str(), kind], 0);
    }
    metrics.count(&cost::UNMETERED, &[variant.as_str()], 0);
}

/// Counts an answer that was given, in whole or in part.
pub fn meter(metrics: &Metrics, variant: &str, usage: Option<Usage>, price: Option<TokenPrice>) {
    let Some(usage) = usage else { return metrics.count(&cost::UNMETERED, &[variant], 1) };
    metrics.count(&cost::TOKENS, &[variant, PROMPT], usage.prompt);
    metrics.count(&cost::TOKENS, &[variant, COMPLETION], usage.completion);
    if let Some(price) = price {
        let dollars = price.dollars(usage.prompt, usage.completion);
        metrics.add_dollars(&cost::DOLLARS, &[variant], dollars);
        metrics.observe(&cost::REQUEST_DOLLARS, &[variant], dollars);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn price() -> TokenPrice {
        TokenPrice { prompt_per_million: "1".parse().unwrap(), completion_per_million: "4".parse().unwrap() }
    }

    #[test]
    fn only_a_usage_is_one() {
        let read = |usage| Usage::read(&usage);
        assert_eq!(read(json!({"prompt_tokens": 3, "completion_tokens": 4})), Some(Usage { prompt: 3, completion: 4 }));
        assert_eq!(read(json!({"prompt_tokens": 3, "total_tokens": 3})), Some(Usage { prompt: 3, completion: 0 }));
        for none in [json!(null), json!({}), json!("7"), json!({"prompt_tokens": -1}), json!({"prompt_tokens": "x"})] {
            assert_eq!(read(none.clone()), None, "{none}");
        }
    }

    #[test]
    fn tokens_are_counted_priced_where_there_is_a_price_and_missed_aloud() {
        let metrics = Metrics::new().unwrap();
        let usage = Some(Usage { prompt: 500_000, completion: 250_000 });
        meter(&metrics, "baseline", usage, Some(price()));
        meter(&metrics, "candidate", usage, None);
        meter(&metrics, "candidate", None, Some(price()));
        let page = metrics.render().unwrap();
        for line in [
            "dsctl_gateway_tokens_total{kind=\"prompt\",variant=\"baseline\"} 500000\n",
            "dsctl_gateway_tokens_total{kind=\"completion\",variant=\"candidate\"} 250000\n",
            "dsctl_gateway_cost_dollars_total{variant=\"baseline\"} 1.5\n",
            "dsctl_gateway_request_cost_dollars_sum{variant=\"baseline\"} 1.5\n",
            "dsctl_gateway_answers_without_usage_total{variant=\"candidate\"} 1\n",
            "dsctl_gateway_answers_without_usage_total{variant=\"baseline\"} 0\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
        assert!(!page.contains("cost_dollars_total{variant=\"candidate\"}"), "{page}");
    }
}
