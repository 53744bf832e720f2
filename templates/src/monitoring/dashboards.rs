//! The five dashboards. `$__rate_interval` and `$__range` are Grafana's: a window that fits the scrape, the time shown.

use super::grafana::{Dashboard, Query, heatmap, lines, number, query};

pub const DASHBOARDS: &[Dashboard] = &[OVERVIEW, GPU, COST, ROLLOUT, LATENCY];

const OVERVIEW: Dashboard = Dashboard {
    uid: "dsctl-overview",
    title: "dsctl: overview",
    panels: &[
        number("Requests a second", "reqps", &[query("", "sum(rate(dsctl_gateway_requests_total[5m]))")]),
        number("Requests in flight", "short", &[query("", "sum(dsctl_gateway_requests_in_flight)")]),
        number("Answers that fail", "percentunit", &[query("", "dsctl:answers_failed:ratio_rate5m")]).bound(0.05),
        number("Alerts firing", "short", &[query("", "count(ALERTS{alertstate=\"firing\",severity!=\"none\"}) or vector(0)")]),
        lines(
            "Requests a second by variant",
            "reqps",
            &[query("{{variant}}", "sum by (variant) (rate(dsctl_gateway_requests_total[$__rate_interval]))")],
        ),
        lines(
            "Attempts that fail, by variant",
            "percentunit",
            &[query(
                "{{variant}}",
                "sum by (variant) (rate(dsctl_gateway_requests_total{outcome=~\"upstream_error|truncated\"}[$__rate_interval])) \
                 / sum by (variant) (rate(dsctl_gateway_requests_total{outcome=~\"ok|upstream_error|truncated\"}[$__rate_interval]))",
            )],
        )
        .bound(0.05),
        lines("Whole request", "s", REQUEST_QUANTILES).bound(15.0),
        lines("Time to the first token", "s", FIRST_TOKEN_QUANTILES).bound(15.0),
        lines(
            "Tokens a second of the daemon",
            "short",
            &[
                query("prompt {{model_name}}", "sum by (model_name) (rate(vllm:prompt_tokens_total[$__rate_interval]))"),
                query("generated {{model_name}}", "sum by (model_name) (rate(vllm:generation_tokens_total[$__rate_interval]))"),
            ],
        ),
        lines(
            "Sequences in the daemon",
            "short",
            &[
                query("running {{model_name}}", "sum by (model_name) (vllm:num_requests_running)"),
                query("waiting {{model_name}}", "sum by (model_name) (vllm:num_requests_waiting)"),
            ],
        ),
        lines(
            "Key-value cache in use",
            "percentunit",
            &[query("{{model_name}}", "max by (model_name) (vllm:kv_cache_usage_perc)")],
        )
        .bound(0.95),
        lines(
            "Answers by status",
            "reqps",
            &[query("{{status}}", "sum by (status) (rate(dsctl_gateway_answers_total[$__rate_interval]))")],
        ),
    ],
};

/// A quantile by variant.
macro_rules! quantile {
    ($quantile:literal, $histogram:literal) => {
        concat!("histogram_quantile(", $quantile, ", sum by (variant, le) (rate(", $histogram, "[$__rate_interval])))")
    };
}

const REQUEST_QUANTILES: &[Query] = &[
    query("p50 {{variant}}", quantile!("0.5", "dsctl_gateway_request_duration_seconds_bucket")),
    query("p95 {{variant}}", quantile!("0.95", "dsctl_gateway_request_duration_seconds_bucket")),
    query("p99 {{variant}}", quantile!("0.99", "dsctl_gateway_request_duration_seconds_bucket")),
];

const FIRST_TOKEN_QUANTILES: &[Query] = &[
    query("p50 {{variant}}", quantile!("0.5", "dsctl_gateway_time_to_first_token_seconds_bucket")),
    query("p95 {{variant}}", quantile!("0.95", "dsctl_gateway_time_to_first_token_seconds_bucket")),
    query("p99 {{variant}}", quantile!("0.99", "dsctl_gateway_time_to_first_token_seconds_bucket")),
];

const GPU: Dashboard = Dashboard {
    uid: "dsctl-gpu",
    title: "dsctl: GPU",
    panels: &[
        number("GPUs", "short", &[query("", "count(DCGM_FI_DEV_GPU_TEMP)")]),
        number("Busy", "percent", &[query("", "avg(DCGM_FI_DEV_GPU_UTIL)")]).bound(95.0),
        number("Hottest", "celsius", &[query("", "max(DCGM_FI_DEV_GPU_TEMP)")]).bound(85.0),
        number("Power", "watt", &[query("", "sum(DCGM_FI_DEV_POWER_USAGE)")]),
        lines("Busy", "percent", &[query("{{Hostname}} {{gpu}}", "DCGM_FI_DEV_GPU_UTIL")]).bound(95.0),
        lines(
            "Memory in use",
            "percentunit",
            &[query(
                "{{Hostname}} {{gpu}}",
                "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE + DCGM_FI_DEV_FB_RESERVED)",
            )],
        )
        .bound(0.97),
        lines("Temperature", "celsius", &[query("{{Hostname}} {{gpu}}", "DCGM_FI_DEV_GPU_TEMP")]).bound(85.0),
        lines("Power", "watt", &[query("{{Hostname}} {{gpu}}", "DCGM_FI_DEV_POWER_USAGE")]),
        lines(
            "Clocks",
            "rotmhz",
            &[
                query("SM {{Hostname}} {{gpu}}", "DCGM_FI_DEV_SM_CLOCK"),
                query("memory {{Hostname}} {{gpu}}", "DCGM_FI_DEV_MEM_CLOCK"),
            ],
        ),
        lines(
            "Held down, share of the time",
            "percentunit",
            &[
                query("heat {{Hostname}} {{gpu}}", "rate(DCGM_FI_DEV_THERMAL_VIOLATION[$__rate_interval]) / 1e6"),
                query("power {{Hostname}} {{gpu}}", "rate(DCGM_FI_DEV_POWER_VIOLATION[$__rate_interval]) / 1e6"),
            ],
        )
        .bound(0.2),
        lines("Last Xid", "none", &[query("{{Hostname}} {{gpu}}", "DCGM_FI_DEV_XID_ERRORS")]),
        lines(
            "Memory errors",
            "short",
            &[
                query("corrected {{Hostname}} {{gpu}}", "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"),
                query("not corrected {{Hostname}} {{gpu}}", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"),
                query("rows set aside {{Hostname}} {{gpu}}", "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS"),
            ],
        ),
    ],
};

/// What the old API takes for a million tokens, from what it took in the window.
const API_PRICE_NOW: &str = "sum(increase(dsctl_gateway_cost_dollars_total{variant=\"baseline\"}[1d])) \
     / sum(increase(dsctl_gateway_tokens_total{variant=\"baseline\"}[1d])) * 1e6";
/// What the machine costs for a million of the candidate's tokens.
const MACHINE_PRICE_NOW: &str = "sum(avg_over_time(dsctl_machine_cost_dollars_per_hour[1d])) * 24 \
     / sum(increase(dsctl_gateway_tokens_total{variant=\"candidate\"}[1d])) * 1e6";
/// What the old API would have taken for the tokens that the candidate served.
const SAME_TOKENS_OLD_API: &str = "sum(increase(dsctl_gateway_tokens_total{variant=\"candidate\"}[1d])) \
     * sum(increase(dsctl_gateway_cost_dollars_total{variant=\"baseline\"}[1d])) \
     / sum(increase(dsctl_gateway_tokens_total{variant=\"baseline\"}[1d]))";

const COST: Dashboard = Dashboard {
    uid: "dsctl-cost",
    title: "dsctl: cost",
    panels: &[
        number("An hour, at today's rate", "currencyUSD", &[query("", "dsctl:cost_dollars_per_day / 24")]),
        number("A day", "currencyUSD", &[query("", "dsctl:cost_dollars_per_day")]),
        number("A month (730 h)", "currencyUSD", &[query("", "dsctl:cost_dollars_per_day / 24 * 730")]),
        number(
            "Of the day's budget",
            "percentunit",
            &[query("", "dsctl:cost_dollars_per_day / dsctl:budget_dollars_per_day")],
        )
        .bound(1.0),
        number("1M tokens, machine", "currencyUSD", &[query("", MACHINE_PRICE_NOW)]),
        number("1M tokens, old API", "currencyUSD", &[query("", API_PRICE_NOW)]),
        number(
            "The candidate's tokens at the old API's price, a day",
            "currencyUSD",
            &[query("", SAME_TOKENS_OLD_API)],
        ),
        number(
            "Answers that did not say their tokens",
            "short",
            &[query("", "sum(increase(dsctl_gateway_answers_without_usage_total[1d]))")],
        ),
        lines(
            "Cost a day and its budget",
            "currencyUSD",
            &[query("cost", "dsctl:cost_dollars_per_day"), query("budget", "dsctl:budget_dollars_per_day")],
        ),
        lines(
            "An hour, by what is paid",
            "currencyUSD",
            &[
                query("machine", "sum(dsctl_machine_cost_dollars_per_hour)"),
                query(
                    "tokens of the {{variant}}",
                    "sum by (variant) (rate(dsctl_gateway_cost_dollars_total[1h])) * 3600",
                ),
            ],
        ),
        lines("1M tokens", "currencyUSD", &[query("machine", MACHINE_PRICE_NOW), query("old API", API_PRICE_NOW)]),
        lines(
            "The candidate's tokens, a day",
            "currencyUSD",
            &[
                query("at the old API's price", SAME_TOKENS_OLD_API),
                query("machine", "sum(dsctl_machine_cost_dollars_per_hour) * 24"),
            ],
        ),
        lines(
            "Tokens a second",
            "short",
            &[query(
                "{{variant}} {{kind}}",
                "sum by (variant, kind) (rate(dsctl_gateway_tokens_total[$__rate_interval]))",
            )],
        ),
        lines(
            "A request at the API's price",
            "currencyUSD",
            &[query(
                "mean of the {{variant}}",
                "sum by (variant) (rate(dsctl_gateway_request_cost_dollars_sum[$__rate_interval])) \
                 / sum by (variant) (rate(dsctl_gateway_request_cost_dollars_count[$__rate_interval]))",
            )],
        ),
    ],
};

const ROLLOUT: Dashboard = Dashboard {
    uid: "dsctl-rollout",
    title: "dsctl: rollout",
    panels: &[
        number("Candidate's weight", "percentunit", &[query("", "max(dsctl_rollout_weight{variant=\"candidate\"})")]),
        number("Stage", "short", &[query("", "max(dsctl_rollout_stage)")]),
        number("Route table", "short", &[query("generation", "max(dsctl_gateway_route_table_generation)")]),
        number(
            "Roll backs, shown time",
            "short",
            &[query("", "sum(increase(dsctl_rollout_decisions_total{verdict=\"roll-back\"}[$__range]))")],
        )
        .bound(1.0),
        lines(
            "Weight set, and share that came",
            "percentunit",
            &[
                query("set {{variant}}", "max by (variant) (dsctl_rollout_weight)"),
                query(
                    "came {{variant}}",
                    "sum by (variant) (rate(dsctl_gateway_requests_total[$__rate_interval])) \
                     / on () group_left () sum(rate(dsctl_gateway_requests_total[$__rate_interval]))",
                ),
            ],
        ),
        lines(
            "Verdicts a minute",
            "short",
            &[query("{{verdict}}", "sum by (verdict) (rate(dsctl_rollout_decisions_total[$__rate_interval])) * 60")],
        ),
        lines(
            "Evidence: attempts that fail, against the gate's default bound",
            "percentunit",
            &[query(
                "{{variant}}",
                "sum by (variant) (rate(dsctl_gateway_requests_total{outcome=~\"upstream_error|truncated\"}[15m])) \
                 / sum by (variant) (rate(dsctl_gateway_requests_total{outcome=~\"ok|upstream_error|truncated\"}[15m]))",
            )],
        )
        .bound(0.05),
        lines(
            "Evidence: p95 to the first token, against the gate's default bound",
            "s",
            &[query(
                "{{variant}}",
                "histogram_quantile(0.95, sum by (variant, le) (rate(dsctl_gateway_time_to_first_token_seconds_bucket[15m])))",
            )],
        )
        .bound(15.0),
        lines(
            "Attempts in the window: how much evidence there is",
            "short",
            &[query("{{variant}}", "sum by (variant) (increase(dsctl_gateway_requests_total[15m]))")],
        ),
        lines(
            "Fallbacks a second",
            "reqps",
            &[query("{{from}} to {{to}}", "sum by (from, to) (rate(dsctl_gateway_fallbacks_total[$__rate_interval]))")],
        ),
    ],
};

/// The mean of what a histogram took in.
macro_rules! mean {
    ($histogram:literal) => {
        concat!(
            "sum(rate(",
            $histogram,
            "_sum[$__rate_interval])) / sum(rate(",
            $histogram,
            "_count[$__rate_interval]))"
        )
    };
}

const LATENCY: Dashboard = Dashboard {
    uid: "dsctl-latency",
    title: "dsctl: latency",
    panels: &[
        heatmap(
            "Time to the first token",
            "s",
            &[query(
                "{{le}}",
                "sum by (le) (increase(dsctl_gateway_time_to_first_token_seconds_bucket[$__rate_interval]))",
            )],
        ),
        heatmap(
            "Whole request",
            "s",
            &[query(
                "{{le}}",
                "sum by (le) (increase(dsctl_gateway_request_duration_seconds_bucket[$__rate_interval]))",
            )],
        ),
        heatmap(
            "From token to token, in the daemon",
            "s",
            &[query("{{le}}", "sum by (le) (increase(vllm:inter_token_latency_seconds_bucket[$__rate_interval]))")],
        ),
        lines(
            "Where the time goes in the daemon (mean)",
            "s",
            &[
                query("queue", mean!("vllm:request_queue_time_seconds")),
                query("prefill", mean!("vllm:request_prefill_time_seconds")),
                query("decode", mean!("vllm:request_decode_time_seconds")),
            ],
        ),
        lines(
            "Length of prompts and answers (p95)",
            "short",
            &[
                query(
                    "prompt",
                    "histogram_quantile(0.95, sum by (le) (rate(vllm:request_prompt_tokens_bucket[$__rate_interval])))",
                ),
                query(
                    "answer",
                    "histogram_quantile(0.95, sum by (le) (rate(vllm:request_generation_tokens_bucket[$__rate_interval])))",
                ),
            ],
        ),
    ],
};
