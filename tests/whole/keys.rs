//! Keys with a name, from the terminal to what the gateway lets pass.

use reqwest::Method;
use serde_json::json;
use tests::home::Home;
use tests::http::{Answer, call};
use tests::mock::Mock;
use tests::wait::until;
use tests::weights;

#[test]
fn a_key_with_a_name_is_made_held_to_its_limits_and_revoked_without_a_restart() {
    let (home, baseline) = (Home::alone(), Mock::start("baseline"));
    let text = format!("model: {}\nbaseline: {}\n", weights::MODEL, baseline.base_url());
    let endpoint = home.up(&["--file", &home.write("dsctl.yaml", &text)]);
    let ask = |key: &str| -> Answer {
        let body = json!({"model": weights::MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "x"}]});
        call(Method::POST, &format!("{}/chat/completions", endpoint.url), key, Some(&body))
    };
    let made = home.dsctl(&["keys", "create", "team-a", "--requests-per-minute", "2", "--budget", "5/day"]).exits(0);
    let key = made.stdout.trim().to_owned();
    until("the gateway takes the key", || Some(ask(&key)).filter(|answer| answer.status == 200));
    ask(&key).has_status(200);
    let refused = ask(&key).has_status(429).json();
    assert_eq!(refused["error"]["code"], "rate_limit_exceeded", "{refused}");
    ask(&endpoint.key).has_status(200);

    let listed = home.dsctl(&["keys", "list"]).exits(0).stdout;
    assert_eq!(listed, "team-a: all models; 2 requests/min; $5.00/day\n");
    home.dsctl(&["keys", "rotate", "--retire-others"]).exits(0);
    assert_eq!(home.dsctl(&["keys", "list"]).exits(0).stdout, listed, "others are not its concern");
    home.dsctl(&["keys", "revoke", "team-b"]).exits(1).says("no key with the name team-b");
    home.dsctl(&["keys", "revoke", "team-a"]).exits(0);
    until("the key is taken no more", || Some(ask(&key)).filter(|answer| answer.status == 401));
    home.dsctl(&["keys", "create", "Team A"]).exits(2);
}
