//! `dsctl agent`: what `up` starts in the background.

use agent::Where;
use tracing_subscriber::EnvFilter;

use crate::args::AgentArgs;
use crate::context::Context;
use crate::exit::Failure;

pub async fn run(context: &Context, args: AgentArgs) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    let of = args.bucket.map_or(Where::Folder(args.name.name), Where::Bucket);
    let args = agent::AgentArgs { home: context.home.clone(), host: args.host, of };
    agent::run(args).await.map_err(Failure::failed)
}
