//! stdout is data, stderr is talk. The one place that prints and asks.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;
use spec::id::DeploymentName;

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

/// Commands about one deployment; what follows one of these words in a hint is completed with its name.
const ABOUT_A_DEPLOYMENT: [&str; 20] = [
    "dsctl audit erase",
    "dsctl up",
    "dsctl plan",
    "dsctl down",
    "dsctl status",
    "dsctl logs",
    "dsctl alerts",
    "dsctl host restart",
    "dsctl host drain",
    "dsctl host limit",
    "dsctl host diagnostics",
    "dsctl keys retire-others",
    "dsctl runbook run",
    "dsctl incident list",
    "dsctl incident export",
    "dsctl chaos",
    "dsctl rollout start",
    "dsctl rollout status",
    "dsctl rollout watch",
    "dsctl rollout abort",
];

/// A hint as it must be typed for a deployment that is not the default one.
pub fn with_name(hint: &str, name: Option<&DeploymentName>) -> String {
    match name {
        Some(name) if !hint.contains("--name") => ABOUT_A_DEPLOYMENT
            .iter()
            .fold(hint.to_owned(), |text, words| text.replace(words, &format!("{words} --name {name}"))),
        _ => hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_about_the_deployment_that_was_named() {
        let name = "trial".parse().unwrap();
        assert_eq!(with_name("dsctl down --yes", Some(&name)), "dsctl down --name trial --yes");
        assert_eq!(
            with_name("dsctl rollout abort, or dsctl down --force", Some(&name)),
            "dsctl rollout abort --name trial, or dsctl down --name trial --force"
        );
        assert_eq!(with_name("dsctl down --name trial", Some(&name)), "dsctl down --name trial");
        assert_eq!(with_name("dsctl status", None), "dsctl status");
    }
}
