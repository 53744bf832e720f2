//! What is asked of systemd, in its own words.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// 0 while it has none.
    pub main_pid: u32,
    /// E.g. `active`, `activating`, `deactivating`, `inactive`, `failed`.
    pub active: String,
    /// E.g. `success`, `exit-code`, `signal`, `oom-kill`, `watchdog`.
    pub result: String,
    /// How the main process ended: `1` by itself, `2` and `3` by a signal.
    pub code: i32,
    pub status: i32,
}

impl Shown {
    pub fn parse(text: &str) -> Self {
        let mut shown = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "MainPID" => shown.main_pid = value.parse().unwrap_or_default(),
                "ActiveState" => value.clone_into(&mut shown.active),
                "Result" => value.clone_into(&mut shown.result),
                "ExecMainCode" => shown.code = value.parse().unwrap_or_default(),
                "ExecMainStatus" => shown.status = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        shown
    }

    /// As the standard library shows it, with systemd's reason where it adds something.
    pub fn exit(&self) -> String {
        let raw = if self.code == 1 { self.status << 8 } else { self.status };
        let status = ExitStatus::from_raw(raw);
        match self.result.as_str() {
            "oom-kill" => format!("{status}: out of memory"),
            "watchdog" => format!("{status}: it did not answer its watchdog"),
            "resources" | "start-limit-hit" | "protocol" | "timeout" => format!("{status}: {}", self.result),
            _ => status.to_string(),
        }
    }
}

/// An error holds what systemctl wrote.
pub(super) fn systemctl(words: &[&str]) -> io::Result<String> {
    let output = Command::new("systemctl").arg("--no-pager").args(words).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("systemctl {}: {}; {said}", words.join(" "), output.status)))
}

pub(super) fn show(service: &str) -> io::Result<Shown> {
    let fields = "--property=MainPID,ActiveState,Result,ExecMainCode,ExecMainStatus";
    systemctl(&["show", fields, service]).map(|text| Shown::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32, status: i32, result: &str) -> String {
        Shown { code, status, result: result.to_owned(), ..Shown::default() }.exit()
    }

    #[test]
    fn an_end_reads_as_that_of_a_child() {
        assert_eq!(ended(1, 0, "success"), "exit status: 0");
        assert_eq!(ended(1, 3, "exit-code"), "exit status: 3");
        assert_eq!(ended(2, 9, "signal"), "signal: 9 (SIGKILL)");
        assert_eq!(ended(2, 9, "oom-kill"), "signal: 9 (SIGKILL): out of memory");
        assert_eq!(ended(2, 6, "watchdog"), "signal: 6 (SIGABRT): it did not answer its watchdog");
    }

    #[test]
    fn what_is_shown_is_read_and_what_is_new_left_alone() {
        let text = "MainPID=42\nActiveState=active\nResult=success\nExecMainCode=0\nExecMainStatus=0\nNewKey=x\n";
        let shown =
            Shown { main_pid: 42, active: "active".to_owned(), result: "success".to_owned(), ..Shown::default() };
        assert_eq!(Shown::parse(text), shown);
    }
}
