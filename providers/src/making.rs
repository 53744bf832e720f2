//! What a create of a cloud's resource is given, and how its inputs' addresses lead to the cloud's ids and back.

use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use serde::de::DeserializeOwned;

/// What a create is given.
#[derive(Debug, Clone, Copy)]
pub struct Making<'a> {
    pub desired: &'a Desired,
    pub token: &'a Token,
    pub known: &'a Known,
}

impl Making<'_> {
    /// The inputs in their kind's shape.
    pub fn inputs<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        inputs(self.desired)
    }

    /// The id of another resource that the inputs name by its address.
    pub fn id(&self, address: &str) -> Result<&str, ProviderError> {
        id(self.desired, self.known, address)
    }
}

/// The inputs in their kind's shape.
pub fn inputs<T: DeserializeOwned>(desired: &Desired) -> Result<T, ProviderError> {
    serde_json::from_value(desired.inputs.clone()).map_err(|error| ProviderError::permanent(&desired.address, error))
}

/// The id of another resource that inputs name by its address.
pub fn id<'a>(desired: &Desired, known: &'a Known, address: &str) -> Result<&'a str, ProviderError> {
    let named = Address::parse(address)
        .ok_or_else(|| ProviderError::permanent(&desired.address, format!("\"{address}\" is no address")))?;
    Ok(known.needed(&desired.address, &named)?.0.as_str())
}

/// The address that inputs name a resource by; its id where the state does not know it, so that it shows as a difference.
pub fn named(known: &Known, id: &str) -> String {
    known.address_of(id).map_or_else(|| id.to_owned(), ToString::to_string)
}
