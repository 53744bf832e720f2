//! Commands and processes: what one said and how it ended, signals, and whether a process is still there.

use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A command that ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// As it was typed.
    pub line: String,
    /// -1 if a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Everything, for a snapshot or a failing test.
    pub fn transcript(&self) -> String {
        let Self { line, code, stdout, stderr } = self;
        format!("$ {line}\nexit {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }

    /// Itself, if the exit code is the expected one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{}", self.transcript());
        self
    }

    /// Itself, if a text stands on stdout or stderr.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let is_there = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(is_there, "{text:?} is not said by\n{}", self.transcript());
        self
    }

    /// The one JSON value that stdout consists of.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("stdout is not one JSON value: {error}\n{}", self.transcript()),
        }
    }
}

/// Runs a command to its end, without a terminal.
pub fn run(command: &mut Command) -> Outcome {
    let line = line(command);
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{line}: {error}"));
    outcome(line, output)
}

/// A command that goes on while the test does something else.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Option<Child>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let line = line(command);
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = piped.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        Self { line, child: Some(child) }
    }

    pub fn is_over(&mut self) -> bool {
        let child = self.child.as_mut().expect("a command that was not waited for");
        child.try_wait().expect("a child's state").is_some()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map(Child::id).expect("a command that was not waited for")
    }

    /// Waits for its end.
    pub fn end(mut self) -> Outcome {
        let child = self.child.take().expect("a command that was not waited for");
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("{}: {error}", self.line));
        outcome(self.line.clone(), output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Ended already: fine.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn line(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    let words = command.get_args().map(|word| quoted(&word.to_string_lossy()));
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,%@+".contains(&b);
    if !word.is_empty() && word.bytes().all(is_plain) { word.to_owned() } else { format!("'{word}'") }
}

fn outcome(line: String, output: Output) -> Outcome {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8 output");
    Outcome { line, code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Ends a process as a crash does. Gone already is fine.
pub fn kill(pid: u32) {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    match kill_process(number, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("killing {pid}: {error}"),
    }
}

/// Whether a process runs; one that ended and was not waited for does not.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// The living processes whose command line or environment names a folder: what a home left behind.
pub fn naming(folder: &std::path::Path) -> Vec<u32> {
    let folder = folder.display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let names_it = |pid: &u32| {
        ["cmdline", "environ"].iter().any(|file| {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(&folder)
        })
    };
    pids.filter(|pid| *pid != std::process::id() && names_it(pid) && is_alive(*pid)).collect()
}

/// When a process began, in seconds since 1970, as leases record it.
pub fn started(pid: u32) -> u64 {
    /// Ticks a second in /proc, the same on every Linux.
    const TICKS: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process's record");
    // The name in brackets may hold spaces; the start is the 20th field after it.
    let fields = stat.rsplit_once(") ").expect("a record with a name").1;
    let ticks: u64 = fields.split(' ').nth(19).and_then(|field| field.parse().ok()).expect("the start");
    let boot = std::fs::read_to_string("/proc/stat").expect("the machine's record");
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<u64>().ok()).expect("the boot time");
    boot + ticks / TICKS
}
