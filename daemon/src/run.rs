//! From the command line to a serving process.

use std::error::Error;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat};
use crate::auth::{ApiKeys, AuthError};
use crate::bench::{BenchArgs, Output, bench};
use crate::chat_template::{ChatTemplate, TemplateError};
use crate::engine::{EngineHandle, Limits};
use crate::memory::{self, Demand, MemoryError};
use crate::metrics::Metrics;
use crate::model::{LoadError, ModelFile};
use crate::prompt::Language;
use crate::scheduler::BLOCK_TOKENS;
use crate::serve::{App, Loaded, ServeError, Service, serve};
use crate::threads;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::watchdog;

/// The context without `--context`, for models that have more: enough for a chat, and not all of the memory.
const DEFAULT_CONTEXT: usize = 4096;

/// Why the daemon did not run, or did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot set the number of threads")]
    Threads(#[source] std::io::Error),
    #[error(transparent)]
    Keys(Box<dyn Error + Send + Sync>),
    #[error("cannot prepare the metrics")]
    Metrics(#[source] Box<dyn Error + Send + Sync>),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot load {}", path.display())]
    Load { path: PathBuf, source: Box<dyn Error + Send + Sync> },
    #[error("{0}")]
    Serve(String),
    #[error("cannot measure {}", path.display())]
    Bench { path: PathBuf, source: Box<dyn Error + Send + Sync> },
}

/// What can be wrong with a model file on this machine.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Model(#[from] LoadError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("--context {asked} is more than the {most} tokens that the model was made for")]
    Context { asked: usize, most: usize },
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// An error with everything that caused it, in one line.
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let next = source.to_string();
        // A transparent error says the same as its source.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = source.source();
    }
    text
}

/// Runs what the words ask for; the daemon runs until it is told to stop. Usage errors are printed here and give exit
/// code 2.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Result<ExitCode, RunError> {
    let words: Vec<OsString> = words.into_iter().collect();
    if words.get(1).is_some_and(|word| word == "bench") {
        return BenchArgs::try_parse_from(&words[1..]).map_or_else(misused, |args| run_bench(&args));
    }
    Args::try_parse_from(words).map_or_else(misused, run_daemon)
}

fn misused(usage: clap::Error) -> Result<ExitCode, RunError> {
    // There is nothing left to do if the terminal is gone.
    let _ = usage.print();
    Ok(ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2)))
}

fn run_bench(args: &BenchArgs) -> Result<ExitCode, RunError> {
    let threads = threads::settle(args.threads).map_err(RunError::Threads)?;
    let failed = |source: Box<dyn Error + Send + Sync>| {
        let path = args.model.first().cloned().unwrap_or_default();
        RunError::Bench { path, source }
    };
    let report = bench(args, threads).map_err(|error| failed(error.into()))?;
    let text = match args.output {
        Output::Text => report.to_string(),
        Output::Json => serde_json::to_string(&report).map_err(|error| failed(error.into()))? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| failed(error.into()))?;
    Ok(ExitCode::SUCCESS)
}

fn run_daemon(args: Args) -> Result<ExitCode, RunError> {
    let threads = threads::settle(args.threads).map_err(RunError::Threads)?;
    start_logging(args.log_format);
    tracing::info!(threads, model = ?args.model, "starting");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let outcome = runtime.block_on(run_server(args, threads));
    // A load that is still going on must not hold up the exit.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn run_server(args: Args, threads: usize) -> Result<(), RunError> {
    let keys = args.api_key_file.as_deref().map(ApiKeys::read).transpose();
    let keys = keys.map_err(|error: AuthError| RunError::Keys(error.into()))?;
    let metrics = Metrics::new(&args.served_model_name).map_err(|error| RunError::Metrics(error.into()))?;
    let metrics = Arc::new(metrics);
    let app = Arc::new(App::new(&args.served_model_name, keys, metrics.clone()));
    let address = args.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
    let bound = listener.local_addr().map_err(|source| RunError::Listen { address, source })?;
    tracing::info!(address = %bound, "listening");
    let stop = stop_signals().map_err(RunError::Runtime)?;
    tokio::spawn(watchdog::run(app.clone()));
    let timeout = Duration::from_secs(args.shutdown_timeout);
    let path = args.model.first().cloned().unwrap_or_default();
    let load = move || load(&args, threads, &metrics);
    serve(listener, app, load, stop, timeout).await.map_err(|error| match error {
        ServeError::Load(source) => RunError::Load { path, source: source.into() },
        other => RunError::Serve(describe(&other)),
    })
}

fn load(args: &Args, threads: usize, metrics: &Arc<Metrics>) -> Result<Loaded, StartError> {
    let file = ModelFile::open(&args.model)?;
    let context = context(args.context.map(std::num::NonZeroUsize::get), file.config.context)?;
    let sequences = args.max_sequences.get();
    let demand = Demand {
        weights: file.weight_bytes(),
        cache_per_token: file.config.cache_bytes_per_token(),
        sequences,
        context,
    };
    let blocks = demand.blocks(memory::usable(memory::available(), args.memory_utilization))?;
    let tokenizer = Arc::new(Tokenizer::from_metadata(&file.metadata())?);
    let template = ChatTemplate::from_metadata(&file.metadata(), &tokenizer)?;
    let model = file.load(blocks, threads)?;
    let (cache_bytes, weight_bytes) = (demand.cache(blocks), demand.weights);
    let block_tokens = BLOCK_TOKENS;
    tracing::info!(context, sequences, blocks, block_tokens, cache_bytes, weight_bytes, "model loaded");
    let limits = Limits { max_sequences: sequences, max_queue: args.max_queue, blocks };
    let (engine, engine_ended) =
        EngineHandle::start(model, tokenizer.clone(), limits, metrics.clone()).map_err(StartError::Thread)?;
    let language = Language::new(tokenizer, template, context);
    Ok(Loaded { service: Service { engine, language }, engine_ended })
}

fn context(asked: Option<usize>, most: usize) -> Result<usize, StartError> {
    match asked {
        Some(asked) if asked > most => Err(StartError::Context { asked, most }),
        Some(asked) => Ok(asked),
        None => Ok(most.min(DEFAULT_CONTEXT)),
    }
}

/// One message for each SIGTERM or SIGINT.
fn stop_signals() -> std::io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(2);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match format {
        LogFormat::Text => builder.with_ansi(colour).init(),
        LogFormat::Json => builder.json().init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_the_models_own_up_to_the_default() {
        assert_eq!(context(None, 131_072).unwrap(), DEFAULT_CONTEXT);
        assert_eq!(context(None, 2048).unwrap(), 2048);
        assert_eq!(context(Some(8192), 131_072).unwrap(), 8192);
        let error = context(Some(8193), 8192).unwrap_err().to_string();
        assert!(error.contains("8193") && error.contains("8192"), "{error}");
    }

    #[test]
    fn a_chain_of_causes_is_one_line_without_repetition() {
        let source = LoadError::Open(std::io::Error::from(std::io::ErrorKind::NotFound));
        let error = RunError::Load { path: "m.gguf".into(), source: StartError::Model(source).into() };
        assert_eq!(describe(&error), "cannot load m.gguf: cannot read the file: entity not found");
    }
}
