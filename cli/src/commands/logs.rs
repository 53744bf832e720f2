//! `dsctl logs`: what a unit wrote, and what it goes on to write.

use futures::StreamExt;
use spec::layout::HostLayout;

use crate::args::LogsArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::talk::print;

pub async fn run(context: &Context, args: LogsArgs) -> Result<(), Failure> {
    let host = context.local_deployment(&args.name.name, "dsctl logs")?.host();
    if !host.log(&args.unit).is_file() {
        let message = format!("no log of a unit named {}; there are {}", args.unit, known(&host).join(", "));
        return Err(Failure::usage(message).next("dsctl status"));
    }
    let following = agent::logs::follow(&host, &args.unit);
    for line in agent::logs::tail(&host, &args.unit, args.lines).map_err(Failure::failed)? {
        print(line)?;
    }
    if !args.follow {
        return Ok(());
    }
    let mut lines = std::pin::pin!(following);
    loop {
        tokio::select! {
            line = lines.next() => match line {
                Some(line) => print(line.map_err(Failure::failed)?)?,
                None => return Ok(()),
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn known(host: &HostLayout) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(host.logs()) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".log").map(str::to_owned)).collect();
    names.sort();
    names
}
