//! Answers that can't be anything but JSON of a schema: before each draw, what would break it gets no chance.

use std::fmt;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::schema_size;
use crate::tokenizer::Tokenizer;

/// Taken from the system only as far as it is used.
const STACK_BYTES: usize = 64 << 20;

/// White space between values: a line break and what a line is indented by. Without a bound, small models never end it.
const SPACE: &str = r"\n[ \t]{0,40}|[ \t]{1,40}";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    #[error("this schema can't be followed: {0}")]
    Schema(String),
    #[error("the model has no token that ends an answer, so that none can be held to a schema")]
    NoEnd,
    #[error("cannot go on with the schema: {0}")]
    Broken(String),
}

/// The vocabulary in the form in which tokens that fit are found fast.
pub struct Vocabulary {
    factory: ParserFactory,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vocabulary").finish_non_exhaustive()
    }
}

impl Vocabulary {
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, ConstraintError> {
        let ends = tokenizer.ends();
        let first = *ends.first().ok_or(ConstraintError::NoEnd)?;
        let words: Vec<Vec<u8>> = (0..tokenizer.vocabulary() as u32).map(|token| word(tokenizer, token)).collect();
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, first), &words).with_eos_tokens(&ends);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = llguidance::earley::SlicedBiasComputer::json_slices();
        let factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| ConstraintError::Broken(error.to_string()))?;
        factory.quiet();
        Ok(Self { factory })
    }

    pub fn follow(&self, schema: Value) -> Result<Constraint, ConstraintError> {
        if let Some(excess) = schema_size::excess(&schema) {
            return Err(ConstraintError::Schema(excess));
        }
        let mut schema = schema;
        if let Some(object) = schema.as_object_mut() {
            object.insert("x-guidance".to_owned(), json!({"whitespace_flexible": true, "whitespace_pattern": SPACE}));
        }
        let matcher = self.on_a_stack_of_its_own(TopLevelGrammar::from_json_schema(schema))?;
        match matcher.get_error() {
            // What follows the first line is of the library's insides.
            Some(error) => Err(ConstraintError::Schema(error.lines().next().unwrap_or_default().to_owned())),
            None => Ok(Constraint { matcher: Box::new(matcher), waits_for: None }),
        }
    }
}

impl Vocabulary {
    /// The library descends into what a schema holds, deeper than the threads of this process reach.
    fn on_a_stack_of_its_own(&self, grammar: TopLevelGrammar) -> Result<Matcher, ConstraintError> {
        let broken = |what: &str| ConstraintError::Broken(what.to_owned());
        std::thread::scope(|scope| {
            let work = std::thread::Builder::new()
                .name("schema".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || Matcher::new(self.factory.create_parser(grammar)));
            let work = work.map_err(|error| broken(&error.to_string()))?;
            work.join().map_err(|_| broken("the library gave up"))
        })
    }
}

fn word(tokenizer: &Tokenizer, token: u32) -> Vec<u8> {
    if tokenizer.is_control(token) {
        let name = tokenizer.name(token);
        return std::iter::once(TokTrie::SPECIAL_TOKEN_MARKER).chain(name.bytes()).collect();
    }
    tokenizer.bytes(token).to_vec()
}

/// How far one answer has come.
pub struct Constraint {
    /// Boxed, since it is large and few answers have one.
    matcher: Box<Matcher>,
    /// Nothing is held to the schema before this token.
    waits_for: Option<u32>,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Constraint").field("waits_for", &self.waits_for).finish_non_exhaustive()
    }
}

impl Clone for Constraint {
    fn clone(&self) -> Self {
        Self { matcher: Box::new(self.matcher.deep_clone()), waits_for: self.waits_for }
    }
}

impl Constraint {
    pub fn after(self, token: u32) -> Self {
        Self { waits_for: Some(token), ..self }
    }

    /// Takes every chance from the tokens that don't fit.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        if self.waits_for.is_some() {
            return Ok(());
        }
        let fitting = self.matcher.compute_mask_or_eos().map_err(|error| ConstraintError::Broken(error.to_string()))?;
        for (token, logit) in logits.iter_mut().enumerate() {
            if !fitting.is_allowed(token as u32) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// A token was drawn; says whether the answer is whole with it.
    pub fn take(&mut self, token: u32) -> Result<bool, ConstraintError> {
        if let Some(awaited) = self.waits_for {
            if awaited == token {
                self.waits_for = None;
            }
            return Ok(false);
        }
        self.matcher.consume_token(token).map_err(|error| ConstraintError::Broken(error.to_string()))?;
        Ok(self.matcher.is_stopped())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Metadata;
    use crate::sampler::{Sampler, Sampling};
    use crate::tiny::Tiny;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_metadata(&Metadata::new(&Tiny::default().metadata())).unwrap()
    }

    /// Draws at random, but for the schema.
    fn draw(schema: &Value, seed: u64) -> String {
        let tokenizer = tokenizer();
        let mut constraint = Vocabulary::new(&tokenizer).unwrap().follow(schema.clone()).unwrap();
        let mut sampler = Sampler::new(Sampling { seed: Some(seed), ..Sampling::default() });
        let mut bytes = Vec::new();
        for _ in 0..4000 {
            let mut logits = vec![0.0; tokenizer.vocabulary()];
            // Strings and numbers shall end some time.
            for end in ['"', '}', ']', ','] {
                logits[tokenizer.encode(&end.to_string(), crate::tokenizer::Begin::AsWritten).unwrap()[0] as usize] =
                    4.0;
            }
            constraint.mask(&mut logits).unwrap();
            let token = sampler.draw(logits).unwrap().token;
            if tokenizer.is_end(token) {
                break;
            }
            bytes.extend_from_slice(tokenizer.bytes(token));
            if constraint.take(token).unwrap() {
                break;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn whatever_is_drawn_is_json_of_the_schema() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["kind", "counts", "inner"],
            "properties": {
                "kind": {"enum": ["one", "two"]}, "counts": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
                "inner": {"$ref": "#/$defs/inner"},
            },
            "$defs": {"inner": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false}},
        });
        for seed in 0..5 {
            let text = draw(&schema, seed);
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert!(["one", "two"].contains(&value["kind"].as_str().unwrap()) && value["inner"]["ok"].is_boolean());
            assert!(value["counts"].as_array().unwrap().iter().all(Value::is_i64), "{text}");
        }
        let any = draw(&json!({"type": "object"}), 1);
        assert!(serde_json::from_str::<Value>(&any).unwrap().is_object(), "{any}");
    }

    #[test]
    fn a_schema_that_can_t_be_followed_is_refused() {
        let vocabulary = Vocabulary::new(&tokenizer()).unwrap();
        let refused = vocabulary.follow(json!({"type": "octopus"})).unwrap_err().to_string();
        assert!(refused.contains("octopus"), "{refused}");
    }

    #[test]
    fn nothing_is_held_before_the_awaited_token() {
        let vocabulary = Vocabulary::new(&tokenizer()).unwrap();
        let mut constraint = vocabulary.follow(json!({"type": "object"})).unwrap().after(7);
        let free = |constraint: &mut Constraint| {
            let mut logits = vec![0.0; 263];
            constraint.mask(&mut logits).unwrap();
            logits.iter().all(|logit| logit.is_finite())
        };
        assert!(free(&mut constraint));
        assert_eq!(constraint.take(5), Ok(false));
        assert!(free(&mut constraint));
        assert_eq!(constraint.take(7), Ok(false));
        assert!(!free(&mut constraint));
    }
}
