//! The page of a rollout in a real browser. `.ci/pages` runs this.

use std::path::Path;
use std::process::Command;

use tests::home::Home;
use tests::load::{Form, Load};
use tests::mock::Mock;
use tests::process::run;
use tests::wait::until;

/// What the browser has after its script ran, and a picture of it for whoever looks.
fn rendered(home: &Home, address: &str) -> String {
    let picture = home.scratch().join("page.png");
    let chromium = || {
        let mut chromium = Command::new("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,1400"]);
        chromium.arg(format!("--user-data-dir={}", home.scratch().join("browser").display()));
        chromium.arg("--virtual-time-budget=6000");
        chromium
    };
    run(chromium().arg(format!("--screenshot={}", picture.display())).arg(address)).exits(0);
    assert!(std::fs::metadata(&picture).is_ok_and(|picture| picture.len() > 10_000), "no picture was made");
    if let Ok(folder) = std::env::var("DSCTL_PICTURES") {
        std::fs::copy(&picture, Path::new(&folder).join("rollout.png")).expect("a copy of the picture");
    }
    run(chromium().arg("--dump-dom").arg(address)).exits(0).stdout
}

#[test]
#[ignore = "needs Chromium: .ci/pages"]
fn the_page_of_a_rollout_shows_weights_gates_distributions_and_what_happened() {
    let home = Home::alone();
    let baseline = Mock::start("baseline");
    let endpoint = home.up(&["--baseline", &baseline.base_url()]);
    let address =
        |name: &str| home.dsctl(&["rollout", "page", "--json"]).exits(0).json()[name].as_str().unwrap().to_owned();
    let page = address("page");
    assert!(rendered(&home, &page).contains("There was no rollout yet"));

    let words = ["--stages", "10,50,100", "--bake", "2s", "--min-requests", "3", "--gate", "error_ratio<5%"];
    home.dsctl(&[&["rollout", "start"], words.as_slice()].concat()).exits(0);
    let load = Load::start(&endpoint, 2, Form::Whole);
    until("the second stage", || home.dsctl(&["rollout", "status"]).stdout.contains("[50%]").then_some(()));
    let shown = rendered(&home, &page);
    load.stop();
    for part in [
        "data-state=\"shown\"",
        "<li class=\"done\">10%</li>",
        "error_ratio&lt;5%",
        "promoted-stage",
        "class=\"curve\"",
        "class=\"bound\"",
        "<rect class=\"baseline\"",
        "<rect class=\"candidate\"",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    // The token opens the page's questions, and is in nothing that the page holds.
    let (open, token) = page.split_once("#token=").unwrap();
    assert!(!shown.contains(token), "the token is in the page");
    assert!(rendered(&home, open).contains("The address lacks the token"));
    let refused = rendered(&home, &format!("{open}#token=wrong"));
    assert!(refused.contains("data-state=\"failed\"") && refused.contains("401"), "{refused}");
}
