//! `dsctl init`: a commented spec to begin from. Never over a file that exists.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use crate::args::InitArgs;
use crate::exit::Failure;
use crate::talk::print;

pub fn run(args: &InitArgs) -> Result<(), Failure> {
    let starter = templates::find(&args.starter).map_err(Failure::usage)?;
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(starter.file_name));
    let place = path.display();
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::usage(format!("{place} exists and stays as it is")).next("dsctl init --output FILE"));
        }
        Err(error) => return Err(Failure::failed(format!("{place}: {error}"))),
    };
    file.write_all(starter.content.as_bytes()).map_err(|error| Failure::failed(format!("{place}: {error}")))?;
    print(format!("wrote {place}; next: {}", starter.next.replace("FILE", &place.to_string())))
}
