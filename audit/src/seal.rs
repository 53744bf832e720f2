//! A record's line: its JSON with its hash as the last member. The hash is of the text before it, so that no reader has to
//! write a record as it was written.

use crate::keys::Keys;
use crate::record::Record;

/// In front of the first record.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const HASH_MEMBER: &str = ",\"hash\":\"";

/// The line without its end, and the hash.
pub fn seal(keys: &Keys, record: &Record) -> serde_json::Result<(String, String)> {
    let mut line = serde_json::to_string(record)?;
    line.pop();
    let hash = keys.hash(&line);
    line.extend([HASH_MEMBER, &hash, "\"}"]);
    Ok((line, hash))
}

/// The record and its hash; none of what was not sealed with these keys, or was changed since.
pub fn open(keys: &Keys, line: &str) -> Option<(Record, String)> {
    let rest = line.strip_suffix("\"}")?;
    let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(NO_HASH.len())?)?;
    let text = rest.strip_suffix(HASH_MEMBER)?;
    if !keys.is_hash(text, hash) {
        return None;
    }
    Some((serde_json::from_str(line).ok()?, hash.to_owned()))
}
