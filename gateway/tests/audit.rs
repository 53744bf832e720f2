//! dsgate killed under load: what was answered is in the audit log, which is whole.

#![expect(clippy::unwrap_used, reason = "a test that can not set its stage fails")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use audit::{Event, Keys, Reader, verify};

const SECRET: &str = "dsk-0123456789abcdef0123456789abcdef";
const ANSWER: &str = "{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}";

/// Answers every request of every connection.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..count]);
        // The body is one line that ends the request.
        if seen.ends_with(b"}\n") {
            seen.clear();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                ANSWER.len()
            );
            if stream.write_all(format!("{head}{ANSWER}").as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn write_config(folder: &Path, upstream: SocketAddr) {
    for (name, text) in [("keys", "k"), ("token", "t"), ("audit-key", SECRET)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let config = serde_json::json!({
        "listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "salt": "s",
        "api_keys_file": folder.join("keys"), "admin_token_file": folder.join("token"),
        "variants": {"candidate": {"base_url": format!("http://{upstream}/v1")}},
        "limits": {"body_bytes": 1000, "connect_timeout": "1s", "first_byte_timeout": "9s", "idle_timeout": "9s"},
        "audit": {"key_file": folder.join("audit-key"), "policy": {"sync": "answer", "when_full": "refuse", "rotate_mib": 1}},
    });
    std::fs::write(folder.join("gateway.json"), config.to_string()).unwrap();
}

/// The process, and where it listens.
fn start(folder: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dsgate"))
        .args(["--log-format", "json", "--config"])
        .arg(folder.join("gateway.json"))
        .arg("--data-dir")
        .arg(folder.join("data"))
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listen = lines.find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        line["listen"].as_str().map(str::to_owned)
    });
    // What it says must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, listen.unwrap())
}

/// Asks until the gateway is gone; notes the ids of whole answers.
fn ask_until_gone(listen: &str, user: usize, answered: &Mutex<HashSet<String>>, count: &AtomicUsize) {
    let Ok(mut stream) = TcpStream::connect(listen) else { return };
    stream.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
    let body = format!("{{\"model\":\"x\",\"user\":\"user-{user}\"}}\n");
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut buffer = [0; 4096];
    loop {
        if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
        let mut text = String::new();
        while !text.ends_with(ANSWER) {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => text.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
                Ok(0) | Err(_) => return,
            }
        }
        let id = text.lines().find_map(|line| line.strip_prefix("x-dsctl-request-id: ")).unwrap();
        answered.lock().unwrap().insert(id.to_owned());
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_was_answered_before_a_kill_is_recorded_whole() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), upstream());
    let answered = Arc::<Mutex<HashSet<String>>>::default();
    for round in 1..=3 {
        let (mut child, listen) = start(folder.path());
        let count = Arc::<AtomicUsize>::default();
        let clients: Vec<_> = (0..8)
            .map(|user| {
                let (listen, answered, count) = (listen.clone(), answered.clone(), count.clone());
                std::thread::spawn(move || ask_until_gone(&listen, user, &answered, &count))
            })
            .collect();
        while count.load(Ordering::Relaxed) < 100 * round {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
    let log = folder.path().join("data/audit");
    let summary = verify(&log, &Keys::from_secret(SECRET).unwrap(), None).unwrap();
    assert!(summary.is_whole(), "{summary:?}");
    let reader = Reader::open(&log).unwrap();
    let recorded: HashSet<String> = reader
        .records()
        .unwrap()
        .filter_map(|record| match record.unwrap().record.event {
            Event::Request(request) => Some(request.id),
            Event::Repaired { .. } | Event::Lost { .. } => None,
        })
        .collect();
    let answered = answered.lock().unwrap();
    assert!(
        answered.len() >= 600 && answered.is_subset(&recorded),
        "{} answered, {} recorded",
        answered.len(),
        recorded.len()
    );
}
