//! Which change may begin when: a pure account of what waits for what.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Address, Graph};
use crate::plan::{Action, Change};
use crate::state::State;

/// The changes of a plan by their index, and what each still waits for.
#[derive(Debug)]
pub struct Schedule {
    waits: BTreeMap<usize, BTreeSet<usize>>,
}

impl Schedule {
    /// Deletes wait for the deletes of what stands on them; creates and updates for all deletes and for what they stand on.
    pub fn new(changes: &[Change], graph: &Graph, state: &State) -> Self {
        let acting = || changes.iter().enumerate().filter(|(_, change)| change.action != Action::NoOp);
        let index: BTreeMap<&Address, usize> = acting().map(|(at, change)| (&change.address, at)).collect();
        let deletes: BTreeSet<usize> =
            acting().filter(|(_, change)| change.action == Action::Delete).map(|(at, _)| at).collect();
        let waits = acting().map(|(at, change)| {
            let waits = match change.action {
                Action::Delete => dependents(&change.address, state, &index).intersection(&deletes).copied().collect(),
                _ => {
                    let on = graph.get(&change.address).map(|want| &want.depends_on).into_iter().flatten();
                    on.filter_map(|on| index.get(on).copied()).chain(deletes.iter().copied()).collect()
                }
            };
            (at, waits)
        });
        Self { waits: waits.collect() }
    }

    /// Takes the first change that waits for nothing.
    pub fn take_ready(&mut self) -> Option<usize> {
        let ready = self.waits.iter().find(|(_, waits)| waits.is_empty()).map(|(at, _)| *at)?;
        self.waits.remove(&ready);
        Some(ready)
    }

    /// A change is carried out: what waited for it waits no more.
    pub fn done(&mut self, at: usize) {
        for waits in self.waits.values_mut() {
            waits.remove(&at);
        }
    }

    /// Changes that have not begun.
    pub fn left(&self) -> usize {
        self.waits.len()
    }
}

fn dependents(address: &Address, state: &State, index: &BTreeMap<&Address, usize>) -> BTreeSet<usize> {
    let on_it = state.resources.iter().filter(|(_, resource)| resource.depends_on.contains(address));
    on_it.filter_map(|(dependent, _)| index.get(dependent).copied()).collect()
}
