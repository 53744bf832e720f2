//! Journal and state of a deployment, with their one writer.

use jiff::Timestamp;
use serde_json::Value;

use crate::apply::{EngineError, Event};
use crate::graph::Address;
use crate::journal::Journal;
use crate::provider::Token;
use crate::settle::Spare;
use crate::state::{Resource, StateFile};

/// What is durable, with its one writer.
#[derive(Debug)]
pub struct Book {
    pub journal: Journal<Event>,
    pub state: StateFile,
    /// Tokens of intents that left nothing to be seen: the next create of the same inputs uses them again.
    pub spare: Vec<Spare>,
}

impl Book {
    pub async fn append(&mut self, event: Event) -> Result<(), EngineError> {
        self.journal.append(Timestamp::now(), event).await?;
        Ok(())
    }

    /// Takes in what an intent is known to have made. What stood at the address waits to be removed; what was overtaken by
    /// a later one does so itself.
    pub async fn adopt(&mut self, address: Address, resource: Resource, overtaken: bool) -> Result<(), EngineError> {
        let is_known = self.state.state().replaced.iter().any(|it| it.resource.remote_id == resource.remote_id);
        let current = self.state.state().resources.get(&address);
        match current {
            _ if is_known => {}
            Some(current) if current.remote_id == resource.remote_id && *current == resource => {}
            Some(current) if current.remote_id == resource.remote_id => self.state.put(address, resource).await?,
            _ if overtaken => self.state.set_aside(address, resource).await?,
            Some(_) => self.state.replace(address, resource).await?,
            None => self.state.put(address, resource).await?,
        }
        Ok(())
    }

    /// The token of an intent: a new one, or that of an earlier try at the very same thing which was never seen.
    pub fn token_for(&mut self, address: &Address, inputs: Option<&Value>) -> Token {
        let same = |spare: &Spare| spare.address == *address && Some(&spare.inputs) == inputs;
        match self.spare.iter().position(same) {
            Some(at) => self.spare.remove(at).token,
            None => new_token(),
        }
    }
}

pub fn new_token() -> Token {
    Token(format!("{:016x}", rand::random::<u64>()))
}
