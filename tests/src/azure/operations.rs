//! What goes on for a while: a caller asks again and again until it is over.
//!
//! A look at the operation or at the thing itself brings the end nearer, so that a caller that died and only asks for
//! the thing sees it come true as well.

use serde_json::{Value, json};

use super::ask::{Answer, Asked, Refusal};
use super::kinds::Style;
use super::place::{Place, key};
use super::world::{World, merge, written};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doing {
    Make,
    Change,
    Remove,
    RemoveGroup,
    /// What a machine's power is at the end.
    Power(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    InProgress,
    Succeeded,
    Failed(Refusal),
    Canceled(Refusal),
}

#[derive(Debug, Clone)]
pub(super) struct Operation {
    /// Of the thing or the group.
    pub about: String,
    pub doing: Doing,
    /// Looks that are left.
    looks: u32,
    /// What it ends with if not well.
    failure: Option<Refusal>,
    pub state: State,
    begun: jiff::Timestamp,
}

impl World {
    /// Begins an operation; gives its name.
    pub fn begin(&mut self, about: &str, doing: Doing, looks: u32, failure: Option<Refusal>) -> String {
        let name = self.uuid();
        let begun = jiff::Timestamp::now();
        let operation = Operation { about: about.to_owned(), doing, looks, failure, state: State::InProgress, begun };
        self.operations.insert(name.clone(), operation);
        if let Some(thing) = self.thing_mut(about) {
            thing.operation = Some(name.clone());
        }
        name
    }

    /// One look at an operation.
    pub fn look(&mut self, name: &str) {
        let Some(operation) = self.operations.get_mut(name) else { return };
        if operation.state != State::InProgress {
            return;
        }
        if operation.looks > 0 {
            operation.looks -= 1;
        } else {
            self.finish(name);
        }
    }

    /// Everything that goes on comes to its end.
    pub fn pass_time(&mut self) {
        let going = self.operations.iter().filter(|(_, operation)| operation.state == State::InProgress);
        let names: Vec<String> = going.map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.finish(name));
    }

    /// A later request came first.
    pub fn preempt(&mut self, name: &str) {
        let message = "Operation execution has been preempted by a more recent operation.";
        if let Some(operation) = self.operations.get_mut(name) {
            operation.state = State::Canceled(Refusal::new(409, "OperationPreempted", message));
        }
    }

    fn finish(&mut self, name: &str) {
        let Some(operation) = self.operations.get_mut(name) else { return };
        operation.state = operation.failure.clone().map_or(State::Succeeded, State::Failed);
        let operation = operation.clone();
        match operation.doing {
            Doing::Make | Doing::Change => self.settle(&operation),
            Doing::Remove => self.forget(&operation.about),
            Doing::RemoveGroup => self.forget_group(&operation.about),
            Doing::Power(power) => {
                self.settle(&operation);
                if let Some(thing) = self.thing_mut(&operation.about) {
                    thing.note["power"] = power.into();
                }
            }
        }
    }

    fn settle(&mut self, operation: &Operation) {
        let Some(thing) = self.thing_mut(&operation.about) else { return };
        thing.operation = None;
        let is_made = operation.failure.is_none();
        thing.body["properties"]["provisioningState"] = if is_made { "Succeeded" } else { "Failed" }.into();
        match &operation.failure {
            Some(failure) => thing.note["failure"] = failure.error(),
            None => merge(&mut thing.note, &json!({"failure": null, "doomed": null})),
        }
        if is_made && thing.note["power"].is_null() {
            thing.note["power"] = "running".into();
        }
    }
}

/// Where an operation is asked for its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// `Azure-AsyncOperation`: a state in JSON.
    Async,
    /// `Location`: 202 until it is over.
    Location,
}

pub(super) fn url(world: &World, style: Style, location: &str, name: &str, place: Where) -> String {
    let subscription = &world.settings.subscription;
    let (namespace, word, query) = match (style, place) {
        (Style::Machine | Style::Disk, Where::Async) => {
            ("Microsoft.Compute", "operations", "p=f8&t=1&api-version=2025-04-01")
        }
        (Style::Machine | Style::Disk, Where::Location) => {
            ("Microsoft.Compute", "operations", "p=f8&monitor=true&api-version=2025-04-01")
        }
        (Style::Network, Where::Async) => ("Microsoft.Network", "operations", "api-version=2025-05-01"),
        (Style::Network, Where::Location) => ("Microsoft.Network", "operationResults", "api-version=2025-05-01"),
        (Style::Account | Style::Direct(_), _) => {
            ("Microsoft.Storage", "asyncoperations", "monitor=true&api-version=2025-01-01")
        }
    };
    let origin = &world.origin;
    format!("{origin}/subscriptions/{subscription}/providers/{namespace}/locations/{location}/{word}/{name}?{query}")
}

/// Of a group.
pub(super) fn group_url(world: &World, name: &str) -> String {
    format!(
        "{}/subscriptions/{}/operationresults/{name}?api-version=2025-04-01",
        world.origin, world.settings.subscription
    )
}

/// The name of the operation that a path asks for.
pub(super) fn asked_for(asked: &Asked) -> Option<String> {
    let segments = asked.segments();
    let [.., word, name] = segments.as_slice() else { return None };
    let word = word.to_ascii_lowercase();
    ["operations", "operationresults", "asyncoperations"].contains(&word.as_str()).then(|| name.clone())
}

pub(super) fn poll(world: &mut World, asked: &Asked, name: &str) -> Result<Answer, Refusal> {
    world.look(name);
    let unknown = || Refusal::new(404, "NotFound", format!("The operation {name} was not found."));
    let operation = world.operations.get(name).ok_or_else(unknown)?.clone();
    let is_state = asked.path().to_ascii_lowercase().contains("/operations/") && asked.parameter("monitor").is_none();
    if is_state {
        return Ok(Answer::json(200, &state(name, &operation)).with("retry-after", "0"));
    }
    match operation.state {
        State::InProgress => {
            let url = format!("{}{}", world.origin, asked.target);
            Ok(Answer::empty(202).with("location", &url).with("retry-after", "0"))
        }
        State::Succeeded => Ok(over(world, &operation)),
        State::Failed(refusal) | State::Canceled(refusal) => Err(refusal),
    }
}

fn state(name: &str, operation: &Operation) -> Value {
    let begun = written(operation.begun);
    let mut state = json!({"name": name, "startTime": begun, "status": "InProgress"});
    let (status, error) = match &operation.state {
        State::InProgress => return state,
        State::Succeeded => ("Succeeded", Value::Null),
        State::Failed(refusal) => ("Failed", refusal.error()),
        State::Canceled(refusal) => ("Canceled", refusal.error()),
    };
    state["status"] = status.into();
    state["endTime"] = begun.into();
    if !error.is_null() {
        state["error"] = error;
    }
    state
}

fn over(world: &World, operation: &Operation) -> Answer {
    match (&operation.doing, world.thing(&operation.about)) {
        (Doing::Make | Doing::Change, Some(thing)) => Answer::json(200, &(thing.kind.view)(world, thing)),
        (Doing::RemoveGroup, _) => Answer::empty(200),
        _ => Answer::empty(204),
    }
}

/// What a thing is busy with, if with anything.
pub(super) fn of(world: &World, place: &Place, kind: &str) -> Option<(String, Operation)> {
    let thing = world.things.get(&key(&place.id(kind)))?;
    let name = thing.operation.clone()?;
    let operation = world.operations.get(&name)?.clone();
    Some((name, operation))
}
