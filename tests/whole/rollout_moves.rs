//! A rollout by hand: pause, resume, abort, and what each command's exit code tells a script.

use reqwest::Method;
use serde_json::{Value, json};
use tests::home::Home;
use tests::mock::Mock;

fn weight_in_force(home: &Home) -> Value {
    home.admin(Method::GET, "/admin/status", None).has_status(200).json()["route_table"]["candidate"].clone()
}

#[test]
fn a_rollout_is_led_by_hand() {
    let (home, mock) = (Home::alone(), Mock::start("baseline"));
    home.up(&["--baseline", &mock.base_url()]);
    assert_eq!(weight_in_force(&home), "0%");
    for verb in ["pause", "resume", "abort", "status"] {
        home.dsctl(&["rollout", verb]).exits(1).says("no rollout");
    }
    home.dsctl(&["rollout", "history", "--json"]).exits(0);

    // Nothing is asked, so nothing is promoted: the wait ends, the rollout does not.
    let words = ["rollout", "start", "--bake", "1s", "--wait", "--timeout", "3s"];
    home.dsctl(&words).exits(9).says("it goes on").says("dsctl rollout watch");
    assert_eq!(weight_in_force(&home), "10%");
    home.dsctl(&["rollout", "status"]).exits(0).says("baking").says("0 of 20 answers");
    home.dsctl(&["rollout", "start"]).exits(1).says("rollout");
    home.dsctl(&["down", "--yes"]).exits(1).says("10%").says("dsctl rollout abort");

    home.dsctl(&["rollout", "pause"]).exits(0).says("paused");
    home.dsctl(&["rollout", "pause"]).exits(1).says("paused");
    assert_eq!(weight_in_force(&home), "10%", "a pause holds the weight");
    home.dsctl(&["rollout", "resume"]).exits(0).says("baking");
    home.dsctl(&["rollout", "resume"]).exits(1).says("baking");
    let change = json!({"expected_generation": 1, "candidate": "50%"});
    home.admin(Method::PUT, "/admin/route-table", Some(&change)).has_status(409);

    home.dsctl(&["rollout", "abort"]).exits(0).says("aborted");
    assert_eq!(weight_in_force(&home), "0%");
    home.dsctl(&["rollout", "watch"]).exits(10).says("aborted");
    home.dsctl(&["rollout", "abort"]).exits(1);
    the_history_tells_it_all(&home);

    // From a file this time, with a flag over it; the one before stays in the history.
    let file = home.write("rollout.yaml", "stages: [50%, 100%]\nbake: 10m\n");
    let report = home.dsctl(&["rollout", "start", "-f", &file, "--min-requests", "3", "--json"]).exits(0).json();
    assert_eq!(
        (report["spec"]["bake"].as_str(), report["spec"]["min_requests"].as_u64()),
        (Some("10m"), Some(3)),
        "{report}"
    );
    assert_eq!(weight_in_force(&home), "50%");
    home.dsctl(&["down", "--yes", "--force"]).exits(0);
}

fn the_history_tells_it_all(home: &Home) {
    let history = home.dsctl(&["rollout", "history", "--json"]).exits(0).json();
    let kinds: Vec<&str> = history.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    let expected =
        ["started", "weight-intended", "weight-set", "paused", "resumed", "weight-intended", "weight-set", "aborted"];
    assert_eq!(kinds, expected, "{history}");
    let text = home.dsctl(&["rollout", "history"]).exits(0).stdout;
    assert_eq!(text.lines().count(), expected.len() + 1, "{text}");
}
