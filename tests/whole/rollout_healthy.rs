//! A candidate that is as good as the baseline: all the way up, also over a crash of the gateway.

use reqwest::Method;
use tests::home::Home;
use tests::load::{Form, Load, count, is_whole};
use tests::process::kill;
use tests::wait::until;

#[test]
fn a_healthy_candidate_gets_all_the_traffic() {
    let home = Home::alone();
    let endpoint = home.up(&["--baseline", "local:smollm2-135m"]);
    let load = Load::start(&endpoint, 2, Form::Both);
    let words = [
        "rollout",
        "start",
        "--stages",
        "10,30,60,100",
        "--bake",
        "2s",
        "--gate",
        "error_ratio<5%",
        "--gate",
        "ttft_p95<15s",
        "--min-requests",
        "5",
        "--wait",
        "--json",
    ];
    let over = home.dsctl(&words).exits(0);
    let report = over.json();
    assert_eq!((report["phase"].as_str(), report["weight"].as_str()), (Some("promoted"), Some("100%")), "{report}");
    for stage in ["10%", "30%", "60%", "100%"] {
        assert!(over.stderr.contains(&format!("weight {stage}  ")), "{stage} is not shown\n{}", over.transcript());
    }
    let results = load.stop();
    let broken: Vec<_> = results.iter().filter(|result| !is_whole(result)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count(&results, "baseline") > 0 && count(&results, "candidate") >= 20, "both answered");
    let table = home.admin(Method::GET, "/admin/status", None).has_status(200).json()["route_table"].clone();
    assert_eq!(table["candidate"], "100%", "{table}");
    // At the end of the road there is nothing to start.
    home.dsctl(&["rollout", "start"]).exits(1).says("100%");
}

#[test]
fn a_gateway_that_crashes_in_mid_rollout_comes_back_and_goes_on() {
    let (home, mock) = (Home::alone(), tests::mock::Mock::start("baseline"));
    let endpoint = home.up(&["--baseline", &mock.base_url()]);
    let load = Load::start(&endpoint, 2, Form::Whole);
    let words = ["rollout", "start", "--bake", "2s", "--min-requests", "5", "--wait", "--json"];
    let rollout = home.start(&words);
    let weight_is = |wanted: &str| {
        let status = home.dsctl(&["rollout", "status", "--json"]);
        (status.code == 0 && status.json()["weight"] == wanted).then_some(())
    };
    until("the second stage", || weight_is("30%"));
    let killed = home.status().living("dsgate");
    kill(killed);
    until("the gateway is back", || home.status().pid("dsgate").filter(|pid| *pid != killed));
    let over = rollout.end().exits(0);
    assert_eq!(over.json()["phase"], "promoted", "{}", over.transcript());
    // A request that met no gateway has no answer; every answer there was is whole.
    let results = load.stop();
    let broken: Vec<_> = results.iter().filter(|result| result.is_ok() && !is_whole(result)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let history = home.dsctl(&["rollout", "history", "--json"]).exits(0).json();
    let set = history.as_array().unwrap().iter().filter(|event| event["kind"] == "weight-set");
    let weights: Vec<&str> = set.map(|event| event["weight"].as_str().unwrap()).collect();
    assert_eq!(weights, ["10%", "30%", "60%", "100%"], "{history}");
}
