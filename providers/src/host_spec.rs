//! What of a host spec is wanted (its inputs), and what changes by itself. Pure; the same wherever the host stands.

use engine::graph::Address;
use engine::provider::ProviderError;
use serde_json::{Value, json};
use spec::action::{Action, asking, without_limits};
use spec::host::{HostSpec, RunState};
use spec::id::HostName;
use spec::layout::BucketLayout;

/// Beside the inputs of an update: an action that is asked for once, and not recorded.
pub const ASK: &str = "ask";

/// A host spec's inputs are the spec less what changes by itself: generation, actions, whether it runs.
pub fn inputs(spec: &HostSpec) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(spec)?;
    if let Some(fields) = value.as_object_mut() {
        for field in ["generation", "actions", "run"] {
            fields.remove(field);
        }
    }
    Ok(value)
}

/// The running spec of these inputs; `actions` are those that the spec before it asked for.
pub fn from_inputs(inputs: &Value, generation: u64, actions: Vec<Action>) -> Result<HostSpec, serde_json::Error> {
    let mut value = inputs.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("generation".to_owned(), generation.into());
        fields.insert("actions".to_owned(), serde_json::to_value(actions)?);
        fields.insert("run".to_owned(), serde_json::to_value(RunState::Running)?);
    }
    serde_json::from_value(value)
}

/// Of the object that a host reads its spec from.
pub fn key(address: &Address) -> Result<String, ProviderError> {
    let host: HostName = address.name().parse().map_err(|error| ProviderError::permanent(address, error))?;
    Ok(BucketLayout::desired_key(&host))
}

/// Whether what lies there is what is wanted, and what is asked for was asked already. A spec that says "stopped" is what an
/// interrupted `down` left: not what a running deployment wants.
pub fn is_wanted(spec: &HostSpec, host: &Value, ask: Option<&Action>) -> Result<bool, serde_json::Error> {
    let is_asked = ask.is_none_or(|ask| spec.actions.iter().any(|action| action.id == ask.id));
    Ok(spec.run == RunState::Running && is_asked && inputs(spec)? == *host)
}

/// As the inputs of a host spec in a bucket.
pub fn observed(spec: &HostSpec, bucket: &Value) -> Result<Value, serde_json::Error> {
    let mut seen = json!({ "bucket": bucket, "host": inputs(spec)? });
    if spec.run != RunState::Running {
        seen["run"] = serde_json::to_value(spec.run)?;
    }
    Ok(seen)
}

/// The next one after what is there, as it is written.
pub fn following(host: &Value, ask: Option<&Action>, stored: Option<&HostSpec>) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec_pretty(&next(host, ask, stored)?)
}

/// What a host spec says anew of its daemons is in force: limits that were asked for before end with it.
pub fn next(host: &Value, ask: Option<&Action>, stored: Option<&HostSpec>) -> Result<HostSpec, serde_json::Error> {
    let (generation, mut actions) = stored.map_or((0, Vec::new()), |spec| (spec.generation, spec.actions.clone()));
    let is_other = match stored {
        Some(spec) => inputs(spec)? != *host,
        None => false,
    };
    if is_other {
        actions = without_limits(actions);
    }
    if let Some(ask) = ask {
        actions = asking(actions, ask);
    }
    from_inputs(host, generation + 1, actions)
}

#[cfg(test)]
mod tests {
    use spec::action::{Act, DaemonLimits};

    use super::*;

    fn host() -> Value {
        json!({"deployment": "default", "host": "main", "weights": [], "files": [], "units": [], "first_token": []})
    }

    #[test]
    fn the_generation_goes_up_and_actions_stay() {
        let first = next(&host(), None, None).unwrap();
        assert_eq!(first.generation, 1);
        let action = Action { id: "a".to_owned(), act: Act::Restart("dsserve".parse().unwrap()) };
        let asked = HostSpec { actions: vec![action], ..first };
        let second = next(&host(), None, Some(&asked)).unwrap();
        assert_eq!((second.generation, &second.actions), (2, &asked.actions));
        let written: HostSpec = serde_json::from_slice(&following(&host(), None, Some(&asked)).unwrap()).unwrap();
        assert_eq!(written.generation, 2);
    }

    #[test]
    fn what_is_asked_for_is_written_once_and_limits_end_with_the_spec_that_they_were_for() {
        let first = next(&host(), None, None).unwrap();
        let limits = DaemonLimits { unit: "dsserve".parse().unwrap(), context: Some(512), max_sequences: None };
        let limit = Action { id: "a".to_owned(), act: Act::Limit(limits) };
        assert!(!is_wanted(&first, &host(), Some(&limit)).unwrap());
        let limited = next(&host(), Some(&limit), Some(&first)).unwrap();
        assert!(is_wanted(&limited, &host(), Some(&limit)).unwrap());
        assert_eq!(next(&host(), None, Some(&limited)).unwrap().actions, [limit]);
        let mut other = host();
        other["files"] = json!([{"name": "a", "content": "b"}]);
        assert_eq!(next(&other, None, Some(&limited)).unwrap().actions, []);
    }

    #[test]
    fn a_spec_that_an_interrupted_down_left_differs() {
        let running = next(&host(), None, None).unwrap();
        assert!(is_wanted(&running, &host(), None).unwrap());
        let bucket = json!("bucket.main");
        assert_eq!(observed(&running, &bucket).unwrap(), json!({"bucket": "bucket.main", "host": host()}));
        let stopped = HostSpec { run: RunState::Stopped, ..running };
        assert!(!is_wanted(&stopped, &host(), None).unwrap());
        assert_eq!(observed(&stopped, &bucket).unwrap()["run"], "stopped");
    }

    #[test]
    fn the_key_is_where_the_host_looks() {
        assert_eq!(key(&Address::new("host-spec", "main")).unwrap(), "host/main/desired.json");
        assert!(key(&Address::new("host-spec", "../x")).is_err());
    }

    #[test]
    fn a_spec_is_made_from_its_inputs_again() {
        let spec = from_inputs(&host(), 7, Vec::new()).unwrap();
        assert_eq!((spec.generation, spec.run), (7, RunState::Running));
        assert_eq!(inputs(&spec).unwrap(), host());
    }
}
