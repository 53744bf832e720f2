//! The program from outside: its words, its exit codes, its signals.

#![expect(clippy::unwrap_used, reason = "a test that can not set its stage fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn dsgate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dsgate")).args(args).output().unwrap()
}

fn run_with(config: &Path, data: &Path) -> Output {
    dsgate(&["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()])
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Writes a good configuration; gives its path.
fn good(folder: &Path, listen: &str) -> std::path::PathBuf {
    std::fs::write(folder.join("keys"), "k\n").unwrap();
    std::fs::write(folder.join("token"), "t\n").unwrap();
    let config = serde_json::json!({
        "listen": listen, "admin_listen": "127.0.0.1:0", "salt": "s",
        "api_keys_file": folder.join("keys"), "admin_token_file": folder.join("token"),
        "variants": {"candidate": {"base_url": "http://127.0.0.1:1/v1"}},
        "limits": {"body_bytes": 1000, "connect_timeout": "1s", "first_byte_timeout": "1s", "idle_timeout": "1s"},
    });
    let path = folder.join("gateway.json");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[test]
fn help_goes_to_stdout_and_names_every_flag() {
    let output = dsgate(&["--help"]);
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    for flag in ["--config", "--data-dir", "--log-format"] {
        assert!(text.contains(flag), "{text}");
    }
}

#[test]
fn a_wrong_use_exits_2() {
    for args in
        [&["--confg", "x"][..], &[], &["--config", "x"], &["--config", "x", "--data-dir", "y", "--log-format", "z"]]
    {
        let output = dsgate(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("--"), "{}", stderr(&output));
    }
}

#[test]
fn a_bad_configuration_exits_2_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let absent = folder.path().join("absent.json");
    let output = run_with(&absent, &data);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("absent.json: No such file"), "{}", stderr(&output));

    let path = good(folder.path(), "127.0.0.1:0");
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let output = run_with(&path, &data);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("admin_token_file: can't read"), "{}", stderr(&output));

    std::fs::write(&path, "{\"listen\": 3}").unwrap();
    let output = run_with(&path, &data);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("gateway.json: listen: "), "{}", stderr(&output));
    assert!(!data.exists(), "nothing is begun before the configuration is good");
}

#[test]
fn a_busy_port_exits_1_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let path = good(folder.path(), &address);
    let output = run_with(&path, &folder.path().join("data"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("can't listen on {address} (listen ")), "{}", stderr(&output));
}

/// A running dsgate, killed when the test ends early.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    /// The address it listens on.
    listen: String,
}

impl Running {
    fn start(folder: &Path) -> Self {
        let path = good(folder, "127.0.0.1:0");
        let mut child = Command::new(env!("CARGO_BIN_EXE_dsgate"))
            .args(["--log-format", "json", "--config"])
            .arg(path)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut running = Self { child, lines, listen: String::new() };
        running.listen = running.until("serving")["listen"].as_str().unwrap().to_owned();
        running
    }

    /// Reads the log up to a message.
    fn until(&mut self, message: &str) -> serde_json::Value {
        loop {
            let line = self.lines.next().unwrap_or_else(|| panic!("no \"{message}\" in the log")).unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"].as_str().is_some_and(|text| text.starts_with(message)) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn signals_reload_and_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(folder.path());
    running.signal("HUP");
    assert_eq!(running.until("configuration")["level"], "INFO");
    std::fs::write(folder.path().join("keys"), "").unwrap();
    running.signal("HUP");
    let refused = running.until("configuration refused");
    assert!(refused["error"].as_str().unwrap().contains("holds no key"), "{refused}");

    let mut client = TcpStream::connect(&running.listen).unwrap();
    client.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    running.signal("TERM");
    running.until("stopping");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_one_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _running = Running::start(folder.path());
    let output = run_with(&folder.path().join("gateway.json"), &folder.path().join("data"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("used by another dsgate"), "{}", stderr(&output));
}
