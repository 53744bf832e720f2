//! The network that a machine lives in, one thing of Azure a file. Each is made by one body and mended by the same one.
//!
//! ```text
//! security_group <- vnet (with its one subnet) -> nat_gateway -> public_address
//! ```

use engine::provider::{Known, ProviderError};
use serde_json::Value;

use super::auth::named;
use super::id::group_of;

pub mod nat_gateway;
pub mod public_address;
pub mod security_group;
pub mod vnet;

/// The address of the group that something lies in.
pub fn group_named(known: &Known, id: &str) -> Result<String, ProviderError> {
    let group = group_of(id).ok_or_else(|| ProviderError::permanent(id, "it lies in no resource group"))?;
    Ok(named(known, &group))
}

/// A list of an answer.
pub fn list<'a>(thing: &'a Value, pointer: &str) -> &'a [Value] {
    thing.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A text of an answer.
pub fn text<'a>(thing: &'a Value, pointer: &str) -> &'a str {
    thing.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
