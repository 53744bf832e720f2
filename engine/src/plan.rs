//! A plan is a value: the ordered changes that take what is to what is wanted, and the hash of what it was made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use spec::id::DeploymentName;

use crate::graph::{Address, Desired, Graph, order};
use crate::provider::{Observed, Verdict};
use crate::state::State;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    NoOp,
    Create,
    Update,
    /// A new one is made first; the old one goes when the new one has taken over.
    Replace,
    Delete,
}

impl Action {
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::NoOp => " ",
            Self::Create => "+",
            Self::Update => "~",
            Self::Replace => "+/-",
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
    /// Which candidate of the desired resource it is, where there are several: of a create the first to be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<usize>,
    pub disk_bytes: u64,
    pub monthly_usd: Option<f64>,
}

/// The value that apply carries out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub deployment: DeploymentName,
    /// Digest of the graph and the resources that it was made from.
    pub made_from: String,
    /// In an order in which they can be carried out; what stays is listed too.
    pub changes: Vec<Change>,
    /// What was replaced earlier and still waits to be removed: `retire` does it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retiring: Vec<Change>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.retiring.is_empty() && self.changes.iter().all(|change| change.action == Action::NoOp)
    }

    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().chain(&self.retiring).filter(|change| change.action == action).count()
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

/// How a resource gets from its inputs to others: the provider's `judge`.
pub type Judge<'a> = &'a dyn Fn(&Address, &Value, &Value) -> Verdict;

/// A change that can't be made while the deployment lives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {message}")]
pub struct Impossible {
    pub address: Address,
    pub message: String,
}

/// The changes from what was observed to what is desired. Deletes come first, dependents before what they stand on.
pub fn diff(graph: &Graph, state: &State, observed: &ObservedAll, judge: Judge<'_>) -> Result<Plan, Impossible> {
    let wanted = order(&graph.edges()).unwrap_or_default();
    let unwanted = deletion_order(state).into_iter().filter(|address| graph.get(address).is_none());
    let deletes = unwanted.map(|address| Ok(delete(state, &address, "no longer in the spec")));
    let kept = wanted.iter().filter_map(|address| graph.get(address)).map(|want| change(want, state, observed, judge));
    Ok(Plan {
        deployment: state.deployment.clone(),
        made_from: made_from(graph, state),
        changes: deletes.chain(kept).collect::<Result<_, _>>()?,
        retiring: retiring(state),
    })
}

/// The plan of all deletes.
pub fn destroy(state: &State) -> Plan {
    let changes = deletion_order(state).iter().map(|address| delete(state, address, "the deployment goes")).collect();
    let made_from = made_from(&Graph::default(), state);
    Plan { deployment: state.deployment.clone(), made_from, changes, retiring: retiring(state) }
}

fn deletion_order(state: &State) -> Vec<Address> {
    let edges = state.resources.iter().map(|(address, it)| (address.clone(), it.depends_on.clone())).collect();
    // A state can't hold a cycle, since a graph can't; by name if it does all the same, so that it can go away.
    let mut ordered = order(&edges).unwrap_or_else(|_| state.resources.keys().cloned().collect());
    ordered.reverse();
    ordered
}

/// What is to become of a resource, and as which of its candidates.
struct Decision {
    action: Action,
    reason: String,
    before: Option<Value>,
    candidate: usize,
}

fn change(want: &Desired, state: &State, observed: &ObservedAll, judge: Judge<'_>) -> Result<Change, Impossible> {
    let decision = match (state.resources.get(&want.address), observed.get(&want.address)) {
        (None, _) => Decision { action: Action::Create, reason: "new".to_owned(), before: None, candidate: 0 },
        (Some(_), None) => {
            Decision { action: Action::Create, reason: "it is gone".to_owned(), before: None, candidate: 0 }
        }
        (Some(_), Some(seen)) => compare(want, &seen.inputs, judge)?,
    };
    let chosen = want.with_candidate(decision.candidate);
    Ok(Change {
        address: want.address.clone(),
        action: decision.action,
        reason: decision.reason,
        summary: want.summary.clone(),
        before: decision.before,
        after: Some(chosen.inputs),
        candidate: (!want.candidates.is_empty()).then_some(decision.candidate),
        disk_bytes: want.disk_bytes,
        monthly_usd: chosen.monthly_usd,
    })
}

/// What is there is held against the candidate that it is nearest to: a machine in the second zone is as wanted as one in the first.
fn compare(want: &Desired, seen: &Value, judge: Judge<'_>) -> Result<Decision, Impossible> {
    let variants = want.variants();
    let differing: Vec<Vec<String>> = variants.iter().map(|variant| differing_keys(seen, variant)).collect();
    let candidate = (0..variants.len()).min_by_key(|at| differing[*at].len()).unwrap_or_default();
    let (Some(keys), Some(after)) = (differing.get(candidate), variants.get(candidate)) else {
        return Ok(Decision { action: Action::NoOp, reason: String::new(), before: None, candidate });
    };
    let changed = || format!("changed: {}", keys.join(", "));
    let verdict = if keys.is_empty() { Verdict::Same } else { judge(&want.address, seen, after) };
    let (action, reason, candidate) = match verdict {
        Verdict::Same => (Action::NoOp, "as wanted".to_owned(), candidate),
        Verdict::InPlace => (Action::Update, changed(), candidate),
        // The new one is tried for in the plan's order again.
        Verdict::Replace => (Action::Replace, changed(), 0),
        Verdict::Impossible(message) => return Err(Impossible { address: want.address.clone(), message }),
    };
    Ok(Decision { action, reason, before: Some(seen.clone()), candidate })
}

fn delete(state: &State, address: &Address, reason: &str) -> Change {
    let before = state.resources.get(address).map(|resource| resource.inputs.clone());
    removal(address, before, reason)
}

fn retiring(state: &State) -> Vec<Change> {
    let replaced = state.replaced.iter();
    replaced.map(|old| removal(&old.address, Some(old.resource.inputs.clone()), "replaced")).collect()
}

pub(crate) fn removal(address: &Address, before: Option<Value>, reason: &str) -> Change {
    Change {
        address: address.clone(),
        action: Action::Delete,
        reason: reason.to_owned(),
        summary: String::new(),
        before,
        after: None,
        candidate: None,
        disk_bytes: 0,
        monthly_usd: Some(0.0),
    }
}

/// Keys that differ, the outermost of each.
pub fn differing_keys(before: &Value, after: &Value) -> Vec<String> {
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

pub(crate) fn made_from(graph: &Graph, state: &State) -> String {
    // Only what there is counts: a fence against an earlier holder, or a lineage with nothing in it, makes no plan stale.
    let text = serde_json::json!({ "graph": graph, "resources": state.resources, "replaced": state.replaced });
    hex::encode(Sha256::digest(text.to_string()))
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
        State::of(deployment, "l".to_owned(), resources)
    }

    fn observed_of(state: &State) -> ObservedAll {
        state.resources.iter().map(|(a, r)| (a.clone(), Observed { inputs: r.inputs.clone() })).collect()
    }

    fn in_place(_: &Address, _: &Value, _: &Value) -> Verdict {
        Verdict::InPlace
    }

    fn diff(graph: &Graph, state: &State, observed: &ObservedAll) -> Plan {
        super::diff(graph, state, observed, &in_place).unwrap()
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
