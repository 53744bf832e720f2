//! Finds the tensor whose type candle does not know, to name it: candle's own error has only the type's number.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::LoadError;

/// Types of the GGUF specification that candle 0.11 has no arithmetic for.
const UNKNOWN_TYPES: &[(u32, &str)] = &[
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];
const KNOWN_TYPES: &[u32] = &[0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 30];
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The error for the first tensor of an unknown type; `None` if the header has none or is broken in another way.
pub fn unreadable_tensor(path: &Path) -> Option<LoadError> {
    let mut reader = BufReader::new(File::open(path).ok()?);
    let (tensor, kind) = first_unknown(&mut reader)?;
    let name = UNKNOWN_TYPES.iter().find(|(number, _)| *number == kind).map(|(_, name)| (*name).to_owned());
    Some(LoadError::TensorType { tensor, kind: name.unwrap_or_else(|| format!("number {kind}")) })
}

fn first_unknown<R: Read + Seek>(reader: &mut R) -> Option<(String, u32)> {
    let (_magic, version) = (u32_of(reader)?, u32_of(reader)?);
    if version < 2 {
        return None;
    }
    let (tensors, pairs) = (u64_of(reader)?, u64_of(reader)?);
    for _ in 0..pairs {
        skip_string(reader)?;
        let kind = u32_of(reader)?;
        skip_value(reader, kind)?;
    }
    for _ in 0..tensors {
        let name = string_of(reader)?;
        let dimensions = u32_of(reader)?;
        skip(reader, u64::from(dimensions).checked_mul(8)?)?;
        let kind = u32_of(reader)?;
        if !KNOWN_TYPES.contains(&kind) {
            return Some((name, kind));
        }
        skip(reader, 8)?;
    }
    None
}

fn skip_value<R: Read + Seek>(reader: &mut R, kind: u32) -> Option<()> {
    match kind {
        STRING => skip_string(reader),
        ARRAY => {
            let (items, count) = (u32_of(reader)?, u64_of(reader)?);
            match items {
                ARRAY => None,
                STRING => (0..count).try_for_each(|_| skip_string(reader)),
                scalar => skip(reader, width(scalar)?.checked_mul(count)?),
            }
        }
        scalar => skip(reader, width(scalar)?),
    }
}

/// Bytes of a scalar value type.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn skip<R: Seek>(reader: &mut R, bytes: u64) -> Option<()> {
    reader.seek(SeekFrom::Current(i64::try_from(bytes).ok()?)).ok().map(|_| ())
}

fn skip_string<R: Read + Seek>(reader: &mut R) -> Option<()> {
    let length = u64_of(reader)?;
    skip(reader, length)
}

fn string_of<R: Read>(reader: &mut R) -> Option<String> {
    const LONGEST_NAME: u64 = 1024;
    let length = u64_of(reader).filter(|length| *length <= LONGEST_NAME)?;
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

fn u32_of<R: Read>(reader: &mut R) -> Option<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

fn u64_of<R: Read>(reader: &mut R) -> Option<u64> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}
