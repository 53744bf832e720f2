//! `dsserve bench`: what this machine does with a model, without clients and without a queue.
//!
//! A prompt is computed as prompts are, then so many sequences go on together, a token each a step, as answers do.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::model::{LoadError, Model, ModelFile, Precision, Segment};
use crate::scheduler::BLOCK_TOKENS;

/// Measure what this machine does with a model: prompts, and answers of several sequences together.
#[derive(Debug, Clone, Parser)]
#[command(name = "dsserve bench")]
pub struct BenchArgs {
    /// The GGUF file; once for each part, in their order, if it comes in parts
    #[arg(long, value_name = "FILE", required = true)]
    pub model: Vec<PathBuf>,

    /// Tokens of each prompt
    #[arg(long, value_name = "TOKENS", default_value = "256")]
    pub prompt: NonZeroUsize,

    /// Tokens of each answer
    #[arg(long, value_name = "TOKENS", default_value = "32")]
    pub answer: NonZeroUsize,

    /// Sequences that go on together, one measurement each
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,4,8")]
    pub sequences: Vec<NonZeroUsize>,

    /// CPU threads [default: RAYON_NUM_THREADS, else the cores this process may use]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// How the figures are written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the model failed")]
    Model(#[from] candle_core::Error),
    #[error("prompt and answer have {asked} tokens together, and the model was made for {most}")]
    TooLong { asked: usize, most: usize },
}

/// All rates in tokens a second, over all sequences together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub threads: usize,
    pub load_seconds: f64,
    pub weight_bytes: u64,
    pub prompt_tokens: usize,
    pub prompt_rate: f64,
    pub answers: Vec<AnswerRate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AnswerRate {
    pub sequences: usize,
    pub rate: f64,
}

pub fn bench(args: &BenchArgs, threads: usize) -> Result<Report, BenchError> {
    let file = ModelFile::open(&args.model)?;
    let (prompt, answer) = (args.prompt.get(), args.answer.get());
    let (context, vocabulary, weight_bytes) = (file.config.context, file.config.vocabulary, file.weight_bytes());
    if prompt + answer > context {
        return Err(BenchError::TooLong { asked: prompt + answer, most: context });
    }
    let most = args.sequences.iter().map(|count| count.get()).max().unwrap_or(1);
    let blocks_each = (prompt + answer).div_ceil(BLOCK_TOKENS);
    let begun = Instant::now();
    let model = file.load((most * blocks_each) as u32, threads)?;
    let load_seconds = begun.elapsed().as_secs_f64();
    let mut run = Run::new(model, most, blocks_each, vocabulary);
    // The first pass brings the weights into memory.
    run.prefill(prompt.min(16))?;
    let mut prefill = Duration::MAX;
    for _ in 0..most.max(2) {
        prefill = prefill.min(run.prefill(prompt)?);
    }
    let rates = args.sequences.iter().map(|count| run.answers(count.get(), prompt, answer));
    let answers = rates.collect::<Result<Vec<_>, _>>()?;
    let prompt_rate = prompt as f64 / prefill.as_secs_f64();
    Ok(Report { threads, load_seconds, weight_bytes, prompt_tokens: prompt, prompt_rate, answers })
}

struct Run {
    model: Model,
    tables: Vec<Vec<u32>>,
    vocabulary: usize,
    next: usize,
}

impl Run {
    /// All sequences have blocks of their own.
    fn new(model: Model, sequences: usize, blocks_each: usize, vocabulary: usize) -> Self {
        let table = |at: usize| (at * blocks_each..(at + 1) * blocks_each).map(|block| block as u32).collect();
        Self { model, tables: (0..sequences).map(table).collect(), vocabulary, next: 0 }
    }

    /// Computes a prompt, of one sequence after the other, so that each has something to attend to.
    fn prefill(&mut self, tokens: usize) -> candle_core::Result<Duration> {
        let prompt: Vec<u32> = (0..tokens).map(|at| (at * 7919 % self.vocabulary) as u32).collect();
        let table = &self.tables[self.next % self.tables.len()];
        self.next += 1;
        let begun = Instant::now();
        let precision = Precision::Exact;
        self.model.forward(&[Segment { table, start: 0, tokens: &prompt, precision, wants_logits: true }])?;
        Ok(begun.elapsed())
    }

    fn answers(&mut self, sequences: usize, prompt: usize, answer: usize) -> candle_core::Result<AnswerRate> {
        let tokens: Vec<u32> = (0..sequences).map(|at| (at * 104_729 % self.vocabulary) as u32).collect();
        let begun = Instant::now();
        for at in prompt..prompt + answer {
            let rows = self.tables.iter().zip(&tokens);
            let segments: Vec<Segment<'_>> =
                rows.map(|(table, token)| answer_row(table, std::slice::from_ref(token), at)).collect();
            self.model.forward(&segments)?;
        }
        let rate = (sequences * answer) as f64 / begun.elapsed().as_secs_f64();
        Ok(AnswerRate { sequences, rate })
    }
}

fn answer_row<'a>(table: &'a [u32], tokens: &'a [u32], start: usize) -> Segment<'a> {
    Segment { table, start, tokens, precision: Precision::Rounded, wants_logits: true }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, load_seconds, weight_bytes, prompt_tokens, prompt_rate, answers } = self;
        let mebibytes = weight_bytes >> 20;
        writeln!(formatter, "weights         {mebibytes} MiB, loaded in {load_seconds:.1} s, {threads} threads")?;
        writeln!(formatter, "prompts         {prompt_rate:.1} tokens/s ({prompt_tokens} tokens)")?;
        for AnswerRate { sequences, rate } in answers {
            let each = rate / *sequences as f64;
            writeln!(formatter, "answers, {sequences:>4}   {rate:.1} tokens/s, {each:.1} each")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Tiny;

    fn args(file: &std::path::Path, extra: &[&str]) -> BenchArgs {
        let base = ["bench", "--model", file.to_str().unwrap(), "--answer", "4"];
        BenchArgs::try_parse_from(base.iter().chain(extra)).unwrap()
    }

    #[test]
    fn each_number_of_sequences_has_its_figure() {
        let file = Tiny::default().file();
        let report = bench(&args(file.path(), &["--prompt", "20", "--sequences", "3,1"]), 1).unwrap();
        assert_eq!(report.answers.iter().map(|answer| answer.sequences).collect::<Vec<_>>(), [3, 1]);
        assert!(report.prompt_rate > 0.0 && report.answers.iter().all(|answer| answer.rate > 0.0));
        let text = report.to_string();
        assert!(text.contains("prompts") && text.contains("answers,    3"), "{text}");
    }

    #[test]
    fn what_the_model_was_not_made_for_is_refused() {
        let file = Tiny::default().file();
        let refused = bench(&args(file.path(), &["--prompt", "600"]), 1);
        assert!(matches!(refused, Err(BenchError::TooLong { asked: 604, most: 512 })));
    }
}
