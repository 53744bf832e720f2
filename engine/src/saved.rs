//! A plan in a file: exactly what `up FILE` will do, or refuse to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::graph::Graph;
use crate::plan::Plan;

const FORMAT: u32 = 1;

/// What a plan file holds. Free of secrets, as plans are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    pub format: u32,
    pub created_at: Timestamp,
    /// Version of the program that made it.
    pub program: String,
    /// The deployment as it was written, for whoever carries the plan out.
    pub deployment: Value,
    pub graph: Graph,
    pub plan: Plan,
}

#[derive(Debug, thiserror::Error)]
pub enum SavedPlanError {
    #[error("not a plan of dsctl: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("the plan was changed after it was saved")]
    Changed,
    #[error("format {found} is newer than this dsctl knows ({FORMAT}); use the dsctl that wrote it")]
    Newer { found: u32 },
}

/// The file: the plan and its digest, so that nobody changes one by hand unnoticed.
#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    sha256: String,
    saved: Value,
}

impl SavedPlan {
    pub fn new(created_at: Timestamp, program: &str, deployment: Value, graph: Graph, plan: Plan) -> Self {
        Self { format: FORMAT, created_at, program: program.to_owned(), deployment, graph, plan }
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>, SavedPlanError> {
        let saved = serde_json::to_value(self)?;
        Ok(serde_json::to_vec_pretty(&File { format: FORMAT, sha256: digest(&saved), saved })?)
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, SavedPlanError> {
        let file: Value = serde_json::from_slice(bytes)?;
        if let Some(found) = file["format"].as_u64().and_then(|found| u32::try_from(found).ok())
            && found > FORMAT
        {
            return Err(SavedPlanError::Newer { found });
        }
        let file: File = serde_json::from_value(file)?;
        if digest(&file.saved) != file.sha256 {
            return Err(SavedPlanError::Changed);
        }
        Ok(serde_json::from_value(file.saved)?)
    }
}

fn digest(saved: &Value) -> String {
    hex::encode(Sha256::digest(saved.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::graph::tests::desired;
    use crate::provider::Verdict;
    use crate::state::State;

    fn saved() -> SavedPlan {
        let graph = Graph::new([desired("a", &[]), desired("b", &["a"])]).unwrap();
        let state = State::of("default".parse().unwrap(), "l".to_owned(), BTreeMap::new());
        let plan = crate::plan::diff(&graph, &state, &BTreeMap::new(), &|_, _, _| Verdict::InPlace).unwrap();
        SavedPlan::new(Timestamp::UNIX_EPOCH, "0.1.0", json!({"name": "default"}), graph, plan)
    }

    #[test]
    fn it_reads_back_as_it_was() {
        assert_eq!(SavedPlan::parse(&saved().to_bytes().unwrap()).unwrap(), saved());
    }

    #[test]
    fn a_changed_newer_or_other_file_is_refused() {
        let text = String::from_utf8(saved().to_bytes().unwrap()).unwrap();
        let changed = text.replacen("thing.b", "thing.c", 1);
        assert!(matches!(SavedPlan::parse(changed.as_bytes()), Err(SavedPlanError::Changed)));
        let newer = text.replacen("\"format\": 1", "\"format\": 9", 1);
        assert!(matches!(SavedPlan::parse(newer.as_bytes()), Err(SavedPlanError::Newer { found: 9 })));
        for other in ["", "{}", "[1]", "name: default"] {
            assert!(matches!(SavedPlan::parse(other.as_bytes()), Err(SavedPlanError::Unreadable(_))), "{other}");
        }
    }
}
