//! The memory arithmetic of the advisor against what dsserve really uses.

use reqwest::Method;
use serde_json::Value;
use tests::home::Home;
use tests::http::{call, question};

/// What `dsctl gpus` adds for each GPU's driver; there is none here.
const CUDA_CONTEXT: u64 = 600 << 20;
/// Of each of the sequences that are generated at once.
const TOKENS: u32 = 96;
const SEQUENCES: usize = 8;

#[test]
fn a_daemon_under_full_load_stays_within_what_is_counted_for_it() {
    let home = Home::alone();
    let words =
        ["gpus", "--model", "smollm2-135m", "--context", "1024", "--max-sequences", "8", "--cloud", "aws", "--json"];
    let need = home.dsctl(&words).exits(0).json()["machines"][0]["holds"]["fit"]["per_gpu_need"].clone();
    let bytes = |part: &str| need[part].as_u64().unwrap_or_else(|| panic!("no {part} in {need}"));
    let counted = bytes("weights") + bytes("kv_cache") + bytes("overhead") - CUDA_CONTEXT;

    let endpoint = home.up(&["--max-sequences", "8"]);
    std::thread::scope(|scope| {
        for _ in 0..SEQUENCES {
            scope.spawn(|| {
                let url = format!("{}/chat/completions", endpoint.url);
                let body: Value = question("smollm2-135m", TOKENS);
                call(Method::POST, &url, &endpoint.key, Some(&body)).has_status(200);
            });
        }
    });
    let peak = peak_bytes(home.status().living("dsserve"));
    assert!(peak > bytes("weights"), "{peak} bytes are too few to hold {need}");
    assert!(peak <= counted, "{peak} bytes are more than the {counted} that are counted: {need}");
}

/// The most that a process ever had in memory at once.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
