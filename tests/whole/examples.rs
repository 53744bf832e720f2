//! The examples' own words, run as they stand, as far as they need no API of somebody else's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::binaries;
use tests::home::{Home, endpoint_of};
use tests::load::{Form, Load};
use tests::process::{Outcome, Running};
use tests::wait::until;
use tests::weights;

/// A home with the model in its cache, and a copy of an example to run in.
struct Stage {
    home: Home,
    folder: PathBuf,
}

impl Stage {
    fn of(example: &str) -> Self {
        let home = Home::alone();
        weights::model().seed(home.layout().root());
        let folder = home.scratch().join(example);
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(binaries::workspace().join("examples").join(example)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        Self { home, folder }
    }

    /// What stands behind the `$` of the README's console blocks.
    fn lines(&self) -> Vec<String> {
        console_lines(&self.folder.join("README.md"))
    }

    fn start(&self, line: &str) -> Running {
        let mut shell = Command::new("sh");
        self.home.dress(shell.args(["-c", line]).current_dir(&self.folder));
        Running::start(&mut shell)
    }

    fn run(&self, line: &str) -> Outcome {
        self.start(line).end().exits(0)
    }

    /// Shorter times, so that the example is over in seconds; everything else as it stands.
    fn shorten(&self, file: &str, changes: &[(&str, &str)]) {
        let mut text = fs::read_to_string(self.folder.join(file)).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{file} has no {from}");
            text = text.replace(from, to);
        }
        fs::write(self.folder.join(file), text).unwrap();
    }
}

pub fn console_lines(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let mut lines = Vec::new();
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        lines.extend(block.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned));
    }
    lines
}

#[test]
fn the_first_minute_runs_as_it_stands() {
    let stage = Stage::of("local-first-minute");
    let lines = stage.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in &lines {
        stage.run(line);
    }
}

#[test]
fn the_rollout_runs_as_it_stands_but_for_its_times() {
    let stage = Stage::of("local-rollout");
    stage.shorten("rollout.yaml", &[("bake: 30s", "bake: 1s"), ("min_requests: 20", "min_requests: 5")]);
    for line in stage.lines() {
        if !line.contains("rollout start") {
            stage.run(&line);
            continue;
        }
        // "Send requests to the endpoint while it runs."
        let report = stage.run("dsctl up -f dsctl.yaml --yes --json").json();
        let load = Load::start(&endpoint_of(&report), 2, Form::Whole);
        let mut rollout = stage.start(&line);
        until("the rollout is over", || rollout.is_over().then_some(()));
        rollout.end().exits(0).says("promoted");
        drop(load);
    }
}

/// The third needs somebody's API key: its file is checked as far as it can be without.
#[test]
fn the_hosted_api_is_refused_without_its_key_and_planned_with_it() {
    let folder = binaries::workspace().join("examples/baseline-api/dsctl.yaml");
    let words = ["plan", "-f", folder.to_str().unwrap(), "--port", "0"];
    Home::light().dsctl(&words).exits(2).says("OPENAI_API_KEY");
    let plan = Home::light().variable("OPENAI_API_KEY", "sk-a-secret").dsctl(&words).exits(0);
    let plan = plan.says("secret.baseline-key").says("OPENAI_API_KEY");
    assert!(!plan.transcript().contains("sk-a-secret"), "{}", plan.transcript());
}
