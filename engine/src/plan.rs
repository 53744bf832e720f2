//! A plan is a value: the ordered changes that take what is to what is wanted, and the hash of what it was made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use spec::id::DeploymentName;

use crate::graph::{Address, Desired, Graph, order};
use crate::provider::Observed;
use crate::state::State;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    NoOp,
    Create,
    Update,
    Delete,
}

impl Action {
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::NoOp => " ",
            Self::Create => "+",
            Self::Update => "~",
            Self::Delete => "-",
        }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub address: Address,
    pub action: Action,
    /// For the reader only.
    pub reason: String,
    pub summary: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub disk_bytes: u64,
    pub monthly_usd: Option<f64>,
}

/// The value that apply carries out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub deployment: DeploymentName,
    /// Digest of the graph and the state that it was made from.
    pub made_from: String,
    /// In the order in which they are carried out; what stays is listed too.
    pub changes: Vec<Change>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(|change| change.action == Action::NoOp)
    }

    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }

    /// Bytes that will lie on disk when it is carried out.
    pub fn disk_bytes(&self) -> u64 {
        self.kept().map(|change| change.disk_bytes).sum()
    }

    /// US dollars a month when it is carried out; none if any price is unknown.
    pub fn monthly_usd(&self) -> Option<f64> {
        self.kept().map(|change| change.monthly_usd).sum()
    }

    fn kept(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.action != Action::Delete)
    }
}

/// What the last look found, for each resource of the state; absent = it is gone.
pub type ObservedAll = BTreeMap<Address, Observed>;

/// The changes from what was observed to what is desired. Deletes come first, dependents before what they stand on.
pub fn diff(graph: &Graph, state: &State, observed: &ObservedAll) -> Plan {
    let wanted = order(&graph.edges()).unwrap_or_default();
    let unwanted = deletion_order(state).into_iter().filter(|address| graph.get(address).is_none());
    let deletes = unwanted.map(|address| delete(state, &address, "no longer in the spec"));
    let kept = wanted.iter().filter_map(|address| graph.get(address)).map(|want| change(want, state, observed));
    Plan {
        deployment: state.deployment.clone(),
        made_from: made_from(graph, state),
        changes: deletes.chain(kept).collect(),
    }
}

/// The plan of all deletes.
pub fn destroy(state: &State) -> Plan {
    let changes = deletion_order(state).iter().map(|address| delete(state, address, "the deployment goes")).collect();
    Plan { deployment: state.deployment.clone(), made_from: made_from(&Graph::default(), state), changes }
}

fn deletion_order(state: &State) -> Vec<Address> {
    let edges = state.resources.iter().map(|(address, it)| (address.clone(), it.depends_on.clone())).collect();
    // A state can't hold a cycle, since a graph can't; by name if it does all the same, so that it can go away.
    let mut ordered = order(&edges).unwrap_or_else(|_| state.resources.keys().cloned().collect());
    ordered.reverse();
    ordered
}

fn change(want: &Desired, state: &State, observed: &ObservedAll) -> Change {
    let (action, reason, before) = match (state.resources.get(&want.address), observed.get(&want.address)) {
        (None, _) => (Action::Create, "new".to_owned(), None),
        (Some(_), None) => (Action::Create, "it is gone".to_owned(), None),
        (Some(resource), Some(seen)) => match differing_keys(&seen.inputs, &want.inputs) {
            keys if keys.is_empty() => (Action::NoOp, "as wanted".to_owned(), Some(resource.inputs.clone())),
            keys => (Action::Update, format!("changed: {}", keys.join(", ")), Some(seen.inputs.clone())),
        },
    };
    Change {
        address: want.address.clone(),
        action,
        reason,
        summary: want.summary.clone(),
        before,
        after: Some(want.inputs.clone()),
        disk_bytes: want.disk_bytes,
        monthly_usd: want.monthly_usd,
    }
}

fn delete(state: &State, address: &Address, reason: &str) -> Change {
    Change {
        address: address.clone(),
        action: Action::Delete,
        reason: reason.to_owned(),
        summary: String::new(),
        before: state.resources.get(address).map(|resource| resource.inputs.clone()),
        after: None,
        disk_bytes: 0,
        monthly_usd: Some(0.0),
    }
}

/// Dotted paths of what differs, the outermost key of each.
fn differing_keys(before: &Value, after: &Value) -> Vec<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut keys: Vec<String> = before
                .iter()
                .filter(|(key, value)| after.get(*key) != Some(value))
                .map(|(key, _)| key.clone())
                .chain(after.keys().filter(|key| !before.contains_key(*key)).cloned())
                .collect();
            keys.sort();
            keys
        }
        _ if before == after => Vec::new(),
        _ => vec!["inputs".to_owned()],
    }
}

fn made_from(graph: &Graph, state: &State) -> String {
    let text = serde_json::json!({ "graph": graph, "state": state }).to_string();
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::graph::tests::desired;
    use crate::state::{RemoteId, Resource};

    fn state_of(graph: &Graph) -> State {
        let resources = graph
            .iter()
            .map(|want| {
                let resource = Resource {
                    remote_id: RemoteId(want.address.to_string()),
                    inputs: want.inputs.clone(),
                    depends_on: want.depends_on.clone(),
                    monthly_usd: None,
                };
                (want.address.clone(), resource)
            })
            .collect();
        let deployment = "default".parse().unwrap();
        State { format: 1, deployment, lineage: "l".to_owned(), serial: 1, resources, replaced: Vec::new() }
    }

    fn observed_of(state: &State) -> ObservedAll {
        state.resources.iter().map(|(a, r)| (a.clone(), Observed { inputs: r.inputs.clone() })).collect()
    }

    fn actions(plan: &Plan) -> Vec<(String, Action)> {
        plan.changes.iter().map(|change| (change.address.to_string(), change.action)).collect()
    }

    #[test]
    fn what_is_as_wanted_stays() {
        let graph = Graph::new([desired("a", &[]), desired("b", &["a"])]).unwrap();
        let state = state_of(&graph);
        assert!(diff(&graph, &state, &observed_of(&state)).is_empty());
    }

    #[test]
    fn each_difference_has_its_action_and_reason() {
        let before =
            Graph::new([desired("a", &[]), desired("b", &["a"]), desired("c", &[]), desired("d", &["c"])]).unwrap();
        let mut changed = desired("a", &[]);
        changed.inputs = json!({"name": "a", "size": 2});
        let after = Graph::new([changed, desired("b", &["a"]), desired("e", &[])]).unwrap();
        let state = state_of(&before);
        let mut observed = observed_of(&state);
        observed.remove(&Address::new("thing", "b"));
        let plan = diff(&after, &state, &observed);
        assert_eq!(
            actions(&plan),
            [
                ("thing.d".to_owned(), Action::Delete),
                ("thing.c".to_owned(), Action::Delete),
                ("thing.a".to_owned(), Action::Update),
                ("thing.b".to_owned(), Action::Create),
                ("thing.e".to_owned(), Action::Create),
            ]
        );
        assert_eq!(plan.changes[2].reason, "changed: size");
        assert_eq!(plan.changes[3].reason, "it is gone");
    }

    #[test]
    fn an_unknown_price_makes_the_total_unknown() {
        let mut unknown = desired("a", &[]);
        unknown.monthly_usd = None;
        let graph = Graph::new([unknown, desired("b", &[])]).unwrap();
        let state = State { resources: BTreeMap::new(), ..state_of(&graph) };
        assert_eq!(diff(&graph, &state, &BTreeMap::new()).monthly_usd(), None);
    }

    #[test]
    fn destroying_takes_dependents_first() {
        let graph = Graph::new([desired("a", &[]), desired("b", &["a"])]).unwrap();
        let plan = destroy(&state_of(&graph));
        assert_eq!(actions(&plan), [("thing.b".to_owned(), Action::Delete), ("thing.a".to_owned(), Action::Delete)]);
    }
}
