//! What can't come up: a clear error that names the thing and the next command, and nothing half-started.

use std::net::TcpListener;

use tests::home::Home;
use tests::process::{Outcome, naming};
use tests::weights;

const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn up(home: &Home, more: &[&str]) -> Outcome {
    let fixed = ["up", "--cloud", "local", "--model", weights::MODEL, "--yes"];
    let words: Vec<&str> = fixed.iter().chain(more).copied().collect();
    home.dsctl(&words)
}

#[track_caller]
fn nothing_is_left(home: &Home, outcome: &Outcome) {
    assert!(outcome.stderr.contains("\nnext: ") || outcome.stderr.starts_with("next: "), "{}", outcome.transcript());
    let folders = std::fs::read_dir(home.layout().deployments()).into_iter().flatten().count();
    assert_eq!(folders, 0, "a deployment is left\n{}", outcome.transcript());
    assert_eq!(naming(home.layout().root()), Vec::<u32>::new(), "a process is left\n{}", outcome.transcript());
}

#[test]
fn a_busy_port_is_named_with_its_holder() {
    let home = Home::alone();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let source = format!("file:{}", weights::model().path.display());
    let refused = up(&home, &["--port", &port, "--weights", &source]).exits(4).says(&format!("port {port}"));
    let refused = refused.says(&format!("process {}", std::process::id())).says("--port");
    nothing_is_left(&home, &refused);
}

#[test]
fn weights_that_are_not_there_are_named() {
    let home = Home::alone();
    let refused = up(&home, &["--port", "0", "--weights", "file:/nonexistent/model.gguf"]).exits(4);
    nothing_is_left(&home, &refused.says("/nonexistent/model.gguf").says("No such file"));
}

#[test]
fn weights_with_another_digest_are_never_served() {
    let home = Home::alone();
    let source = format!("file:{}", weights::model().path.display());
    let refused = up(&home, &["--port", "0", "--weights", &source, "--weights-sha256", NO_DIGEST]).exits(4);
    nothing_is_left(&home, &refused.says("wrong digest").says(NO_DIGEST).says(&weights::model().sha256));
    assert_eq!(home.dsctl(&["weights", "list", "--json"]).json().as_array().unwrap().len(), 0, "it is in the cache");
}

/// Without a digest to compare with, the daemon is the last to look.
#[test]
fn a_short_file_is_never_served() {
    let home = Home::alone();
    let whole = std::fs::read(&weights::model().path).unwrap();
    let path = home.scratch().join("short.gguf");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let source = format!("file:{}", path.display());
    let refused = up(&home, &["--port", "0", "--weights", &source]).exits(4);
    nothing_is_left(&home, &refused.says("dsserve").says("short"));
    let digest = &weights::model().sha256;
    let refused = up(&home, &["--port", "0", "--weights", &source, "--weights-sha256", digest]).exits(4);
    nothing_is_left(&home, &refused.says("wrong digest"));
}

#[test]
fn a_file_that_is_no_model_is_refused_before_it_is_served() {
    let home = Home::alone();
    let source = format!("file:{}", home.write("page.gguf", "<html>not found</html>"));
    let refused = up(&home, &["--port", "0", "--weights", &source]).exits(4);
    nothing_is_left(&home, &refused.says("not a GGUF file"));
}

#[test]
fn weights_that_rotted_in_the_cache_are_found() {
    let home = Home::light();
    weights::model().seed(home.layout().root());
    home.dsctl(&["weights", "verify"]).exits(0).says("whole");
    let blob = home.layout().weights().join("blobs").join(format!("{}.gguf", weights::model().sha256));
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, bytes).unwrap();
    home.dsctl(&["weights", "verify"]).exits(1).says("corrupt").says("next: dsctl weights pull smollm2-135m");
    let refused = home.dsctl(&["weights", "list", "--json"]).exits(0).json();
    assert!(refused.as_array().unwrap().iter().all(|row| row["state"] != "whole"), "{refused}");
}
