//! What of a host spec is wanted (its inputs), and what changes by itself. Pure; the same wherever the host stands.

use serde_json::Value;
use spec::host::{Action, HostSpec, RunState};

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spec_is_made_from_its_inputs_again() {
        let wanted = json!({"deployment": "default", "host": "main", "weights": [], "files": [], "units": [],
            "first_token": []});
        let spec = from_inputs(&wanted, 7, Vec::new()).unwrap();
        assert_eq!((spec.generation, spec.run), (7, RunState::Running));
        assert_eq!(inputs(&spec).unwrap(), wanted);
    }
}
