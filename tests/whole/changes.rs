//! `dsctl up` on a deployment that is there: what changed is changed, what did not goes on.

use reqwest::Method;
use tests::home::Home;
use tests::http::{call, question};
use tests::mock::Mock;
use tests::weights;

#[test]
fn a_changed_setting_restarts_only_what_it_concerns() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    let before = home.status();
    let again = home.up(&["--max-sequences", "2"]);
    let after = home.status();
    assert_eq!((&again.url, &again.key), (&endpoint.url, &endpoint.key));
    assert_ne!(after.living("dsserve"), before.living("dsserve"), "it has another command line");
    assert_eq!(after.living("dsgate"), before.living("dsgate"), "it has the same");
    assert_eq!(after.agent_pid(), before.agent_pid());
}

#[test]
fn a_baseline_that_is_added_later_has_the_traffic_first() {
    let (home, mock) = (Home::alone(), Mock::start("baseline"));
    let endpoint = home.up(&[]);
    home.up(&["--baseline", &mock.base_url()]);
    let url = format!("{}/chat/completions", endpoint.url);
    let answer = call(Method::POST, &url, &endpoint.key, Some(&question(weights::MODEL, 2))).has_status(200);
    assert_eq!(answer.chat_text(), "baseline speaks", "a candidate gets traffic by a rollout only");
    home.dsctl(&["rollout", "start", "--bake", "10m"]).exits(0).says("weight 10%");
}
