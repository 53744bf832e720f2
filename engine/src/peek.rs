//! What is on record of a deployment, read without a provider and without a lease: before it is known where the provider
//! is to look, for instance in which region.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use spec::id::DeploymentName;

use crate::apply::{EngineError, Event};
use crate::graph::Address;
use crate::journal::Journal;
use crate::plan::Action;
use crate::settle::{Pending, unsettled};
use crate::state::{State, StateFile};
use crate::store::Store;

/// State and journal as they lie in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Peek {
    pub state: State,
    /// Inputs of all that is, and of what an interrupted run may have made.
    pub begun: BTreeMap<Address, Value>,
    /// Whether the state says all that the journal does; if not, the next holder of the lease settles it.
    pub is_settled: bool,
}

/// Reads state and journal. Writes nothing.
pub async fn peek(store: Arc<dyn Store>, deployment: &DeploymentName) -> Result<Peek, EngineError> {
    let (_, records) = Journal::<Event>::open(store.clone(), "journal").await?;
    let state = StateFile::open(store, deployment).await?.state().clone();
    let pending = unsettled(records).pending;
    let open: Vec<&Pending> = pending.iter().filter(|pending| is_open(pending, &state)).collect();
    let mut begun: BTreeMap<Address, Value> =
        open.iter().map(|pending| (pending.address.clone(), pending.inputs.clone())).collect();
    begun.extend(state.resources.iter().map(|(address, it)| (address.clone(), it.inputs.clone())));
    let is_settled = open.is_empty();
    Ok(Peek { state, begun, is_settled })
}

/// Whether something may exist of which the state does not know.
fn is_open(pending: &Pending, state: &State) -> bool {
    let is_making = matches!(pending.action, Action::Create | Action::Replace);
    let replaced = state.replaced.iter().map(|it| &it.resource);
    let mut known = state.resources.values().chain(replaced).map(|it| &it.remote_id);
    match &pending.remote_id {
        None => is_making,
        Some(id) => !known.any(|known| known == id),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::Token;
    use crate::state::{RemoteId, Resource};

    fn pending(action: Action, id: Option<&str>) -> Pending {
        Pending {
            address: Address::new("thing", "a"),
            action,
            token: Token("t".to_owned()),
            at: jiff::Timestamp::UNIX_EPOCH,
            inputs: json!({}),
            depends_on: Default::default(),
            monthly_usd: None,
            remote_id: id.map(|id| RemoteId(id.to_owned())),
            overtaken: false,
        }
    }

    #[test]
    fn only_what_may_exist_unknown_is_open() {
        let resource = Resource {
            remote_id: RemoteId("1".to_owned()),
            inputs: json!({}),
            depends_on: Default::default(),
            monthly_usd: None,
        };
        let state =
            State::of("default".parse().unwrap(), "l".to_owned(), [(Address::new("thing", "a"), resource)].into());
        assert!(is_open(&pending(Action::Create, None), &state));
        assert!(is_open(&pending(Action::Create, Some("2")), &state));
        assert!(!is_open(&pending(Action::Create, Some("1")), &state));
        assert!(!is_open(&pending(Action::Delete, None), &state));
    }
}
