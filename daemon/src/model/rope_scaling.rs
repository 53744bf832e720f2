//! How a model reaches further than it was trained for: what is done to its rotation frequencies.
//!
//! llama 3's own way has no place here: its converter works it out into the tensor `rope_freqs.weight`.

use std::f64::consts::TAU;

use super::{LoadError, Metadata, MetadataError};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Positions are divided by this; 1 without scaling.
    Linear {
        divisor: f64,
    },
    Yarn(Yarn),
}

/// Slow rotations are divided, fast ones are not, and those between are mixed; what is rotated grows a little.
/// Source: "YaRN: Efficient Context Window Extension of Large Language Models", 3.2 and 3.4; its constants under the
/// names that GGUF gives them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    pub divisor: f64,
    /// Tokens of the context that the model was trained with.
    pub original_context: f64,
    /// Turns in that context from which on a rotation counts as fast.
    pub beta_fast: f64,
    /// Turns up to which it counts as slow.
    pub beta_slow: f64,
    /// A factor of the file's own on what is rotated.
    pub attention: f64,
}

impl RopeScaling {
    pub fn from_metadata(metadata: &Metadata<'_>, architecture: &str) -> Result<Self, LoadError> {
        let key = |suffix: &str| format!("{architecture}.rope.scaling.{suffix}");
        let divisor = positive(metadata, &key("factor"))?;
        match metadata.optional_string(&key("type"))? {
            Some("none") => Ok(Self::Linear { divisor: 1.0 }),
            Some("linear") => Ok(Self::Linear { divisor: divisor.unwrap_or(1.0) }),
            Some("yarn") => Ok(Self::Yarn(yarn(metadata, architecture, divisor.unwrap_or(1.0))?)),
            Some(other) => Err(LoadError::Feature { feature: format!("{} {other}", key("type")) }),
            None => {
                let older = positive(metadata, &format!("{architecture}.rope.scale_linear"))?;
                Ok(Self::Linear { divisor: divisor.or(older).unwrap_or(1.0) })
            }
        }
    }

    /// Radians per position of a pair that turns by `plain` without scaling.
    pub fn frequency(&self, plain: f64, pair: usize, pairs: usize, base: f64) -> f64 {
        match self {
            Self::Linear { divisor } => plain / divisor,
            Self::Yarn(yarn) => {
                let fast = yarn.fast_share(pair, pairs, base);
                plain / yarn.divisor * (1.0 - fast) + plain * fast
            }
        }
    }

    /// The factor on what is rotated.
    pub fn magnitude(&self) -> f64 {
        match self {
            Self::Linear { .. } => 1.0,
            Self::Yarn(yarn) => yarn.attention * (1.0 + 0.1 * yarn.divisor.ln()),
        }
    }
}

impl Yarn {
    /// 1 for fast pairs, 0 for slow ones. The borders are whole pairs, as in the paper's code and in llama.cpp.
    fn fast_share(&self, pair: usize, pairs: usize, base: f64) -> f64 {
        let pair_with = |turns: f64| pairs as f64 * (self.original_context / (turns * TAU)).ln() / base.ln();
        let first = pair_with(self.beta_fast).floor().max(0.0);
        let last = pair_with(self.beta_slow).ceil().min(2.0 * pairs as f64 - 1.0);
        let slow = (pair as f64 - first) / (last - first).max(0.001);
        1.0 - slow.clamp(0.0, 1.0)
    }
}

fn yarn(metadata: &Metadata<'_>, architecture: &str, divisor: f64) -> Result<Yarn, LoadError> {
    let key = |suffix: &str| format!("{architecture}.rope.scaling.{suffix}");
    // Both change the arithmetic in ways of deepseek2's.
    for suffix in ["yarn_log_multiplier", "yarn_ext_factor"] {
        if let Some(value) = metadata.optional_float(&key(suffix))? {
            return Err(MetadataError::Unsupported { key: key(suffix), value: value.to_string() }.into());
        }
    }
    let context = match positive(metadata, &key("original_context_length"))? {
        Some(context) => context,
        None => metadata.size(&format!("{architecture}.context_length"))? as f64,
    };
    Ok(Yarn {
        divisor,
        original_context: context,
        beta_fast: positive(metadata, &key("yarn_beta_fast"))?.unwrap_or(32.0),
        beta_slow: positive(metadata, &key("yarn_beta_slow"))?.unwrap_or(1.0),
        attention: positive(metadata, &key("attn_factor"))?.unwrap_or(1.0),
    })
}

fn positive(metadata: &Metadata<'_>, key: &str) -> Result<Option<f64>, MetadataError> {
    match metadata.optional_float(key)? {
        Some(value) if !value.is_finite() || value <= 0.0 => {
            Err(MetadataError::Unsupported { key: key.to_owned(), value: value.to_string() })
        }
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YARN: Yarn =
        Yarn { divisor: 4.0, original_context: 32768.0, beta_fast: 32.0, beta_slow: 1.0, attention: 1.0 };

    /// The borders that the paper's code gives for 64 pairs over a base of a million: 23.6 and 39.7.
    #[test]
    fn fast_pairs_are_kept_and_slow_ones_divided() {
        let scaling = RopeScaling::Yarn(YARN);
        let frequency = |pair| scaling.frequency(1.0, pair, 64, 1e6);
        assert_eq!((frequency(0), frequency(23)), (1.0, 1.0));
        assert_eq!((frequency(40), frequency(63)), (0.25, 0.25));
        assert!(frequency(24) < 1.0 && frequency(39) > 0.25);
        assert!((24..40).all(|pair| frequency(pair) < frequency(pair - 1)));
    }

    #[test]
    fn what_is_rotated_grows_with_the_reach() {
        assert!((RopeScaling::Yarn(YARN).magnitude() - 1.138_629).abs() < 1e-6);
        assert_eq!(RopeScaling::Linear { divisor: 4.0 }.magnitude(), 1.0);
    }
}
