//! Words in, words out: help, completions, one JSON value, and what happens where nobody can be asked.

use tests::home::Home;
use tests::mock::Mock;

use tests::redact::{snapshot, snapshot_exact};

#[test]
fn help_is_as_it_was() {
    let home = Home::light();
    for (name, words) in [
        ("help", &["--help"][..]),
        ("help-up", &["up", "--help"]),
        ("help-rollout", &["rollout", "--help"]),
        ("help-rollout-start", &["rollout", "start", "--help"]),
        ("help-rollout-plan", &["rollout", "plan", "--help"]),
    ] {
        snapshot_exact(&home, name, &home.dsctl(words).exits(0));
    }
    snapshot_exact(&home, "no-words", &home.dsctl(&[]).exits(2));
}

#[test]
fn a_rollout_file_is_checked_and_planned_where_nothing_runs() {
    let home = Home::light();
    let file = home.write("rollout.yaml", "stages: [10%, 100%]\nbake: 10m\ngates: [error_ratio<1%, ttft<1.2x]\n");
    home.dsctl(&["rollout", "validate", &file]).exits(0).says("stages  10% > 100%").says("ttft<1.2x");
    let plan = ["rollout", "plan", "--file", &file, "--requests-per-minute", "60"];
    snapshot(&home, "rollout-plan", &home.dsctl(&plan).exits(0));
    home.dsctl(&["rollout", "plan", "--requests-per-minute", "0"]).exits(2).says("is not above 0");
    let request = |second: u32, variant: &str| {
        format!(
            "2026-11-27T20:00:{second:02}Z  INFO request variant=\"{variant}\" generation=2 outcome=\"ok\" duration_ms=9\n"
        )
    };
    let log = home.write("dsgate.log", &(request(1, "baseline") + "other\n" + &request(2, "candidate")));
    let simulate = ["rollout", "simulate", "--file", &file, "--from", &log];
    home.dsctl(&simulate).exits(0).says("2 attempts in 1s; at the end 10%: waits for bake 1s of 10m, 1 of 20 answers");
    home.dsctl(&["rollout", "simulate", "--from", &file]).exits(2).says("no line tells of a request");
    for (bad, hint) in [
        ("stages: [10%, 60%]", "stages[1]: the last stage is 60%"),
        ("stages: [100%]\nbaek: 10m", "bake"),
        ("stages: [100%]\ngates: [ttft<15s]", "a multiple of the baseline's"),
    ] {
        let file = home.write("bad.yaml", bad);
        home.dsctl(&["rollout", "validate", &file]).exits(2).says(hint);
    }
}

#[test]
fn shells_get_their_completions() {
    let home = Home::light();
    for (shell, mark) in [("bash", "_dsctl()"), ("zsh", "#compdef dsctl"), ("fish", "complete -c dsctl")] {
        home.dsctl(&["completion", shell]).exits(0).says(mark);
    }
}

#[test]
fn without_a_terminal_and_without_yes_nothing_happens() {
    let home = Home::light();
    for words in [&["up", "--model", "smollm2-135m"][..], &["weights", "gc"]] {
        let refused = home.dsctl(words).exits(2).says("terminal").says("--yes");
        assert_eq!(refused.stdout, "", "{}", refused.transcript());
    }
    assert!(!home.layout().root().exists(), "something was made");
}

#[test]
fn a_plan_is_shown_and_changes_nothing() {
    let home = Home::light();
    let plan = ["plan", "--model", "smollm2-135m", "--port", "0", "--baseline", "local:smollm2-135m"];
    snapshot(&home, "plan", &home.dsctl(&plan).exits(0));
    let with_code: Vec<&str> = plan.iter().copied().chain(["--detailed-exitcode"]).collect();
    home.dsctl(&with_code).exits(2);
    assert!(!home.layout().root().exists(), "something was made");
}

#[test]
fn machines_that_hold_a_model_are_listed_with_what_the_figures_stand_on() {
    let home = Home::light();
    let words = ["gpus", "--model", "70b-int8", "--cloud", "aws", "--max-hourly", "4"];
    let listed =
        home.dsctl(&words).exits(0).says("g7e.2xlarge").says("too small").says("estimate").says("Prices (on-demand)");
    assert!(!listed.stdout.contains("unknown"), "{}", listed.transcript());
    let json: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let report = home.dsctl(&json).exits(0).json();
    assert_eq!(report["machines"][0]["price_as_of"], "2026-07-20", "{report}");
    home.dsctl(&["gpus", "--model", "70b-int8", "--max-hourly", "0.01"]).exits(0).says("No machine on record");
    home.dsctl(&["gpus", "--model", "nope"]).exits(2).says("unknown model \"nope\"").says("next: dsctl models");
    home.dsctl(&["gpus", "--region", "EU"]).exits(2).says("is no region, e.g. eu-west-1 or eu-*");
}

#[test]
fn every_cloud_has_a_machine_that_holds_a_model() {
    let home = Home::light();
    for cloud in ["aws", "gcp", "azure"] {
        let report = home.dsctl(&["gpus", "--model", "70b-int8", "--cloud", cloud, "--json"]).exits(0).json();
        let first = &report["machines"][0];
        assert_eq!(first["cloud"], cloud);
        let fit = &first["holds"]["fit"];
        let needed: u64 =
            ["weights", "kv_cache", "overhead"].iter().filter_map(|part| fit["per_gpu_need"][part].as_u64()).sum();
        let there = fit["per_gpu_available"].as_u64().unwrap_or_default();
        assert_eq!(there - needed, fit["headroom_bytes"].as_u64().unwrap(), "{first}");
        assert!(first["hourly_usd"].as_f64().is_some_and(|price| price > 0.0), "{first}");
    }
}

#[test]
fn json_is_one_value_for_successes_and_failures_alike() {
    let home = Home::light();
    let models = home.dsctl(&["models", "--json"]).exits(0).json();
    assert!(models.as_array().unwrap().iter().any(|model| model["name"] == "70b-int8"), "{models}");
    let plan = home.dsctl(&["plan", "--model", "smollm2-135m", "--port", "0", "--json"]).exits(0).json();
    assert!(!plan["changes"].as_array().unwrap().is_empty(), "{plan}");
    assert_eq!(home.dsctl(&["weights", "list", "--json"]).exits(0).json().as_array().unwrap().len(), 0);
    for (words, code, kind) in [
        (&["up", "--model", "smollm2-135m", "--json"][..], 2, "usage"),
        (&["plan", "--model", "nope", "--json"], 2, "usage"),
        (&["status", "--json"], 6, "no-such-deployment"),
        (&["down", "--yes", "--json"], 6, "no-such-deployment"),
        (&["rollout", "status", "--json"], 6, "no-such-deployment"),
        (&["rollout", "history", "--json"], 6, "no-such-deployment"),
        (&["weights", "pull", "nope", "--json"], 2, "usage"),
    ] {
        let failed = home.dsctl(words).exits(code);
        let error = &failed.json()["error"];
        assert_eq!(error["kind"], kind, "{}", failed.transcript());
        let message = error["message"].as_str().unwrap();
        assert!(failed.stderr.contains(message), "{}", failed.transcript());
    }
}

#[test]
fn json_of_a_life_is_one_value_at_every_turn() {
    let (home, mock) = (Home::alone(), Mock::start("baseline"));
    home.up(&["--baseline", &mock.base_url()]);
    assert_eq!(home.status().summary(), "ready");
    let start = home.dsctl(&["rollout", "start", "--bake", "10m", "--json"]).exits(0).json();
    assert_eq!(start["phase"], "baking", "{start}");
    assert_eq!(home.dsctl(&["rollout", "status", "--json"]).exits(0).json()["id"], start["id"]);
    assert_eq!(home.dsctl(&["rollout", "pause", "--json"]).exits(0).json()["phase"], "paused");
    let refused = home.dsctl(&["down", "--yes", "--json"]).exits(1);
    assert!(refused.json()["error"]["next"].as_str().unwrap().contains("dsctl rollout abort"), "{}", refused.stdout);
    assert_eq!(home.dsctl(&["rollout", "abort", "--json"]).exits(0).json()["phase"], "aborted");
    assert!(!home.dsctl(&["rollout", "history", "--json"]).exits(0).json().as_array().unwrap().is_empty());
    assert!(home.dsctl(&["weights", "verify", "--json"]).exits(0).json()[0]["whole"].as_bool().unwrap());
    assert!(home.dsctl(&["down", "--yes", "--json"]).exits(0).json()["removed"].as_u64().unwrap() >= 10);
}
