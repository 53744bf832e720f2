//! Where the bundle's files come from. Each is bounded in size and in time.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use spec::host::{HostSpec, Phase};

use super::Entry;
use crate::logs;
use crate::site::Site;

const LOG_LINES: usize = 2_000;
const PAGE_LIMIT: Duration = Duration::from_secs(5);
const COMMAND_LIMIT: Duration = Duration::from_secs(15);

/// What the operating system says, where it has such a command.
const COMMANDS: &[(&str, &[&str])] = &[
    ("uname", &["uname", "--all"]),
    ("disks", &["df", "--human-readable", "--local"]),
    ("services", &["systemctl", "--no-pager", "--full", "status", "dsctl-*", "prometheus*"]),
    ("kernel", &["journalctl", "--no-pager", "--dmesg", "--lines=500"]),
    ("agent-journal", &["journalctl", "--no-pager", "--unit=dsctl-agent.service", "--lines=500"]),
    ("gpus", &["nvidia-smi", "--query"]),
    ("gpu-packages", &["dpkg-query", "--show", "*nvidia*"]),
];
const FILES: &[&str] = &["/etc/os-release", "/proc/meminfo", "/proc/loadavg", "/proc/uptime", "/proc/pressure/memory"];

/// What units show of themselves.
pub(super) async fn pages(spec: &HostSpec, client: &reqwest::Client) -> Vec<Entry> {
    let page = |unit: &spec::host::UnitSpec| {
        let (path, url) = (format!("metrics/{}.txt", unit.name), unit.ready_url.replace("/ready", "/metrics"));
        async move { Entry { path, text: ask(client, &url).await.unwrap_or_else(|error| lacking(&error)) } }
    };
    let serving = spec.units.iter().filter(|unit| unit.phase != Phase::Monitoring);
    futures::future::join_all(serving.map(page)).await
}

async fn ask(client: &reqwest::Client, url: &str) -> Result<String, String> {
    let answer = client.get(url).timeout(PAGE_LIMIT).send().await.map_err(|error| error.to_string())?;
    answer.text().await.map_err(|error| error.to_string())
}

/// What lies on the disk.
pub(super) fn files(site: &Site, spec: &HostSpec) -> Vec<Entry> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| lacking(&error));
    let own = [("status.json", site.status()), ("desired.json", site.desired())];
    let mut entries: Vec<Entry> =
        own.iter().map(|(name, path)| Entry { path: (*name).to_owned(), text: read(path) }).collect();
    for name in spec.units.iter().map(|unit| unit.name.as_str()).chain(["agent"]) {
        let text = logs::tail(&site.host, name, LOG_LINES);
        let text = text.map_or_else(|error| lacking(&error), |lines| lines.join("\n"));
        entries.push(Entry { path: format!("logs/{name}.log"), text });
    }
    entries.extend(FILES.iter().map(|path| Entry { path: format!("system{path}"), text: read(Path::new(path)) }));
    entries
}

pub(super) fn commands() -> Vec<Entry> {
    let said = |(name, words): &(&str, &[&str])| Entry {
        path: format!("system/{name}.txt"),
        text: format!("$ {}\n{}", words.join(" "), output(words).unwrap_or_else(|error| lacking(&error))),
    };
    COMMANDS.iter().map(said).collect()
}

/// What it said on both its channels; one that hangs is ended.
fn output(words: &[&str]) -> Result<String, String> {
    let (program, args) = words.split_first().ok_or("no command")?;
    let mut into = tempfile::tempfile().map_err(|error| error.to_string())?;
    let clone = || into.try_clone().map(Stdio::from).map_err(|error| error.to_string());
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(clone()?).stderr(clone()?);
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let deadline = Instant::now() + COMMAND_LIMIT;
    let ended = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status.to_string(),
            None if Instant::now() > deadline => {
                let ended = child.kill().and_then(|()| child.wait());
                break format!(
                    "ended after {} s: {}",
                    COMMAND_LIMIT.as_secs(),
                    ended.map_or_else(|e| e.to_string(), |s| s.to_string())
                );
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut bytes = Vec::new();
    io_all(&mut into, &mut bytes).map_err(|error| error.to_string())?;
    Ok(format!("{}\n({ended})\n", String::from_utf8_lossy(&bytes).trim_end()))
}

fn io_all(file: &mut fs::File, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    use std::io::{Read, Seek};
    file.rewind()?;
    file.read_to_end(bytes).map(|_| ())
}

fn lacking(why: &dyn std::fmt::Display) -> String {
    format!("(not to be had: {why})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_says_on_both_channels_is_kept_and_how_it_ended() {
        assert_eq!(output(&["sh", "-c", "echo a; echo b >&2; exit 3"]).unwrap(), "a\nb\n(exit status: 3)\n");
        assert!(output(&["no-such-program-here"]).unwrap_err().starts_with("no-such-program-here: "));
    }
}
