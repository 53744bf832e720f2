//! `dsgate`: the words on the command line, and nothing else.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match gateway::run(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "dsgate: {}", gateway::describe(&error));
            error.exit_code()
        }
    }
}
