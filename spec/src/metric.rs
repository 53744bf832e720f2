//! Metric names, units and buckets: the one place where they are spelt.
//!
//! dsserve speaks vLLM's names, so that dashboards and autoscalers made for vLLM work unchanged; dsgate's own names
//! begin with `dsctl_`. Counters are listed as they appear in the exposition, `_total` included.
//! Source of vLLM's names and buckets: `vllm/v1/metrics/loggers.py`.

/// How a metric is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric: its name as exposed, its kind, its labels and what it says.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    /// Upper bounds in the metric's unit; empty unless a histogram.
    pub buckets: &'static [f64],
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, labels, help, buckets: &[] }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels, help, buckets: &[] }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    buckets: &'static [f64],
) -> Metric {
    Metric { name, kind: MetricKind::Histogram, labels, help, buckets }
}

const TIME_TO_FIRST_TOKEN_BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
/// dsgate adds 15 s, the default objective, so that a quantile objective can be read exactly from the buckets.
const GATEWAY_TIME_TO_FIRST_TOKEN_BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const INTER_TOKEN_BUCKETS: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const REQUEST_BUCKETS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const TOKEN_COUNT_BUCKETS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0, 100000.0,
];

/// From a hundredth of a cent, what a short answer of a small model costs, to what only a whole context at a high price does.
const COST_BUCKETS: &[f64] =
    &[0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// From a disk with a battery to one that is worn out.
const SYNC_BUCKETS: &[f64] =
    &[0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// dsserve's metrics, under vLLM's names.
pub mod daemon {
    use super::*;

    pub const REQUESTS_RUNNING: Metric =
        gauge("vllm:num_requests_running", &["model_name"], "Sequences being generated now.");
    pub const REQUESTS_WAITING: Metric =
        gauge("vllm:num_requests_waiting", &["model_name"], "Requests accepted and not yet running.");
    pub const KV_CACHE_USAGE: Metric =
        gauge("vllm:kv_cache_usage_perc", &["model_name"], "Share of the key-value cache in use, 0 to 1.");
    pub const GPU_CACHE_USAGE: Metric =
        gauge("vllm:gpu_cache_usage_perc", &["model_name"], "The same under the name that vLLM had for it before.");
    pub const PREFIX_CACHE_QUERIES: Metric = counter(
        "vllm:prefix_cache_queries_total",
        &["model_name"],
        "Prompt tokens that were looked for in the prefix cache.",
    );
    pub const PREFIX_CACHE_HITS: Metric =
        counter("vllm:prefix_cache_hits_total", &["model_name"], "Prompt tokens that were found in the prefix cache.");
    pub const PREEMPTIONS: Metric = counter(
        "vllm:num_preemptions_total",
        &["model_name"],
        "Times that a sequence gave its part of the key-value cache back to go on later.",
    );
    pub const PROMPT_TOKENS: Metric = counter("vllm:prompt_tokens_total", &["model_name"], "Prompt tokens processed.");
    pub const GENERATION_TOKENS: Metric = counter("vllm:generation_tokens_total", &["model_name"], "Tokens generated.");
    pub const REQUEST_SUCCESS: Metric = counter(
        "vllm:request_success_total",
        &["model_name", "finished_reason"],
        "Requests that ended, by reason: stop, length, abort.",
    );
    pub const TIME_TO_FIRST_TOKEN: Metric = histogram(
        "vllm:time_to_first_token_seconds",
        &["model_name"],
        "Seconds from acceptance to the first token.",
        TIME_TO_FIRST_TOKEN_BUCKETS,
    );
    pub const INTER_TOKEN_LATENCY: Metric = histogram(
        "vllm:inter_token_latency_seconds",
        &["model_name"],
        "Seconds between two tokens of one sequence.",
        INTER_TOKEN_BUCKETS,
    );
    pub const REQUEST_TIME_PER_OUTPUT_TOKEN: Metric = histogram(
        "vllm:request_time_per_output_token_seconds",
        &["model_name"],
        "Mean seconds per output token of a request, the first left out.",
        INTER_TOKEN_BUCKETS,
    );
    pub const E2E_LATENCY: Metric = histogram(
        "vllm:e2e_request_latency_seconds",
        &["model_name"],
        "Seconds from acceptance to the last token.",
        REQUEST_BUCKETS,
    );
    pub const QUEUE_TIME: Metric =
        histogram("vllm:request_queue_time_seconds", &["model_name"], "Seconds spent waiting.", REQUEST_BUCKETS);
    pub const PREFILL_TIME: Metric = histogram(
        "vllm:request_prefill_time_seconds",
        &["model_name"],
        "Seconds from running to the first token.",
        REQUEST_BUCKETS,
    );
    pub const DECODE_TIME: Metric = histogram(
        "vllm:request_decode_time_seconds",
        &["model_name"],
        "Seconds from the first token to the last.",
        REQUEST_BUCKETS,
    );
    pub const REQUEST_PROMPT_TOKENS: Metric =
        histogram("vllm:request_prompt_tokens", &["model_name"], "Prompt tokens of a request.", TOKEN_COUNT_BUCKETS);
    pub const REQUEST_GENERATION_TOKENS: Metric = histogram(
        "vllm:request_generation_tokens",
        &["model_name"],
        "Tokens generated for a request.",
        TOKEN_COUNT_BUCKETS,
    );
    pub const REQUESTS_REJECTED: Metric = counter(
        "dsctl_requests_rejected_total",
        &["model_name", "reason"],
        "Requests refused before they ran, by reason.",
    );

    pub const ALL: &[Metric] = &[
        REQUESTS_RUNNING,
        REQUESTS_WAITING,
        KV_CACHE_USAGE,
        GPU_CACHE_USAGE,
        PREFIX_CACHE_QUERIES,
        PREFIX_CACHE_HITS,
        PREEMPTIONS,
        PROMPT_TOKENS,
        GENERATION_TOKENS,
        REQUEST_SUCCESS,
        TIME_TO_FIRST_TOKEN,
        INTER_TOKEN_LATENCY,
        REQUEST_TIME_PER_OUTPUT_TOKEN,
        E2E_LATENCY,
        QUEUE_TIME,
        PREFILL_TIME,
        DECODE_TIME,
        REQUEST_PROMPT_TOKENS,
        REQUEST_GENERATION_TOKENS,
        REQUESTS_REJECTED,
    ];
}

/// dsgate's metrics.
pub mod gateway {
    use super::*;

    pub const REQUESTS: Metric = counter(
        "dsctl_gateway_requests_total",
        &["variant", "outcome"],
        "Attempts on a variant by how they ended: ok, client_error, upstream_error, truncated, client_abort.",
    );
    pub const ANSWERS: Metric = counter(
        "dsctl_gateway_answers_total",
        &["variant", "status"],
        "Answers given to clients, by the variant that gave them and the HTTP status; variant none if refused here.",
    );
    pub const FALLBACKS: Metric = counter(
        "dsctl_gateway_fallbacks_total",
        &["from", "to"],
        "Requests that failed on one variant before the first byte and were sent to the other.",
    );
    pub const TIME_TO_FIRST_TOKEN: Metric = histogram(
        "dsctl_gateway_time_to_first_token_seconds",
        &["variant"],
        "Seconds from the request to the first byte of the answer's body.",
        GATEWAY_TIME_TO_FIRST_TOKEN_BUCKETS,
    );
    pub const REQUEST_DURATION: Metric = histogram(
        "dsctl_gateway_request_duration_seconds",
        &["variant"],
        "Seconds from the request to the last byte of the answer.",
        REQUEST_BUCKETS,
    );
    pub const IN_FLIGHT: Metric =
        gauge("dsctl_gateway_requests_in_flight", &["variant"], "Requests being answered now.");
    pub const WEIGHT: Metric =
        gauge("dsctl_rollout_weight", &["variant"], "Share of new requests that the variant gets, 0 to 1.");
    pub const GENERATION: Metric =
        gauge("dsctl_gateway_route_table_generation", &[], "Generation of the route table in force.");
    pub const CONFIG_RELOADED: Metric = gauge(
        "dsctl_gateway_config_last_reload_successful",
        &[],
        "1 if the last configuration read was put in force, 0 if it was refused and the one before stayed.",
    );
    pub const STAGE: Metric =
        gauge("dsctl_rollout_stage", &[], "Stage of the rollout, counted from 1; 0 without a rollout.");
    pub const DECISIONS: Metric =
        counter("dsctl_rollout_decisions_total", &["verdict"], "Verdicts of the rollout controller.");

    pub const CACHE: Metric = counter(
        "dsctl_gateway_cache_lookups_total",
        &["result"],
        "Requests that were looked for among the answers given before: hit, miss.",
    );
    pub const CACHE_BYTES: Metric = gauge("dsctl_gateway_cache_bytes", &[], "Memory that answers given before take.");

    pub const ALL: &[Metric] = &[
        CACHE,
        CACHE_BYTES,
        REQUESTS,
        ANSWERS,
        FALLBACKS,
        TIME_TO_FIRST_TOKEN,
        REQUEST_DURATION,
        IN_FLIGHT,
        WEIGHT,
        GENERATION,
        CONFIG_RELOADED,
        STAGE,
        DECISIONS,
    ];
}

/// What serving costs; dsgate exports it beside its own. What is unknown is absent, never zero.
///
/// A variant that is paid by the token is priced here. What the own machine's tokens cost follows from its hourly price and
/// the tokens, over a time that only the reader knows: dashboards derive it.
pub mod cost {
    use super::*;

    pub const MACHINE_HOURLY: Metric = gauge(
        "dsctl_machine_cost_dollars_per_hour",
        &[],
        "Price of the machine and what goes with it, as planned; absent if it is not known.",
    );
    pub const TOKENS: Metric = counter(
        "dsctl_gateway_tokens_total",
        &["variant", "kind"],
        "Tokens that a variant said it took (kind prompt) and gave (kind completion).",
    );
    pub const UNMETERED: Metric = counter(
        "dsctl_gateway_answers_without_usage_total",
        &["variant"],
        "Answers that did not say their tokens, such as streams asked without include_usage: in no token and no cost here.",
    );
    pub const DOLLARS: Metric = counter(
        "dsctl_gateway_cost_dollars_total",
        &["variant"],
        "Cost of a variant's tokens at its price; absent for a variant without one.",
    );
    pub const REQUEST_DOLLARS: Metric = histogram(
        "dsctl_gateway_request_cost_dollars",
        &["variant"],
        "Cost of a request's tokens at the variant's price; absent for a variant without one.",
        COST_BUCKETS,
    );

    pub const ALL: &[Metric] = &[MACHINE_HOURLY, TOKENS, UNMETERED, DOLLARS, REQUEST_DOLLARS];
}

/// What dsgate's guards found. Series of a rule are there from the start, at zero.
pub mod guard {
    use super::*;

    pub const VERDICTS: Metric = counter(
        "dsctl_guard_verdicts_total",
        &["rule", "action", "direction"],
        "Times that a rule of the guards found something, and what was done: block, redact or flag.",
    );
    pub const REDACTIONS: Metric = counter(
        "dsctl_pii_redactions_total",
        &["entity", "direction"],
        "Values that were taken out of requests (direction request) and answers (answer).",
    );

    pub const ALL: &[Metric] = &[VERDICTS, REDACTIONS];
}

/// What dsgate's clients use, by the key's name; a key without one goes by the start of its digest.
pub mod key {
    use super::*;

    pub const REQUESTS: Metric =
        counter("dsctl_key_requests_total", &["key"], "Requests that a key's limits let pass.");
    pub const REFUSED: Metric = counter(
        "dsctl_key_requests_refused_total",
        &["key", "limit"],
        "Requests that a key's limits refused, by the limit: requests, tokens, budget.",
    );
    pub const TOKENS: Metric = counter(
        "dsctl_key_tokens_total",
        &["key", "kind"],
        "Tokens that a key's requests took (kind prompt) and got (completion); estimated where an answer did not say.",
    );
    pub const DOLLARS: Metric =
        counter("dsctl_key_cost_dollars_total", &["key"], "Cost of a key's tokens on variants that have a price.");

    pub const ALL: &[Metric] = &[REQUESTS, REFUSED, TOKENS, DOLLARS];
}

/// dsgate's audit log. Absent where none is kept, but for the counters.
pub mod audit {
    use super::*;

    pub const RECORDS: Metric = counter("dsctl_audit_records_total", &[], "Records written to the audit log's disk.");
    pub const DROPPED: Metric = counter(
        "dsctl_audit_records_dropped_total",
        &[],
        "Requests without a record: nothing could be written, and no more would fit in memory.",
    );
    pub const WAITING: Metric = gauge("dsctl_audit_records_waiting", &[], "Records that are not on disk yet.");
    pub const FAILING: Metric = gauge("dsctl_audit_failing", &[], "1 while the audit log can't be written, else 0.");
    pub const SYNC_SECONDS: Metric = histogram(
        "dsctl_audit_sync_seconds",
        &[],
        "Seconds that a group of records took to be written and synced.",
        SYNC_BUCKETS,
    );

    pub const ALL: &[Metric] = &[RECORDS, DROPPED, WAITING, FAILING, SYNC_SECONDS];
}

/// What the agent says of its host.
pub mod host {
    use super::*;

    pub const READY: Metric = gauge("dsctl_host_ready", &[], "1 while the host serves what its host spec asks for.");
    pub const PHASE_SECONDS: Metric = gauge(
        "dsctl_host_phase_seconds",
        &["phase"],
        "Seconds that a phase took, or has taken so far; absent before it begins.",
    );
    pub const PHASE_FAILED: Metric =
        gauge("dsctl_host_phase_failed", &["phase"], "1 while a phase has failed, else 0.");
    pub const UNIT_RESTARTS: Metric =
        counter("dsctl_agent_unit_restarts_total", &["unit"], "Starts of a unit after the first.");
    pub const GPUS: Metric =
        gauge("dsctl_host_gpus", &[], "GPUs that NVML counts on the host; 0 where there is no NVML either.");

    pub const ALL: &[Metric] = &[READY, PHASE_SECONDS, PHASE_FAILED, UNIT_RESTARTS, GPUS];
}

/// What the agent reads from NVML, under dcgm-exporter's names, labels and units, so that dashboards made for it work.
/// Source: `etc/default-counters.csv` of NVIDIA/dcgm-exporter, and the fields it has commented out.
pub mod gpu {
    use super::*;

    pub const LABELS: &[&str] = &["gpu", "UUID", "modelName", "Hostname"];

    pub const SM_CLOCK: Metric = gauge("DCGM_FI_DEV_SM_CLOCK", LABELS, "SM clock frequency (in MHz).");
    pub const MEMORY_CLOCK: Metric = gauge("DCGM_FI_DEV_MEM_CLOCK", LABELS, "Memory clock frequency (in MHz).");
    pub const TEMPERATURE: Metric = gauge("DCGM_FI_DEV_GPU_TEMP", LABELS, "GPU temperature (in C).");
    pub const POWER: Metric = gauge("DCGM_FI_DEV_POWER_USAGE", LABELS, "Power draw (in W).");
    pub const ENERGY: Metric =
        counter("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", LABELS, "Total energy consumption since boot (in mJ).");
    pub const PCIE_REPLAYS: Metric =
        counter("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", LABELS, "Total number of PCIe retries.");
    pub const UTILISATION: Metric = gauge("DCGM_FI_DEV_GPU_UTIL", LABELS, "GPU utilization (in %).");
    pub const MEMORY_COPY: Metric = gauge("DCGM_FI_DEV_MEM_COPY_UTIL", LABELS, "Memory utilization (in %).");
    pub const MEMORY_FREE: Metric = gauge("DCGM_FI_DEV_FB_FREE", LABELS, "Framebuffer memory free (in MiB).");
    pub const MEMORY_USED: Metric = gauge("DCGM_FI_DEV_FB_USED", LABELS, "Framebuffer memory used (in MiB).");
    pub const MEMORY_RESERVED: Metric =
        gauge("DCGM_FI_DEV_FB_RESERVED", LABELS, "Framebuffer memory reserved (in MiB).");
    pub const LAST_XID: Metric =
        gauge("DCGM_FI_DEV_XID_ERRORS", LABELS, "Value of the last XID error encountered; 0 if none.");
    pub const ECC_CORRECTED: Metric =
        counter("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", LABELS, "Total number of single-bit volatile ECC errors.");
    pub const ECC_UNCORRECTED: Metric =
        counter("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", LABELS, "Total number of double-bit volatile ECC errors.");
    pub const ROWS_CORRECTABLE: Metric =
        counter("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", LABELS, "Number of remapped rows for correctable errors.");
    pub const ROWS_UNCORRECTABLE: Metric =
        counter("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", LABELS, "Number of remapped rows for uncorrectable errors.");
    pub const ROW_REMAP_FAILED: Metric =
        gauge("DCGM_FI_DEV_ROW_REMAP_FAILURE", LABELS, "Whether remapping of rows has failed.");
    pub const THROTTLE_REASONS: Metric = gauge(
        "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS",
        LABELS,
        "Why the clocks are held down: NVML's bits, 0 if they are not.",
    );
    pub const POWER_VIOLATION: Metric =
        counter("DCGM_FI_DEV_POWER_VIOLATION", LABELS, "Throttling duration due to power constraints (in us).");
    pub const THERMAL_VIOLATION: Metric =
        counter("DCGM_FI_DEV_THERMAL_VIOLATION", LABELS, "Throttling duration due to thermal constraints (in us).");

    pub const ALL: &[Metric] = &[
        SM_CLOCK,
        MEMORY_CLOCK,
        TEMPERATURE,
        POWER,
        ENERGY,
        PCIE_REPLAYS,
        UTILISATION,
        MEMORY_COPY,
        MEMORY_FREE,
        MEMORY_USED,
        MEMORY_RESERVED,
        LAST_XID,
        ECC_CORRECTED,
        ECC_UNCORRECTED,
        ROWS_CORRECTABLE,
        ROWS_UNCORRECTABLE,
        ROW_REMAP_FAILED,
        THROTTLE_REASONS,
        POWER_VIOLATION,
        THERMAL_VIOLATION,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_their_kind() {
        let all: Vec<Metric> =
            [daemon::ALL, gateway::ALL, cost::ALL, guard::ALL, audit::ALL, key::ALL, host::ALL, gpu::ALL]
                .into_iter()
                .flatten()
                .copied()
                .collect();
        for (at, metric) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other.name != metric.name), "{} is there twice", metric.name);
            // DCGM's names are its own.
            let is_counter = metric.kind == MetricKind::Counter;
            let is_named = metric.name.starts_with("DCGM_") || is_counter == metric.name.ends_with("_total");
            assert!(is_named, "{}", metric.name);
            assert_eq!(metric.kind == MetricKind::Histogram, !metric.buckets.is_empty(), "{}", metric.name);
            assert!(metric.buckets.is_sorted(), "{}", metric.name);
        }
    }
}
