//! How often healthy candidates are rolled back and how soon ill ones are: prints the tables of docs/statistics.md.
//!
//! `cargo run --release -p rollout --example calibration [RUNS]`

mod method;
mod simulate;
mod traffic;

use std::io::Write;

use simulate::{Outcomes, simulate};
use traffic::Scene;

const RUNS: usize = 1_000;

fn main() -> std::io::Result<()> {
    let runs = std::env::args().nth(1).and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| scene | gates (`decide`) | gates beside baseline (`decide`) | failures beside baseline | times beside baseline | failureLimit 0 | threshold 5 | Mann-Whitney 98% |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for (at, scene) in scenes().iter().enumerate() {
        let cells: Vec<String> = simulate(scene, runs, at as u64).iter().map(cell).collect();
        writeln!(out, "| {} | {} |", scene.name, cells.join(" | "))?;
    }
    Ok(())
}

fn scenes() -> Vec<Scene> {
    vec![
        Scene::healthy("healthy, 0.1% errors, 30 a look", 0.001, 30),
        Scene::healthy("healthy, 0.1% errors, 300 a look", 0.001, 300),
        Scene::healthy("healthy, 0.5% errors, 30 a look", 0.005, 30),
        Scene::healthy("healthy, 0.5% errors, 300 a look", 0.005, 300),
        Scene::healthy("healthy, 2% errors, 30 a look", 0.02, 30),
        Scene::healthy("healthy, 2% errors, 300 a look", 0.02, 300),
        Scene::healthy("healthy, 0.5% errors, drifting, 300 a look", 0.005, 300).drifting(),
        Scene::at_the_bounds("exactly 1.5 times the errors and 1.2 times the times, 100 a look", 100),
        Scene::ill("100% errors, 10 a look", 1.0, 1.0, 10),
        Scene::ill("20% errors, 10 a look", 0.2, 1.0, 10),
        Scene::ill("5% errors, 100 a look", 0.05, 1.0, 100),
        Scene::ill("2% errors, 100 a look", 0.02, 1.0, 100),
        Scene::ill("20% slower, 100 a look", 0.005, 1.2, 100),
        Scene::ill("50% slower, 100 a look", 0.005, 1.5, 100),
    ]
}

/// How many of 100 were rolled back, and after how many of the candidate's answers half of those were.
fn cell(outcomes: &Outcomes) -> String {
    let share = outcomes.share() * 100.0;
    outcomes.median_answers().map_or_else(|| "0%".to_owned(), |answers| format!("{share:.1}% ({answers})"))
}
