//! What differs from run to run, taken out of snapshots; what does not differ stays, to the letter.

use std::path::Path;

use insta::Settings;

use crate::home::Home;
use crate::process::Outcome;

/// Compares a command's whole output with the snapshot of this name.
#[track_caller]
pub fn snapshot(home: &Home, name: &str, outcome: &Outcome) {
    let text = settled(&outcome.transcript());
    let mut settings = settings(home);
    // The width of a column follows its widest cell, and cells were shortened.
    settings.add_filter(r"(\S) {2,}", "$1  ");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The same for a text without a table, to the last space.
#[track_caller]
pub fn snapshot_exact(home: &Home, name: &str, outcome: &Outcome) {
    settings(home).bind(|| insta::assert_snapshot!(name, outcome.transcript()));
}

fn settings(home: &Home) -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots"));
    settings.set_omit_expression(true);
    // Temporary folders have no characters that a pattern would read anything into but dots.
    settings.add_filter(&home.scratch().display().to_string().replace('.', r"\."), "[SCRATCH]");
    for (pattern, shown) in [
        (r"[0-9a-f]{64}", "[SHA256]"),
        (r"sha256 [0-9a-f]{12}…", "sha256 [SHA256]…"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
        (r" on \d+( and \d+)?", " on [PORT]"),
        (r"(pid|process) \d+", "$1 [PID]"),
        (r"\(\d+\.\d s\)", "([TIME])"),
        (r"\d\d:\d\d:\d\d", "[TIME]"),
        (r"(ready) +\d+ ", "$1  [PID] "),
        (r"\d+\.\d [KMG]iB", "[SIZE]"),
        (r"\d+\.\d\.\d+ *\n", "[VERSION]\n"),
        (r"\d{4}-\d\d-\d\dT\[TIME\](\.\d+)?(Z|[+-]\d\d:\d\d)", "[TIME]"),
        // Of clouds: ids, and names made of a deployment's own digest.
        (r"\b(eipalloc|igw|i|nat|rtb|sg|subnet|vpc|vpce)-[0-9a-f]{17}\b", "$1-[ID]"),
        (r"(eipalloc-\[ID\] +)[\d.]+", "$1[ADDRESS]"),
        (r"\b(dsctl-default|dsctl|main)(-([0-9a-f]{16}|[0-9a-f]{8}|[0-9a-f]{6}))+\b", "$1-[ID]"),
        (r"\bdsctl[a-z2-7]{19}\b", "dsctl[ID]"),
        (r"roleAssignments/[0-9a-f-]{36}", "roleAssignments/[ID]"),
        (r"//10\.77\.0\.\d+:", "//10.77.0.[N]:"),
    ] {
        settings.add_filter(pattern, shown);
    }
    settings
}

/// Acts and phases go on side by side: which of their running states are seen, and which ends first, is chance.
fn settled(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().filter(|line| !is_phase(line, "running")).collect();
    sort_among_themselves(&mut lines, |line| is_phase(line, "done"));
    sort_among_themselves(&mut lines, is_step);
    lines.join("\n")
}

fn sort_among_themselves(lines: &mut [&str], is_one: impl Fn(&str) -> bool) {
    let places: Vec<usize> = (0..lines.len()).filter(|at| is_one(lines[*at])).collect();
    let mut sorted: Vec<&str> = places.iter().map(|at| lines[*at]).collect();
    sorted.sort_unstable();
    for (place, line) in places.into_iter().zip(sorted) {
        lines[place] = line;
    }
}

/// `  + ADDRESS`, and nothing after it.
fn is_step(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    line.starts_with("  ") && matches!(words[..], ["+" | "~" | "-" | "+/-", address] if address.contains('.'))
}

/// `  PHASE  STATE  …`
fn is_phase(line: &str, state: &str) -> bool {
    let phases = ["files", "weights", "daemon", "baseline daemon", "gateway", "first token"];
    let rest = line.strip_prefix("  ").and_then(|line| phases.iter().find_map(|phase| line.strip_prefix(phase)));
    rest.is_some_and(|rest| rest.starts_with("  ") && rest.split_whitespace().next() == Some(state))
}
