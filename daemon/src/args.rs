//! The command line of dsserve.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Serve one GGUF model over the OpenAI API.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "dsserve",
    version,
    about,
    after_help = "`dsserve bench --model FILE` measures what this machine does with a model."
)]
pub struct Args {
    /// The GGUF file to serve (architectures llama, qwen2 and qwen3); once for each part, in their order, if it comes in parts
    #[arg(long, value_name = "FILE", required = true)]
    pub model: Vec<PathBuf>,

    /// The name under which clients ask for the model
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub served_model_name: String,

    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// File with the accepted API keys, one a line; without it every request is accepted
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Tokens a sequence may have, prompt and answer together [default: the model's own, at most 4096]
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<NonZeroUsize>,

    /// Sequences generated at the same time
    #[arg(long, value_name = "N", default_value = "8")]
    pub max_sequences: NonZeroUsize,

    /// Share of the memory that is available at the start which weights and key-value cache may take, at most 1
    #[arg(long, value_name = "SHARE", default_value = "0.9", value_parser = share)]
    pub memory_utilization: f64,

    /// Requests that may wait for a free sequence; more are answered 429
    #[arg(long, value_name = "N", default_value = "64")]
    pub max_queue: usize,

    /// CPU threads [default: RAYON_NUM_THREADS, else the cores this process may use]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// Seconds that running requests get to finish after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    pub shutdown_timeout: u64,

    /// How log lines are written to stderr
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("must be a number above 0 and at most 1".to_owned()),
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let args = Args::try_parse_from(["dsserve", "--model", "m.gguf", "--served-model-name", "m"]).unwrap();
        assert_eq!(args.listen.to_string(), "127.0.0.1:8081");
        assert_eq!((args.max_sequences.get(), args.max_queue, args.shutdown_timeout), (8, 64, 30));
        assert_eq!(args.memory_utilization, 0.9);
        assert_eq!((args.context, args.threads, args.log_format), (None, None, LogFormat::Text));
    }

    #[test]
    fn zero_sequences_zero_context_and_an_empty_name_are_refused() {
        let base = ["dsserve", "--model", "m.gguf", "--served-model-name"];
        let shares = ["0", "1.1", "NaN", "much"].map(|share| ["m", "--memory-utilization", share]);
        for extra in shares {
            let words: Vec<&str> = base.iter().chain(&extra).copied().collect();
            assert_eq!(Args::try_parse_from(words).unwrap_err().exit_code(), 2, "{extra:?}");
        }
        for extra in [&["m", "--max-sequences", "0"][..], &["m", "--context", "0"], &[""], &["m", "--listen", "x"]] {
            let words: Vec<&str> = base.iter().chain(extra).copied().collect();
            assert_eq!(Args::try_parse_from(words).unwrap_err().exit_code(), 2, "{extra:?}");
        }
    }
}
