//! What `dsctl top` shows, from two looks at /metrics pages: rates, quantiles, levels. Pure.
//!
//! What can't be known (a part that does not answer, nothing that came) is none, never zero.

use runbooks::Sample;
use spec::alert::{Chosen, Part};
use spec::id::Variant;
use spec::metric::{Metric, cost, daemon, gateway, gpu, host};

use crate::measure::{Pair, has};
use crate::scrape::{Page, Target};

#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    pub variants: Vec<VariantNumbers>,
    pub models: Vec<ModelNumbers>,
    pub gpus: Vec<GpuNumbers>,
    pub cost: CostNumbers,
    /// None while nobody says it.
    pub host_ready: Option<bool>,
    /// Why a part shows nothing.
    pub problems: Vec<String>,
}

/// As the gateway sees a variant.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantNumbers {
    pub variant: Variant,
    /// 0 to 1.
    pub weight: Option<f64>,
    pub requests_per_second: Option<f64>,
    /// Upstream errors and truncated answers among what counts, 0 to 1.
    pub error_ratio: Option<f64>,
    /// Seconds.
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub first_token_p95: Option<f64>,
    pub in_flight: Option<f64>,
}

/// As a daemon sees its model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelNumbers {
    /// The daemon's: both variants may serve one model.
    pub unit: &'static str,
    pub model: String,
    pub running: Option<f64>,
    pub waiting: Option<f64>,
    /// 0 to 1.
    pub kv_cache: Option<f64>,
    pub prompt_tokens_per_second: Option<f64>,
    pub tokens_per_second: Option<f64>,
    /// Seconds.
    pub between_tokens_p95: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GpuNumbers {
    pub gpu: String,
    pub model: String,
    /// 0 to 100.
    pub utilisation: Option<f64>,
    /// MiB.
    pub memory_used: Option<f64>,
    pub memory_free: Option<f64>,
    pub celsius: Option<f64>,
    pub watts: Option<f64>,
}

/// In dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CostNumbers {
    pub machine_hourly: Option<f64>,
    /// Since the gateway's start.
    pub by_token: Option<f64>,
    /// At the present pace.
    pub per_day: Option<f64>,
}

impl Numbers {
    pub fn of(pair: Pair<'_>) -> Self {
        let gpus = pair.values_of(&gpu::UTILISATION, "gpu");
        Self {
            variants: variants(pair),
            models: models(pair),
            gpus: gpus.into_iter().map(|index| gpu_numbers(pair, index)).collect(),
            cost: CostNumbers {
                machine_hourly: pair.machine_hourly(),
                by_token: pair.after.of_metric(&cost::DOLLARS).map(|sample| sample.value).reduce(|sum, it| sum + it),
                per_day: pair.cost_per_day(),
            },
            host_ready: pair.after.of_metric(&host::READY).next().map(|sample| sample.value > 0.0),
            problems: pair.after.pages.iter().filter_map(problem).collect(),
        }
    }

    /// Of all variants; none while the gateway says nothing.
    pub fn requests_per_second(&self) -> Option<f64> {
        self.variants.iter().filter_map(|it| it.requests_per_second).reduce(|sum, next| sum + next)
    }

    /// Of all models.
    pub fn tokens_per_second(&self) -> Option<f64> {
        self.models.iter().filter_map(|it| it.tokens_per_second).reduce(|sum, next| sum + next)
    }
}

fn problem(page: &Page) -> Option<String> {
    let error = page.samples.as_ref().err()?;
    Some(format!("{} does not answer: {error}", page.target.name))
}

/// A gateway with one variant has series of both: the other one has no traffic and no weight.
fn variants(pair: Pair<'_>) -> Vec<VariantNumbers> {
    let is_there = pair.after.pages_of(Part::Gateway).any(|page| page.samples.is_ok());
    let all = Variant::ALL.into_iter().filter(|_| is_there).map(|variant| variant_numbers(pair, variant));
    all.filter(|it| {
        it.weight.is_some_and(|weight| weight > 0.0) || it.requests_per_second.is_some_and(|rate| rate > 0.0)
    })
    .collect()
}

fn variant_numbers(pair: Pair<'_>, variant: Variant) -> VariantNumbers {
    let by = ("variant", variant.as_str());
    let is_of = |sample: &Sample| has(sample, by.0, by.1);
    let failed = Chosen::Some(&["upstream_error", "truncated"]);
    let counted = Chosen::Some(&["ok", "upstream_error", "truncated"]);
    VariantNumbers {
        variant,
        weight: pair.after.value(&gateway::WEIGHT, by.0, by.1),
        requests_per_second: pair.per_second(&gateway::REQUESTS, is_of),
        error_ratio: pair.ratio(&gateway::REQUESTS, "outcome", (failed, counted), by),
        p50: pair.quantile(&gateway::REQUEST_DURATION, 0.5, by),
        p95: pair.quantile(&gateway::REQUEST_DURATION, 0.95, by),
        first_token_p95: pair.quantile(&gateway::TIME_TO_FIRST_TOKEN, 0.95, by),
        in_flight: pair.after.value(&gateway::IN_FLIGHT, by.0, by.1),
    }
}

fn models(pair: Pair<'_>) -> Vec<ModelNumbers> {
    let of_page = |target: &Target| {
        pair.at(target, |pair| {
            let models = pair.values_of(&daemon::REQUESTS_RUNNING, "model_name").into_iter();
            models.map(|model| model_numbers(pair, target.name, model)).collect::<Vec<_>>()
        })
    };
    pair.after.pages_of(Part::Daemon).flat_map(|page| of_page(&page.target)).collect()
}

fn model_numbers(pair: Pair<'_>, unit: &'static str, model: String) -> ModelNumbers {
    let level = |metric: &Metric| pair.after.value(metric, "model_name", &model);
    let pace = |metric: &Metric| pair.per_second(metric, |sample| has(sample, "model_name", &model));
    ModelNumbers {
        unit,
        running: level(&daemon::REQUESTS_RUNNING),
        waiting: level(&daemon::REQUESTS_WAITING),
        kv_cache: level(&daemon::KV_CACHE_USAGE),
        prompt_tokens_per_second: pace(&daemon::PROMPT_TOKENS),
        tokens_per_second: pace(&daemon::GENERATION_TOKENS),
        between_tokens_p95: pair.quantile(&daemon::INTER_TOKEN_LATENCY, 0.95, ("model_name", &model)),
        model,
    }
}

fn gpu_numbers(pair: Pair<'_>, index: String) -> GpuNumbers {
    let level = |metric: &Metric| pair.after.value(metric, "gpu", &index);
    let named = pair.after.of_metric(&gpu::UTILISATION).find(|sample| has(sample, "gpu", &index));
    GpuNumbers {
        model: named.and_then(|sample| sample.labels.get("modelName").cloned()).unwrap_or_default(),
        utilisation: level(&gpu::UTILISATION),
        memory_used: level(&gpu::MEMORY_USED),
        memory_free: level(&gpu::MEMORY_FREE),
        celsius: level(&gpu::TEMPERATURE),
        watts: level(&gpu::POWER),
        gpu: index,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::measure::tests::{dead, looks, page};
    use crate::scrape::Look;

    fn gateway_page(requests: u32, failed: u32) -> String {
        format!(
            "# TYPE dsctl_rollout_weight gauge\ndsctl_rollout_weight{{variant=\"candidate\"}} 1\n\
             dsctl_rollout_weight{{variant=\"baseline\"}} 0\n\
             # TYPE dsctl_gateway_requests_total counter\n\
             dsctl_gateway_requests_total{{variant=\"candidate\",outcome=\"ok\"}} {requests}\n\
             dsctl_gateway_requests_total{{variant=\"candidate\",outcome=\"upstream_error\"}} {failed}\n\
             dsctl_gateway_requests_total{{variant=\"baseline\",outcome=\"ok\"}} 0\n\
             # TYPE dsctl_gateway_request_duration_seconds histogram\n\
             dsctl_gateway_request_duration_seconds_bucket{{variant=\"candidate\",le=\"2\"}} {requests}\n\
             dsctl_gateway_request_duration_seconds_bucket{{variant=\"candidate\",le=\"+Inf\"}} {requests}\n\
             # TYPE dsctl_machine_cost_dollars_per_hour gauge\ndsctl_machine_cost_dollars_per_hour 10.49\n"
        )
    }

    fn daemon_page(tokens: u32) -> String {
        format!(
            "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{model_name=\"m\"}} 3\n\
             # TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{{model_name=\"m\"}} 2\n\
             # TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc{{model_name=\"m\"}} 0.25\n\
             # TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total{{model_name=\"m\"}} {tokens}\n"
        )
    }

    const GPU: &str = "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{gpu=\"0\",modelName=\"NVIDIA L40S\"} 91\n\
                       # TYPE DCGM_FI_DEV_FB_USED gauge\nDCGM_FI_DEV_FB_USED{gpu=\"0\",modelName=\"NVIDIA L40S\"} 40000\n";

    /// A deployment that does something, for the screen's tests too.
    pub fn busy() -> Numbers {
        let (before, after) = looks(
            vec![page(Part::Gateway, &gateway_page(0, 0)), page(Part::Daemon, &daemon_page(0)), page(Part::Agent, GPU)],
            vec![
                page(Part::Gateway, &gateway_page(90, 10)),
                page(Part::Daemon, &daemon_page(500)),
                page(Part::Agent, GPU),
            ],
        );
        numbers(&before, &after)
    }

    /// One whose gateway is dead.
    pub fn gateway_gone() -> Numbers {
        let daemon = || page(Part::Daemon, &daemon_page(1));
        let (before, after) = looks(vec![dead(Part::Gateway), daemon()], vec![dead(Part::Gateway), daemon()]);
        numbers(&before, &after)
    }

    fn numbers(before: &Look, after: &Look) -> Numbers {
        Numbers::of(Pair { before, after })
    }

    #[test]
    fn rates_quantiles_and_levels_are_of_the_two_looks() {
        let numbers = busy();
        let variant = &numbers.variants[0];
        assert_eq!((numbers.variants.len(), variant.variant), (1, Variant::Candidate), "the baseline has no traffic");
        assert_eq!((variant.requests_per_second, variant.error_ratio), (Some(10.0), Some(0.1)));
        assert!((variant.p50.unwrap() - 1.0).abs() < 1e-9 && variant.first_token_p95.is_none(), "{variant:?}");
        let model = &numbers.models[0];
        assert_eq!((model.running, model.waiting, model.kv_cache), (Some(3.0), Some(2.0), Some(0.25)));
        assert_eq!((model.tokens_per_second, model.prompt_tokens_per_second), (Some(50.0), None));
        assert_eq!((numbers.gpus[0].model.as_str(), numbers.gpus[0].utilisation), ("NVIDIA L40S", Some(91.0)));
        assert_eq!((numbers.cost.machine_hourly, numbers.cost.by_token), (Some(10.49), None));
        assert_eq!(numbers.problems, Vec::<String>::new());
    }

    #[test]
    fn over_a_dead_gateway_the_rest_is_there_and_it_is_said() {
        let numbers = gateway_gone();
        assert_eq!((numbers.variants.len(), numbers.models.len()), (0, 1));
        assert_eq!(numbers.problems, ["dsgate does not answer: http://h/metrics: Connection refused"]);
        assert_eq!(numbers.cost, CostNumbers::default());
    }
}
