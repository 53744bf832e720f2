//! What a model says at every place of a text: how dsserve is compared with others, number by number.
//!
//! The forward pass is the engine's; without a server around it every logit can be had.

use std::io::{self, Write};
use std::path::Path;

use crate::model::{LoadError, Model, ModelFile, Precision, Segment};
use crate::scheduler::BLOCK_TOKENS;
use crate::tokenizer::{Begin, Tokenizer, TokenizerError};

/// Rows of a step.
const ROWS: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("the model failed")]
    Model(#[from] candle_core::Error),
    #[error("cannot write the logits")]
    Write(#[from] io::Error),
    #[error("token {token} does not exist: the model has {count}")]
    NoSuchToken { token: u32, count: usize },
}

/// Splits a text as prompts of completions are split.
pub fn split(file: &Path, text: &str) -> Result<Vec<u32>, EvaluateError> {
    let file = ModelFile::open(&[file])?;
    let tokenizer = Tokenizer::from_metadata(&file.metadata())?;
    Ok(tokenizer.encode(text, Begin::AsModelWants)?)
}

/// Writes the logits after each token, as f32 in little-endian order. The first `prompt` tokens are computed as prompts
/// are, the others as answers.
pub fn logits(
    file: &Path,
    tokens: &[u32],
    prompt: usize,
    threads: usize,
    output: &mut impl Write,
) -> Result<(), EvaluateError> {
    let file = ModelFile::open(&[file])?;
    let count = file.config.vocabulary;
    if let Some(token) = tokens.iter().find(|token| **token as usize >= count) {
        return Err(EvaluateError::NoSuchToken { token: *token, count });
    }
    let blocks = tokens.len().div_ceil(BLOCK_TOKENS) as u32;
    let mut model = file.load(blocks, threads)?;
    let table: Vec<u32> = (0..blocks).collect();
    for start in (0..tokens.len()).step_by(ROWS) {
        let end = (start + ROWS).min(tokens.len());
        for row in rows(&mut model, &table, tokens, prompt, start..end)? {
            row.iter().try_for_each(|logit| output.write_all(&logit.to_le_bytes()))?;
        }
    }
    Ok(output.flush()?)
}

/// One segment for each token, since a segment has the logits of its last row only.
fn rows(
    model: &mut Model,
    table: &[u32],
    tokens: &[u32],
    prompt: usize,
    places: std::ops::Range<usize>,
) -> candle_core::Result<Vec<Vec<f32>>> {
    let precision = |at| if at < prompt { Precision::Exact } else { Precision::Rounded };
    let segment = |at: usize| {
        let (tokens, precision) = (&tokens[at..at + 1], precision(at));
        Segment { table, start: at, tokens, precision, wants_logits: true }
    };
    model.forward(&places.map(segment).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::{Tiny, VOCABULARY};

    #[test]
    fn every_place_has_its_logits_in_order() {
        let file = Tiny::default().file();
        let tokens: Vec<u32> = (0..70).map(|at| at * 7 % VOCABULARY as u32).collect();
        let mut written = Vec::new();
        logits(file.path(), &tokens, tokens.len(), 1, &mut written).unwrap();
        assert_eq!(written.len(), tokens.len() * VOCABULARY * size_of::<f32>());
        let mut model = ModelFile::open(&[file.path()]).unwrap().load(5, 1).unwrap();
        let table = [0, 1, 2, 3, 4];
        let whole =
            Segment { table: &table, start: 0, tokens: &tokens, precision: Precision::Exact, wants_logits: true };
        let last = model.forward(&[whole]).unwrap().remove(0);
        let bytes: Vec<u8> = last.iter().flat_map(|logit| logit.to_le_bytes()).collect();
        assert!(written.ends_with(&bytes));
    }

    #[test]
    fn a_token_that_does_not_exist_is_refused() {
        let file = Tiny::default().file();
        let refused = logits(file.path(), &[VOCABULARY as u32], 1, 1, &mut Vec::new()).unwrap_err();
        assert!(matches!(refused, EvaluateError::NoSuchToken { .. }));
    }

    #[test]
    fn a_text_is_split_as_a_completions_prompt() {
        let file = Tiny { adds_begin: true, ..Tiny::default() }.file();
        assert_eq!(split(file.path(), " the").unwrap().len(), 2);
    }
}
