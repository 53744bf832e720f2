//! The binary's command line, from outside.

use std::process::{Command, Output};

fn dsserve(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dsserve")).args(words).env("NO_COLOR", "1").output().expect("dsserve starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is text")
}

#[test]
fn help_goes_to_stdout() {
    let output = dsserve(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["--model", "--served-model-name", "--listen", "--api-key-file", "--shutdown-timeout"] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}

#[test]
fn bad_arguments_are_a_usage_error() {
    for (words, named) in [
        (&["--model", "m.gguf"][..], "--served-model-name"),
        (&["--model", "m.gguf", "--served-model-name", "m", "--listen", "somewhere"], "--listen"),
        (&["--model", "m.gguf", "--served-model-name", "m", "--colour"], "--colour"),
    ] {
        let output = dsserve(words);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
    }
}

#[test]
fn a_missing_model_is_named() {
    let output = dsserve(&["--model", "/nowhere/m.gguf", "--served-model-name", "m", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let last = stderr(&output).lines().last().unwrap().to_owned();
    assert!(last.starts_with("dsserve: cannot load /nowhere/m.gguf: cannot read the file: "), "{last}");
}

#[test]
fn a_model_that_can_t_be_measured_is_named() {
    let output = dsserve(&["bench", "--model", "/nowhere/m.gguf"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("dsserve: cannot measure /nowhere/m.gguf: cannot read the file: "),
        "{}",
        stderr(&output)
    );
    assert_eq!(dsserve(&["bench"]).status.code(), Some(2));
}

#[test]
fn a_busy_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = dsserve(&["--model", "/nowhere/m.gguf", "--served-model-name", "m", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("dsserve: cannot listen on {address}: ")), "{}", stderr(&output));
}

#[test]
fn a_missing_key_file_is_named() {
    let words = ["--model", "m.gguf", "--served-model-name", "m", "--listen", "127.0.0.1:0"];
    let output = dsserve(&[&words[..], &["--api-key-file", "/nowhere/keys"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("dsserve: cannot read the API key file /nowhere/keys: "), "{}", stderr(&output));
}
