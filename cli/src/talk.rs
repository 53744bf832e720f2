//! stdout is data, stderr is talk. The one place that prints and asks.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;

use crate::exit::Failure;

/// A line for the person at the terminal.
pub fn say(line: impl std::fmt::Display) {
    // A reader that went away is not this command's failure.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A line of the command's result.
pub fn print(line: impl std::fmt::Display) -> Result<(), Failure> {
    finish(writeln!(io::stdout().lock(), "{line}"))
}

/// The command's result as one JSON value.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    print(text)
}

/// Text as it is, without a line end of our own.
pub fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// `dsctl … | head` closes the pipe: what was wanted was read.
fn finish(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(Failure::failed),
    }
}

/// Asks before something is done. Without a terminal nobody can answer: `--yes` is needed.
pub fn confirm(question: &str, command: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage("there is no terminal to ask on").next(format!("{command} --yes")));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("not confirmed; nothing was changed")),
    }
}
