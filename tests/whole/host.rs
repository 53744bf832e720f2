//! Acts on a deployment's host: what is asked for is done, what can't be done is undone, and nothing secret leaves with the diagnostics.

use reqwest::Method;
use tests::home::Home;
use tests::http::{call, question};
use tests::process::run;
use tests::weights;

/// Of the unit's living process.
fn command_line(home: &Home, unit: &str) -> String {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", home.status().living(unit))).unwrap();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

#[test]
fn a_daemon_takes_other_limits_and_goes_back_from_those_that_it_can_not_run_with() {
    let home = Home::alone();
    home.up(&[]);
    let (before, own) = (home.status(), command_line(&home, "dsserve"));
    home.dsctl(&["host", "limit", "--context", "512"]).exits(0).says("dsserve runs with --context 512");
    let limited = home.status();
    assert_ne!(limited.living("dsserve"), before.living("dsserve"));
    assert_eq!(limited.living("dsgate"), before.living("dsgate"), "only the daemon is concerned");
    assert!(command_line(&home, "dsserve").contains("--context 512 "), "{}", command_line(&home, "dsserve"));

    home.dsctl(&["host", "limit", "--context", "512"]).exits(0);
    assert_eq!(home.status().living("dsserve"), limited.living("dsserve"), "it runs so already");
    let failed = home.dsctl(&["host", "limit", "--context", "90000000"]).exits(4).says("back to those before");
    assert!(failed.stderr.contains("context"), "the daemon's own words are told: {}", failed.transcript());
    home.dsctl(&["host", "limit", "dsgate", "--context", "512"]).exits(4).says("dsgate has no such limits");
    home.dsctl(&["host", "restart", "nobody"]).exits(4).says("there is no unit nobody; there are dsgate, dsserve");
    tests::wait::until("it serves with the limits before", || {
        (home.status().summary() == "ready" && command_line(&home, "dsserve").contains("--context 512 ")).then_some(())
    });

    home.dsctl(&["host", "limit"]).exits(0).says("the host spec's own limits");
    assert_eq!(command_line(&home, "dsserve"), own);
    home.dsctl(&["host", "limit", "--max-sequences", "3", "--json"]).exits(0);
    home.up(&["--max-sequences", "2"]);
    let line = command_line(&home, "dsserve");
    assert!(line.contains("--max-sequences 2"), "what the deployment says anew counts: {line}");
}

#[test]
fn a_drained_daemon_stays_down_until_it_is_restarted() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    home.dsctl(&["host", "drain"]).exits(2).says("--yes");
    home.dsctl(&["host", "drain", "--yes"]).exits(0).says("it stays down until it is restarted");
    assert_eq!(home.status().state("dsserve"), "drained");
    let url = format!("{}/chat/completions", endpoint.url);
    let ask = || call(Method::POST, &url, &endpoint.key, Some(&question(weights::MODEL, 2)));
    ask().has_status(503);
    home.dsctl(&["up", "--yes"]).exits(4).says("dsserve is drained").says("dsctl host restart dsserve");
    let words = ["host", "restart", "--json"];
    let report = home.dsctl(&words).exits(0).json();
    assert!(report["outcome"]["result"]["Ok"].as_str().is_some_and(|said| said.contains("started pid")), "{report}");
    tests::wait::until("it serves again", || (home.status().summary() == "ready").then_some(()));
    ask().has_status(200);
}

#[test]
fn diagnostics_come_in_one_file_without_secrets() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    let file = home.scratch().join("bundle.zip").display().to_string();
    home.dsctl(&["host", "diagnostics", "--output", &file]).exits(0).says("secrets are taken out");
    home.dsctl(&["host", "diagnostics", "--output", &file]).exits(2).says("is there already");
    let folder = home.scratch().join("bundle");
    let mut unpack = std::process::Command::new("python3");
    run(unpack.args(["-m", "zipfile", "-e", &file]).arg(&folder)).exits(0);
    for name in
        ["status.json", "desired.json", "logs/dsserve.log", "logs/agent.log", "metrics/dsgate.txt", "system/disks.txt"]
    {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.len() > 20 && !text.contains("not to be had"), "{name}: {text}");
    }
    let secrets = home.deployment().bucket().secrets();
    let mut values: Vec<String> = vec![endpoint.key.clone()];
    for entry in std::fs::read_dir(secrets).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        values.extend(text.lines().filter(|line| line.len() >= 8 && !line.starts_with("-----")).map(str::to_owned));
    }
    let mut grep = std::process::Command::new("grep");
    grep.args(["--recursive", "--fixed-strings", "--files-with-matches", "--", &values.join("\n")]).arg(&folder);
    let found = run(&mut grep).exits(1);
    assert_eq!(found.stdout, "", "a secret is in there");
    home.dsctl(&["down", "--yes"]).exits(0);
    home.dsctl(&["host", "restart"]).exits(6);
}

#[test]
fn keys_are_exchanged_while_the_gateway_goes_on() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    let before = home.status();
    let url = format!("{}/models", endpoint.url);
    let answers = |key: &str| call(Method::GET, &url, key, None).status;
    home.dsctl(&["keys", "rotate"]).exits(0).says("the others are still taken").says("dsctl keys retire-others");
    let keys = || std::fs::read_to_string(&endpoint.key_file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let two = keys();
    assert_eq!((two.len(), &two[1]), (2, &endpoint.key), "the newest goes first");
    tests::wait::until("the new key is taken", || (answers(&two[0]) == 200).then_some(()));
    assert_eq!(answers(&two[1]), 200, "the old one still is");
    home.dsctl(&["keys", "retire-others", "--json"]).exits(0);
    assert_eq!(keys(), [two[0].clone()]);
    tests::wait::until("the old key is refused", || (answers(&two[1]) == 401).then_some(()));
    assert_eq!(answers(&two[0]), 200);

    home.dsctl(&["keys", "rotate", "--retire-others"]).exits(0).says("that is taken from now on");
    let last = keys();
    assert!(last.len() == 1 && last[0] != two[0], "{last:?}");
    tests::wait::until("a key that leaked is refused", || (answers(&two[0]) == 401).then_some(()));
    assert_eq!(answers(&last[0]), 200);
    let after = home.status();
    assert_eq!(after.living("dsgate"), before.living("dsgate"), "nothing is restarted");
    home.up(&[]);
    assert_eq!(keys(), last, "an up changes no key");
}
