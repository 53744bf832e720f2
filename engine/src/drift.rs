//! Drift: what was seen differs from what the state recorded. Looks only.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::Address;
use crate::plan::{ObservedAll, differing_keys};
use crate::provider::Owned;
use crate::state::State;

/// One thing that is not as it was left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "drift")]
pub enum Drift {
    Gone {
        address: Address,
    },
    Changed {
        address: Address,
        /// The outermost key of each difference.
        keys: Vec<String>,
        before: Value,
        after: Value,
    },
    /// It carries our tags and is in no record.
    Unknown(Owned),
}

/// What differs from the state, by address.
pub fn drift(state: &State, observed: &ObservedAll) -> Vec<Drift> {
    let found = state.resources.iter().filter_map(|(address, resource)| {
        let Some(seen) = observed.get(address) else { return Some(Drift::Gone { address: address.clone() }) };
        let keys = differing_keys(&resource.inputs, &seen.inputs);
        (!keys.is_empty()).then(|| Drift::Changed {
            address: address.clone(),
            keys,
            before: resource.inputs.clone(),
            after: seen.inputs.clone(),
        })
    });
    found.collect()
}
