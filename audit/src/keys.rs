//! What follows from the deployment's secret: the keys of the chain, of digests, and of the users' places.

use std::fmt;
use std::io;
use std::path::Path;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};

/// SHA-256 of a text; it stays in memory, since short texts could be guessed from it.
pub type TextDigest = [u8; 32];

/// A shorter secret is refused: somebody typed it.
const LEAST_SECRET_BYTES: usize = 32;

pub struct Keys {
    chain: Key,
    text: Key,
    place: Key,
}

impl Keys {
    /// None of a secret that is too short to be one.
    pub fn from_secret(secret: &str) -> Option<Self> {
        let secret = secret.trim();
        if secret.len() < LEAST_SECRET_BYTES {
            return None;
        }
        let root = Key::new(HMAC_SHA256, secret.as_bytes());
        let derived = |purpose: &str| Key::new(HMAC_SHA256, sign(&root, purpose.as_bytes()).as_ref());
        Some(Self {
            chain: derived("dsctl audit chain"),
            text: derived("dsctl audit text"),
            place: derived("dsctl audit user"),
        })
    }

    pub fn read(path: &Path) -> io::Result<Self> {
        let secret = std::fs::read_to_string(path)?;
        let short = || io::Error::new(io::ErrorKind::InvalidData, "it is shorter than 32 bytes");
        Self::from_secret(&secret).ok_or_else(short)
    }

    /// Hash of a record's text.
    pub(crate) fn hash(&self, text: &str) -> String {
        hex::encode(sign(&self.chain, text.as_bytes()))
    }

    pub(crate) fn is_hash(&self, text: &str, hash: &str) -> bool {
        hex::decode(hash).is_ok_and(|hash| verify(&self.chain, text.as_bytes(), &hash).is_ok())
    }

    /// What stands for a text; `person` makes it one that goes with the person's key.
    pub(crate) fn digest(&self, text: &TextDigest, person: Option<&[u8; 32]>) -> String {
        let mut message = text.to_vec();
        message.extend(person.into_iter().flatten());
        hex::encode(sign(&self.text, &message))
    }

    /// Where a user's key lies: nobody reads the user off it who has not the deployment's secret.
    pub(crate) fn place_of(&self, user: &str) -> String {
        hex::encode(&sign(&self.place, user.as_bytes()).as_ref()[..16])
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}
