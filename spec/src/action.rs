//! What a host is asked to do once, beside what it must have; and what of it stays in force afterwards. Pure.
//!
//! ```text
//! dsctl host … -> Action in desired.json -> the agent carries it out once -> ActionOutcome in status.json
//! ```
//! A drain stays in force until the unit is restarted, limits until others are asked for or `dsctl up` changes the host: both are
//! read off the list of actions, so that an agent that starts anew knows them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::host::{Arg, HostSpec, Phase, UnitSpec};
use crate::id::UnitName;

/// Of dsserve: tokens that a sequence may have.
pub const CONTEXT_FLAG: &str = "--context";
/// Tokens that dsserve lets a sequence have if nothing is said, unless the model has fewer.
const DEFAULT_CONTEXT: u32 = 4096;
/// Of dsserve: sequences generated at once.
pub const MAX_SEQUENCES_FLAG: &str = "--max-sequences";
/// Actions that a host spec carries; older ones that are over and leave nothing in force are taken out.
const KEPT: usize = 20;

/// A one-time act on the host; its outcome comes back under the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    pub id: String,
    pub act: Act,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Stop a unit politely and start it again; ends a drain.
    Restart(UnitName),
    /// Let a unit finish what it has, then stop it; it stays down until it is restarted.
    Drain(UnitName),
    /// Run a daemon with other limits than the host spec's.
    Limit(DaemonLimits),
    /// Take up the keys of clients as they lie in the bucket now.
    TakeKeys,
    /// Collect what somebody needs to see what is wrong, without secrets.
    Diagnostics,
}

/// Of one daemon; none = as the host spec has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonLimits {
    pub unit: UnitName,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sequences: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionOutcome {
    pub id: String,
    pub at: Timestamp,
    pub result: Result<String, String>,
}

impl Act {
    /// The unit that it is about.
    pub fn unit(&self) -> Option<&UnitName> {
        match self {
            Self::Restart(unit) | Self::Drain(unit) => Some(unit),
            Self::Limit(limits) => Some(&limits.unit),
            Self::TakeKeys | Self::Diagnostics => None,
        }
    }
}

/// What is in force by actions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub drained: BTreeSet<UnitName>,
    pub limits: BTreeMap<UnitName, DaemonLimits>,
}

impl Standing {
    /// The last word on each unit counts; what failed is not in force.
    pub fn of(actions: &[Action], outcomes: &[ActionOutcome]) -> Self {
        let failed = |id: &str| outcomes.iter().any(|outcome| outcome.id == id && outcome.result.is_err());
        let mut standing = Self::default();
        for action in actions.iter().filter(|action| !failed(&action.id)) {
            match &action.act {
                Act::Restart(unit) => {
                    standing.drained.remove(unit);
                }
                Act::Drain(unit) => {
                    standing.drained.insert(unit.clone());
                }
                Act::Limit(limits) => {
                    standing.limits.insert(limits.unit.clone(), limits.clone());
                }
                Act::TakeKeys | Act::Diagnostics => {}
            }
        }
        standing
    }

    /// A host spec as it is in force.
    pub fn apply(&self, spec: &HostSpec) -> HostSpec {
        let unit = |unit: &UnitSpec| UnitSpec { args: self.args(unit), ..unit.clone() };
        HostSpec { units: spec.units.iter().map(unit).collect(), ..spec.clone() }
    }

    /// A unit's command line with its limits in it.
    pub fn args(&self, unit: &UnitSpec) -> Vec<Arg> {
        let limits = self.limits.get(&unit.name).filter(|_| is_daemon(unit));
        let Some(limits) = limits else { return unit.args.clone() };
        let flags = [(CONTEXT_FLAG, limits.context), (MAX_SEQUENCES_FLAG, limits.max_sequences)];
        let given = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        given.fold(unit.args.clone(), |args, (flag, value)| with_flag(args, flag, value))
    }
}

/// Tokens that a sequence of a daemon may have, as a host spec says; of one that it says nothing of, the daemon's own default.
pub fn context_of(spec: &HostSpec, unit: &UnitName) -> Option<u32> {
    let unit = spec.units.iter().find(|it| it.name == *unit).filter(|unit| is_daemon(unit))?;
    match unit.args.iter().position(|arg| matches!(arg, Arg::Text(word) if word == CONTEXT_FLAG)) {
        None => Some(DEFAULT_CONTEXT),
        Some(at) => match unit.args.get(at + 1) {
            Some(Arg::Text(value)) => value.parse().ok(),
            _ => None,
        },
    }
}

/// Whether limits mean anything to it.
pub fn is_daemon(unit: &UnitSpec) -> bool {
    matches!(unit.phase, Phase::Daemon | Phase::BaselineDaemon)
}

fn with_flag(mut args: Vec<Arg>, flag: &str, value: u32) -> Vec<Arg> {
    let value = Arg::Text(value.to_string());
    match args.iter().position(|arg| matches!(arg, Arg::Text(word) if word == flag)) {
        Some(at) if at + 1 < args.len() => args[at + 1] = value,
        _ => args.extend([Arg::Text(flag.to_owned()), value]),
    }
    args
}

/// The list with one more; the same id asks for nothing new.
#[must_use]
pub fn asking(mut actions: Vec<Action>, asked: &Action) -> Vec<Action> {
    if actions.iter().any(|action| action.id == asked.id) {
        return actions;
    }
    actions.push(asked.clone());
    while actions.len() > KEPT {
        let Some(over) = first_that_is_over(&actions) else { break };
        actions.remove(over);
    }
    actions
}

/// The first without which the same is in force.
fn first_that_is_over(actions: &[Action]) -> Option<usize> {
    let now = Standing::of(actions, &[]);
    (0..actions.len()).find(|at| {
        let others: Vec<Action> =
            actions.iter().enumerate().filter(|(i, _)| i != at).map(|(_, it)| it.clone()).collect();
        Standing::of(&others, &[]) == now
    })
}

/// The list without limits: for a host spec that says itself how its daemons run.
#[must_use]
pub fn without_limits(mut actions: Vec<Action>) -> Vec<Action> {
    actions.retain(|action| !matches!(action.act, Act::Limit(_)));
    actions
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amount::Span;
    use crate::host::{ArtifactSpec, Program};

    fn name(unit: &str) -> UnitName {
        unit.parse().unwrap()
    }

    fn action(id: &str, act: Act) -> Action {
        Action { id: id.to_owned(), act }
    }

    fn limit(unit: &str, context: Option<u32>) -> Act {
        Act::Limit(DaemonLimits { unit: name(unit), context, max_sequences: None })
    }

    fn unit(args: &[&str]) -> UnitSpec {
        UnitSpec {
            name: name("a"),
            program: Program::Artifact(ArtifactSpec { name: "a".to_owned(), sha256: "0".repeat(64).parse().unwrap() }),
            args: args.iter().map(|word| Arg::Text((*word).to_owned())).collect(),
            secrets: Vec::new(),
            env: BTreeMap::new(),
            ports: Vec::new(),
            ready_url: String::new(),
            stop_grace: Span::seconds(1),
            phase: Phase::Daemon,
        }
    }

    fn failed(id: &str) -> ActionOutcome {
        ActionOutcome { id: id.to_owned(), at: Timestamp::UNIX_EPOCH, result: Err("no".to_owned()) }
    }

    #[test]
    fn the_context_in_force_is_what_was_asked_for_last_and_of_a_daemon_alone() {
        let host = |args: &[&str]| -> HostSpec {
            let mut host: HostSpec = serde_json::from_value(serde_json::json!({"deployment": "d", "host": "local",
                "generation": 1, "run": "running", "weights": [], "files": [], "units": [], "first_token": []}))
            .unwrap();
            host.units.push(unit(args));
            host
        };
        let daemon = name("a");
        assert_eq!(context_of(&host(&["--context", "8192"]), &daemon), Some(8192));
        assert_eq!(context_of(&host(&[]), &daemon), Some(4096));
        assert_eq!(context_of(&host(&["--context"]), &daemon), None);
        assert_eq!(context_of(&host(&[]), &name("dsgate")), None);
        let halved = Standing::of(&[action("1", limit("a", Some(512)))], &[]);
        assert_eq!(context_of(&halved.apply(&host(&["--context", "8192"])), &daemon), Some(512));
    }

    #[test]
    fn a_drain_is_in_force_until_a_restart() {
        let mut actions = vec![action("1", Act::Drain(name("a"))), action("2", Act::Drain(name("b")))];
        assert_eq!(Standing::of(&actions, &[]).drained, [name("a"), name("b")].into());
        actions.push(action("3", Act::Restart(name("a"))));
        assert_eq!(Standing::of(&actions, &[]).drained, [name("b")].into());
    }

    #[test]
    fn the_last_limits_that_did_not_fail_are_in_force() {
        let actions = [action("1", limit("a", Some(512))), action("2", limit("a", Some(9)))];
        let args = |outcomes: &[ActionOutcome]| Standing::of(&actions, outcomes).args(&unit(&["--context", "4096"]));
        assert_eq!(args(&[]), unit(&["--context", "9"]).args);
        assert_eq!(args(&[failed("2")]), unit(&["--context", "512"]).args);
        assert_eq!(args(&[failed("1"), failed("2")]), unit(&["--context", "4096"]).args);
        let back = [action("1", limit("a", Some(512))), action("2", limit("a", None))];
        assert_eq!(Standing::of(&back, &[]).args(&unit(&["--x"])), unit(&["--x"]).args);
        assert_eq!(Standing::of(&actions, &[]).args(&unit(&["--x"])), unit(&["--x", "--context", "9"]).args);
    }

    fn acts() -> impl Strategy<Value = Act> {
        prop_oneof![
            "[ab]".prop_map(|unit| Act::Restart(name(&unit))),
            "[ab]".prop_map(|unit| Act::Drain(name(&unit))),
            ("[ab]", proptest::option::of(1u32..9)).prop_map(|(unit, context)| limit(&unit, context)),
            Just(Act::Diagnostics),
        ]
    }

    proptest! {
        /// However long the list gets, what is in force is what it was, and the newest is there to be carried out.
        #[test]
        fn what_is_taken_out_of_the_list_leaves_the_same_in_force(acts in proptest::collection::vec(acts(), 1..80)) {
            let (mut kept, mut all) = (Vec::new(), Vec::new());
            for (at, act) in acts.into_iter().enumerate() {
                let asked = action(&at.to_string(), act);
                all.push(asked.clone());
                kept = asking(kept, &asked);
                prop_assert_eq!(kept.last(), Some(&asked));
                prop_assert!(kept.len() <= KEPT);
                prop_assert_eq!(Standing::of(&kept, &[]), Standing::of(&all, &[]));
                prop_assert_eq!(asking(kept.clone(), &asked), kept.clone());
            }
        }
    }
}
