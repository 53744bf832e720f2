//! What is wanted: resources and the edges between them, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The stable name of a resource in the graph, `kind.name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    pub fn new(kind: &str, name: &str) -> Self {
        Self(format!("{kind}.{name}"))
    }

    /// As it is written in inputs.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('.')?;
        (!kind.is_empty() && !name.is_empty()).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first dot.
    pub fn kind(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(kind, _)| kind)
    }

    /// The part after the first dot.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One managed thing as the spec asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    pub address: Address,
    /// What the provider makes it from; equal inputs mean that nothing is to be done. Free of secrets.
    pub inputs: Value,
    pub depends_on: BTreeSet<Address>,
    /// For the reader of a plan.
    pub summary: String,
    pub disk_bytes: u64,
    /// US dollars; none = unknown, never taken as zero.
    pub monthly_usd: Option<f64>,
    /// Ways to make it, the best first; empty = `inputs` alone. When the place of one has no capacity, the next is tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
}

/// One way to make a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// For the reader, e.g. `g6e.12xlarge in us-east-1a, on demand`.
    pub label: String,
    /// US dollars; none = unknown.
    pub monthly_usd: Option<f64>,
    /// Laid over [`Desired::inputs`].
    pub inputs: Map<String, Value>,
}

impl Desired {
    /// The inputs of each way to make it, the best first.
    pub fn variants(&self) -> Vec<Value> {
        if self.candidates.is_empty() {
            return vec![self.inputs.clone()];
        }
        self.candidates.iter().map(|candidate| overlaid(&self.inputs, &candidate.inputs)).collect()
    }

    /// The same resource with one candidate's inputs and price, and no other way to make it.
    pub fn with_candidate(&self, index: usize) -> Self {
        match self.candidates.get(index) {
            None => self.clone(),
            Some(candidate) => Self {
                inputs: overlaid(&self.inputs, &candidate.inputs),
                monthly_usd: candidate.monthly_usd,
                candidates: Vec::new(),
                ..self.clone()
            },
        }
    }
}

fn overlaid(inputs: &Value, over: &Map<String, Value>) -> Value {
    let mut inputs = inputs.clone();
    if let Some(fields) = inputs.as_object_mut() {
        fields.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    inputs
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("{0} is there twice")]
    Twice(Address),
    #[error("{of} depends on {on}, which is not in the graph")]
    Missing { of: Address, on: Address },
    #[error("{0} depends on itself, directly or through others")]
    Cycle(Address),
}

/// Desired resources, checked: no address twice, no dangling edge, no cycle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Graph {
    resources: BTreeMap<Address, Desired>,
}

/// A graph as it comes out of a file.
#[derive(Deserialize)]
struct Unchecked {
    resources: BTreeMap<Address, Desired>,
}

impl TryFrom<Unchecked> for Graph {
    type Error = GraphError;

    fn try_from(unchecked: Unchecked) -> Result<Self, GraphError> {
        Self::new(unchecked.resources.into_values())
    }
}

impl Graph {
    pub fn new(wanted: impl IntoIterator<Item = Desired>) -> Result<Self, GraphError> {
        let mut resources = BTreeMap::new();
        for desired in wanted {
            let address = desired.address.clone();
            if resources.insert(address.clone(), desired).is_some() {
                return Err(GraphError::Twice(address));
            }
        }
        let graph = Self { resources };
        graph.check_edges()?;
        let edges = graph.edges();
        order(&edges).map_err(GraphError::Cycle)?;
        Ok(graph)
    }

    pub fn get(&self, address: &Address) -> Option<&Desired> {
        self.resources.get(address)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Desired> {
        self.resources.values()
    }

    pub fn edges(&self) -> BTreeMap<Address, BTreeSet<Address>> {
        self.resources.values().map(|desired| (desired.address.clone(), desired.depends_on.clone())).collect()
    }

    fn check_edges(&self) -> Result<(), GraphError> {
        for desired in self.resources.values() {
            for on in &desired.depends_on {
                if !self.resources.contains_key(on) {
                    return Err(GraphError::Missing { of: desired.address.clone(), on: on.clone() });
                }
            }
        }
        Ok(())
    }
}

/// Addresses so that each comes after all it depends on; edges to what is not there do not count. Among equals, by name.
/// The error is an address on a cycle.
pub fn order(edges: &BTreeMap<Address, BTreeSet<Address>>) -> Result<Vec<Address>, Address> {
    let mut waits_for: BTreeMap<&Address, usize> = BTreeMap::new();
    let mut needed_by: BTreeMap<&Address, Vec<&Address>> = BTreeMap::new();
    for (address, depends_on) in edges {
        let known: Vec<&Address> = depends_on.iter().filter(|on| edges.contains_key(*on)).collect();
        waits_for.insert(address, known.len());
        for on in known {
            needed_by.entry(on).or_default().push(address);
        }
    }
    let mut free: BTreeSet<&Address> = waits_for.iter().filter(|(_, n)| **n == 0).map(|(a, _)| *a).collect();
    let mut ordered = Vec::with_capacity(edges.len());
    while let Some(address) = free.pop_first() {
        ordered.push(address.clone());
        waits_for.remove(address);
        for next in needed_by.get(address).into_iter().flatten() {
            if let Some(left) = waits_for.get_mut(*next) {
                *left -= 1;
                if *left == 0 {
                    free.insert(next);
                }
            }
        }
    }
    match waits_for.keys().next() {
        None => Ok(ordered),
        Some(stuck) => Err((*stuck).clone()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    pub fn desired(name: &str, depends_on: &[&str]) -> Desired {
        Desired {
            address: Address::new("thing", name),
            inputs: json!({ "name": name }),
            depends_on: depends_on.iter().map(|on| Address::new("thing", on)).collect(),
            summary: String::new(),
            disk_bytes: 0,
            monthly_usd: Some(0.0),
            candidates: Vec::new(),
        }
    }

    #[test]
    fn bad_graphs_are_refused_by_name() {
        let refused = |resources: Vec<Desired>| Graph::new(resources).unwrap_err().to_string();
        assert_eq!(refused(vec![desired("a", &[]), desired("a", &[])]), "thing.a is there twice");
        assert_eq!(refused(vec![desired("a", &["b"])]), "thing.a depends on thing.b, which is not in the graph");
        assert!(refused(vec![desired("a", &["b"]), desired("b", &["a"])]).contains("depends on itself"));
    }

    proptest! {
        #[test]
        fn everything_comes_after_what_it_depends_on(links in proptest::collection::vec((0usize..20, 0usize..20), 0..60)) {
            let resources = (0..20).map(|at| {
                let names: Vec<String> = links
                    .iter()
                    .filter(|(of, on)| *of == at && on < of)
                    .map(|(_, on)| format!("n{on}"))
                    .collect();
                desired(&format!("n{at}"), &names.iter().map(String::as_str).collect::<Vec<_>>())
            });
            let edges = Graph::new(resources).unwrap().edges();
            let ordered = order(&edges).unwrap();
            prop_assert_eq!(ordered.len(), 20);
            for (at, address) in ordered.iter().enumerate() {
                for on in &edges[address] {
                    prop_assert!(ordered[..at].contains(on));
                }
            }
        }
    }
}
