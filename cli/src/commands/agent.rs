//! `dsctl agent`: what `up` starts in the background on this machine, and the first boot on a cloud's.

use agent::Where;
use spec::host::HostSpec;
use spec::id::HostName;
use spec::state_location::StateLocation;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::args::AgentArgs;
use crate::context::Context;
use crate::exit::Failure;

/// Events of this target are lines for whoever looks at the host's console.
const CONSOLE: &str = "console";

pub async fn run(context: &Context, args: AgentArgs) -> Result<(), Failure> {
    if args.rehearse {
        return rehearse(std::io::stdin().lock());
    }
    let of = match args.bucket {
        Some(bucket) if args.install => return install(context, &bucket, &args.host),
        Some(bucket) => Where::Bucket(bucket),
        None => Where::Folder(args.name.name),
    };
    write_events(matches!(of, Where::Bucket(_)));
    let args = agent::AgentArgs { home: context.home.clone(), host: args.host, of };
    agent::run(args).await.map_err(Failure::failed)
}

fn install(context: &Context, bucket: &StateLocation, host: &HostName) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(Failure::failed)?;
    agent::install(&program, context.home.root(), bucket, host).map_err(Failure::failed)
}

fn rehearse(input: impl std::io::Read) -> Result<(), Failure> {
    let spec: Result<HostSpec, _> = serde_json::from_reader(input);
    spec.map(|_| ()).map_err(|error| Failure::failed(format!("not a host spec for this agent: {error}")))
}

/// All to standard error; on a cloud's host, lines for its console to standard output too, which leads there.
fn write_events(has_console: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let all = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stdout)
        .with_ansi(false)
        .with_target(false)
        .with_level(false)
        .without_time()
        .with_filter(Targets::new().with_target(CONSOLE, tracing::Level::INFO));
    tracing_subscriber::registry().with(all).with(has_console.then_some(lines)).init();
}
