//! `dsserve`: the words on the command line, and nothing else.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match daemon::run(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "dsserve: {}", daemon::describe(&error));
            ExitCode::FAILURE
        }
    }
}
