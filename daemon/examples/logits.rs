//! Tokens of a text, or logits after each token of a list, for `benches/correctness.py`.
//!
//! `logits tokens FILE.gguf < TEXT` prints tokens, one a line; `logits prompt|answer FILE.gguf < TOKENS` writes f32.

use std::error::Error;
use std::io::{BufWriter, Read, Write, stdin, stdout};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mode = words.next().ok_or("no mode: tokens, prompt or answer")?;
    let file = PathBuf::from(words.next().ok_or("no file")?);
    let mut input = String::new();
    stdin().read_to_string(&mut input)?;
    let mut output = BufWriter::new(stdout());
    if mode == "tokens" {
        for token in daemon::split(&file, &input)? {
            writeln!(output, "{token}")?;
        }
        return Ok(output.flush()?);
    }
    let tokens = input.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let prompt = if mode == "prompt" { tokens.len() } else { 0 };
    let threads = std::thread::available_parallelism()?.get();
    Ok(daemon::logits(&file, &tokens, prompt, threads, &mut output)?)
}
