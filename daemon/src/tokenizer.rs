//! Text to tokens and back, from the GGUF file's own vocabulary.
//!
//! Byte-level BPE ("gpt2") only, which is what llama 3, qwen2 and smollm use. candle's own GGUF tokenizer is not used:
//! it falls back to GPT-2's splitting for every pre-tokenizer it does not know, smollm among them, which gives other
//! tokens than the model was trained on without saying so. Here an unknown name is an error.

use std::collections::{HashMap, HashSet};

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;

use crate::model::{Metadata, MetadataError};
use crate::splitting::Splitting;

#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("tokenizer.ggml.model {0} is not supported: gpt2 (byte-level BPE) is")]
    Kind(String),
    #[error("tokenizer.ggml.pre {0} is not known, so the text would be split into the wrong tokens")]
    PreTokenizer(String),
    #[error("tokenizer.ggml.merges entry {0:?} is not a pair")]
    Merge(String),
    #[error("{key} is token {token}, but there are {count} tokens")]
    TokenOutOfRange { key: &'static str, token: usize, count: usize },
    #[error("cannot build the tokenizer: {0}")]
    Build(#[source] tokenizers::Error),
    #[error("cannot split the text into tokens: {0}")]
    Encode(#[source] tokenizers::Error),
}

/// Whether the beginning-of-sequence token goes in front, when the model wants one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    AsModelWants,
    /// The text brings its own, as chat templates do.
    AsWritten,
}

#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pieces: Vec<Piece>,
    /// Bytes of text that one token can stand for at the most.
    longest: usize,
    begin: Option<u32>,
    adds_begin: bool,
    end: Option<u32>,
    ends: HashSet<u32>,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    is_control: bool,
}

/// `tokenizer.ggml.token_type`.
const CONTROL: usize = 3;
const USER_DEFINED: usize = 4;

/// Control tokens that end an answer, whatever the metadata says: chat models end their turn with one of these, while
/// `eos_token_id` is often the one that ends a document.
const TURN_ENDS: [&str; 7] =
    ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<｜end▁of▁sentence｜>"];

/// Composing characters makes a text no shorter than this part of it: three bytes become one at the most, as in the sign
/// for kelvin, which becomes a K. Source: Unicode Standard Annex 15, expansion factors of the normalization forms.
const MOST_SHRINKING: usize = 3;

impl Tokenizer {
    pub fn from_metadata(metadata: &Metadata<'_>) -> Result<Self, TokenizerError> {
        let kind = metadata.string("tokenizer.ggml.model")?;
        if kind != "gpt2" {
            return Err(TokenizerError::Kind(kind.to_owned()));
        }
        let tokens = metadata.strings("tokenizer.ggml.tokens")?;
        let types = metadata.optional_sizes("tokenizer.ggml.token_type")?.unwrap_or_default();
        let type_of = |token: usize| types.get(token).copied().unwrap_or(1);
        let pre = metadata.optional_string("tokenizer.ggml.pre")?.unwrap_or("default");
        let splitting = Splitting::named(pre).ok_or_else(|| TokenizerError::PreTokenizer(pre.to_owned()))?;
        let inner = build(metadata, &splitting, &tokens, &type_of)?;
        let to_bytes = byte_alphabet();
        let piece = |(token, text): (usize, &&str)| match type_of(token) {
            CONTROL => Piece { bytes: text.as_bytes().to_vec(), is_control: true },
            USER_DEFINED => Piece { bytes: text.as_bytes().to_vec(), is_control: false },
            _ => Piece { bytes: piece_bytes(text, &to_bytes), is_control: false },
        };
        let pieces: Vec<Piece> = tokens.iter().enumerate().map(piece).collect();
        let shrinking = if inner.get_normalizer().is_some() { MOST_SHRINKING } else { 1 };
        let longest = pieces.iter().map(|piece| piece.bytes.len()).max().unwrap_or_default() * shrinking;
        let special = |key: &'static str| special_token(metadata, key, tokens.len());
        let begin = special("tokenizer.ggml.bos_token_id")?;
        let end = special("tokenizer.ggml.eos_token_id")?;
        let mut ends: HashSet<u32> = end.into_iter().collect();
        ends.extend(special("tokenizer.ggml.eot_token_id")?);
        ends.extend(special("tokenizer.ggml.eom_token_id")?);
        let turn_ends =
            tokens.iter().enumerate().filter(|(at, text)| type_of(*at) == CONTROL && TURN_ENDS.contains(text));
        ends.extend(turn_ends.map(|(at, _)| at as u32));
        let adds_begin = metadata.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(splitting.adds_begin);
        Ok(Self { inner, pieces, longest, begin, adds_begin, end, ends })
    }

    /// Splits a text; names of special tokens in it become those tokens.
    pub fn encode(&self, text: &str, begin: Begin) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, false).map_err(TokenizerError::Encode)?;
        let first = self.begin.filter(|_| begin == Begin::AsModelWants && self.adds_begin);
        Ok(first.into_iter().chain(encoding.get_ids().iter().copied()).collect())
    }

    /// Tokens that a text has at least, known without splitting it: as many as if each were the longest piece.
    pub const fn fewest_tokens(&self, text: &str) -> usize {
        match self.longest {
            0 => 0,
            longest => text.len().div_ceil(longest),
        }
    }

    /// The bytes that a token adds to an answer; control tokens add none. Most tokens are not whole characters.
    pub fn bytes(&self, token: u32) -> &[u8] {
        match self.pieces.get(token as usize) {
            Some(piece) if !piece.is_control => &piece.bytes,
            _ => &[],
        }
    }

    /// A token as people read it, control tokens by their name.
    pub fn name(&self, token: u32) -> String {
        self.pieces.get(token as usize).map_or_else(String::new, |piece| String::from_utf8_lossy(&piece.bytes).into())
    }

    pub fn is_control(&self, token: u32) -> bool {
        self.pieces.get(token as usize).is_some_and(|piece| piece.is_control)
    }

    /// The token that is this text as a whole.
    pub fn token_named(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(name)
    }

    /// The tokens that end an answer, in their order.
    pub fn ends(&self) -> Vec<u32> {
        let mut ends: Vec<u32> = self.ends.iter().copied().collect();
        ends.sort_unstable();
        ends
    }

    pub fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    pub fn begin_name(&self) -> String {
        self.begin.map_or_else(String::new, |token| self.name(token))
    }

    pub fn end_name(&self) -> String {
        self.end.map_or_else(String::new, |token| self.name(token))
    }
}

/// Text of an answer, character by character: bytes wait until their character is whole.
#[derive(Debug, Default)]
pub struct Detokenizer {
    pending: Vec<u8>,
}

impl Detokenizer {
    /// Takes a token's bytes; gives the characters that are whole now. What can't be UTF-8 becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        loop {
            let rest = &self.pending[done..];
            let (valid, broken) = match std::str::from_utf8(rest) {
                Ok(valid) => (valid.len(), None),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            text.push_str(&String::from_utf8_lossy(&rest[..valid]));
            done += valid;
            match broken {
                Some(length) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    done += length;
                }
                None => break,
            }
        }
        self.pending.drain(..done);
        text
    }

    /// The answer ended: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

fn special_token(metadata: &Metadata<'_>, key: &'static str, count: usize) -> Result<Option<u32>, TokenizerError> {
    match metadata.optional_size(key)? {
        Some(token) if token >= count => Err(TokenizerError::TokenOutOfRange { key, token, count }),
        token => Ok(token.map(|token| token as u32)),
    }
}

fn build(
    metadata: &Metadata<'_>,
    splitting: &Splitting,
    tokens: &[&str],
    type_of: &impl Fn(usize) -> usize,
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let vocabulary: Vocab = tokens.iter().enumerate().map(|(at, text)| ((*text).to_owned(), at as u32)).collect();
    let pair = |merge: &&str| match merge.split_once(' ') {
        Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
        None => Err(TokenizerError::Merge((*merge).to_owned())),
    };
    let merges = metadata.strings("tokenizer.ggml.merges")?.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(splitting.whole_words_first);
    let mut tokenizer = tokenizers::Tokenizer::new(bpe.build().map_err(TokenizerError::Build)?);
    if splitting.composes {
        tokenizer.with_normalizer(Some(NFC)).map_err(TokenizerError::Build)?;
    }
    tokenizer.with_pre_tokenizer(Some(splitting.pre_tokenizer().map_err(TokenizerError::Build)?));
    let added = |kind: usize, special: bool| {
        let of_kind = tokens.iter().enumerate().filter(move |(at, _)| type_of(*at) == kind);
        of_kind.map(move |(_, text)| AddedToken::from(*text, special).normalized(false)).collect::<Vec<_>>()
    };
    tokenizer.add_special_tokens(added(CONTROL, true)).map_err(TokenizerError::Build)?;
    tokenizer.add_tokens(added(USER_DEFINED, false)).map_err(TokenizerError::Build)?;
    Ok(tokenizer)
}

/// GPT-2's printable stand-ins for the 256 bytes, backwards. Source: `bytes_to_unicode` of its published encoder.
pub(crate) fn byte_alphabet() -> HashMap<char, u8> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut stand_ins = 256u32..;
    (0..=255u8)
        .filter_map(|byte| {
            let code = if is_printable(byte) { u32::from(byte) } else { stand_ins.next()? };
            Some((char::from_u32(code)?, byte))
        })
        .collect()
}

fn piece_bytes(text: &str, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match alphabet.get(&character) {
            Some(byte) => bytes.push(*byte),
            // Not in the alphabet: the token was added as literal text.
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Tiny;
    use proptest::prelude::*;

    fn tokenizer(pre: &str) -> Result<Tokenizer, TokenizerError> {
        let metadata = Tiny { pre: pre.to_owned(), ..Tiny::default() }.metadata();
        Tokenizer::from_metadata(&Metadata::new(&metadata))
    }

    proptest! {
        #[test]
        fn no_text_has_fewer_tokens_than_its_bytes_say(
            text in prop::collection::vec(prop::sample::select(vec!["<|im_start|>", "the", " the", "e\u{301}", "\u{212a}", "a"]), 0..50),
        ) {
            let text = text.concat();
            for pre in ["gpt-2", "qwen2"] {
                let tokenizer = tokenizer(pre).unwrap();
                let tokens = tokenizer.encode(&text, Begin::AsWritten).unwrap().len();
                prop_assert!(tokenizer.fewest_tokens(&text) <= tokens, "{text:?}: {tokens}");
            }
        }
    }

    #[test]
    fn the_longest_piece_tells_the_fewest_tokens() {
        let tokenizer = tokenizer("gpt-2").unwrap();
        let longest =
            (0..tokenizer.vocabulary() as u32).map(|token| tokenizer.name(token)).max_by_key(String::len).unwrap();
        assert_eq!(tokenizer.encode(&longest.repeat(7), Begin::AsWritten).unwrap().len(), 7);
        assert_eq!(tokenizer.fewest_tokens(&longest.repeat(7)), 7);
        assert_eq!(tokenizer.fewest_tokens(&format!("{longest}x")), 2);
        assert_eq!(tokenizer.fewest_tokens(""), 0);
    }

    fn pieces(pre: &str, text: &str) -> Vec<String> {
        let tokenizer = tokenizer(pre).unwrap();
        let tokens = tokenizer.encode(text, Begin::AsWritten).unwrap();
        tokens.into_iter().map(|token| tokenizer.name(token)).collect()
    }

    #[test]
    fn the_pre_tokenizer_decides_where_merges_may_reach() {
        // The vocabulary has "12" and " the" as merged tokens.
        assert_eq!(pieces("gpt-2", "12 the"), ["12", " the"]);
        assert_eq!(pieces("smollm", "12 the"), ["1", "2", " the"]);
        assert_eq!(pieces("qwen2", "12 the"), ["1", "2", " the"]);
        assert_eq!(pieces("llama-bpe", "12 the"), ["12", " the"]);
        assert_eq!(pieces("deepseek-llm", "12 the"), ["12", " the"]);
        assert_eq!(pieces("deepseek-coder", "12 the"), ["1", "2", " the"]);
    }

    #[test]
    fn an_unknown_pre_tokenizer_is_refused_by_name() {
        assert!(tokenizer("brand-new").unwrap_err().to_string().contains("tokenizer.ggml.pre brand-new"));
    }

    #[test]
    fn special_tokens_are_whole_and_invisible() {
        let tokenizer = tokenizer("smollm").unwrap();
        let tokens = tokenizer.encode("<|im_start|>a<|im_end|>", Begin::AsWritten).unwrap();
        assert_eq!(tokens.len(), 3);
        assert!(tokenizer.is_end(tokens[2]) && !tokenizer.is_end(tokens[0]));
        assert_eq!(tokenizer.bytes(tokens[0]), b"");
        assert_eq!(tokenizer.name(tokens[0]), "<|im_start|>");
    }

    #[test]
    fn composed_text_is_the_same_text_where_the_model_expects_it() {
        let tokenizer = tokenizer("qwen2").unwrap();
        let encode = |text| tokenizer.encode(text, Begin::AsWritten).unwrap();
        assert_eq!(encode("e\u{301}"), encode("\u{e9}"));
    }

    #[test]
    fn the_begin_token_comes_first_when_the_model_wants_it() {
        let metadata = Tiny { adds_begin: true, ..Tiny::default() }.metadata();
        let tokenizer = Tokenizer::from_metadata(&Metadata::new(&metadata)).unwrap();
        assert_eq!(tokenizer.encode("a", Begin::AsModelWants).unwrap().len(), 2);
        assert_eq!(tokenizer.encode("a", Begin::AsWritten).unwrap().len(), 1);
    }

    #[test]
    fn the_files_of_llama_3_want_the_begin_token_if_they_say_nothing() {
        let mut metadata = Tiny { pre: "llama-bpe".to_owned(), ..Tiny::default() }.metadata();
        metadata.remove("tokenizer.ggml.add_bos_token");
        let tokenizer = Tokenizer::from_metadata(&Metadata::new(&metadata)).unwrap();
        assert_eq!(tokenizer.encode("a", Begin::AsModelWants).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn text_survives_there_and_back(text in "\\PC{0,40}", pre in prop_oneof![Just("smollm"), Just("llama-bpe"), Just("default"), Just("deepseek-llm"), Just("deepseek-v3")]) {
            let tokenizer = tokenizer(pre).unwrap();
            let mut detokenizer = Detokenizer::default();
            let tokens = tokenizer.encode(&text, Begin::AsWritten).unwrap();
            let mut back: String = tokens.iter().map(|token| detokenizer.push(tokenizer.bytes(*token))).collect();
            back.push_str(&detokenizer.finish());
            prop_assert_eq!(back, text);
        }

        #[test]
        fn cutting_bytes_anywhere_gives_the_same_text(bytes: Vec<u8>, cut in 1usize..5) {
            let mut detokenizer = Detokenizer::default();
            let mut text: String = bytes.chunks(cut).map(|chunk| detokenizer.push(chunk)).collect();
            text.push_str(&detokenizer.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
