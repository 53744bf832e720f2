//! Operations: what was begun, how long it goes on, and how it ends.
//!
//! ```text
//! begin -> RUNNING -- so many looks at it or at its target --> DONE: made, changed, gone, or an error
//! ```

use std::fmt;

use serde_json::{Value, json};

use super::super::call::{Call, Refusal, Reply};
use super::super::failure::Failure;
use super::super::world::World;
use super::kind::{Kind, Scope, link, not_found};
use super::thing::Life;

/// What happens at the end.
pub(in crate::gcp) enum End {
    Made(Vec<String>),
    Changed(String, Box<dyn FnOnce(&mut Value) + Send>),
    Gone(Vec<String>),
    /// What was begun is taken back.
    Failed(Failure, Vec<String>),
    /// It was ended by something else.
    Over,
}

impl fmt::Debug for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Made(_) => "Made",
            Self::Changed(..) => "Changed",
            Self::Gone(_) => "Gone",
            Self::Failed(..) => "Failed",
            Self::Over => "Over",
        };
        formatter.write_str(name)
    }
}

#[derive(Debug)]
pub(in crate::gcp) struct Operation {
    body: Value,
    /// Looks that see it running still.
    left: u32,
    /// Paths that it is about; a look at one is a look at it.
    about: Vec<String>,
    end: End,
}

impl Operation {
    fn is_running(&self) -> bool {
        self.body["status"] != "DONE"
    }
}

impl World {
    /// Begins an operation of a call on a path, and gives what Google answers.
    pub fn begin(&mut self, call: &Call, target: &str, verb: &str, end: End) -> Value {
        let number = self.count();
        let id = self.id();
        let folder = folder(target);
        let name = format!("operation-{}-{number:013x}-{:08x}-00000000", self.now().as_millisecond(), number * 7919);
        let path = format!("{folder}/operations/{name}");
        let mut body = json!({
            "kind": "compute#operation", "id": id, "name": name, "operationType": verb, "status": "RUNNING",
            "targetLink": link(target), "user": "tests@example.com", "progress": 0, "selfLink": link(&path),
            "insertTime": self.local_time(), "startTime": self.local_time(),
        });
        if let Some(target) = self.things.get(target) {
            body["targetId"] = target.body["id"].clone();
        }
        for (scope, field) in [("/zones/", "zone"), ("/regions/", "region")] {
            if folder.contains(scope) {
                body[field] = json!(link(folder));
            }
        }
        if let Some(request) = call.query("requestId") {
            body["clientOperationId"] = json!(request);
        }
        let about = about(target, &end);
        let left = self.settings.looks.operation;
        self.operations.insert(path, Operation { body: body.clone(), left, about, end });
        body
    }

    /// The operations that go on at a path come nearer to their end.
    pub fn look(&mut self, target: &str) {
        let running =
            self.operations.iter().filter(|(_, it)| it.is_running() && it.about.iter().any(|at| at == target));
        let paths: Vec<String> = running.map(|(path, _)| path.clone()).collect();
        paths.iter().for_each(|path| self.look_at_operation(path));
    }

    fn look_at_operation(&mut self, path: &str) {
        let Some(operation) = self.operations.get_mut(path) else { return };
        match operation.left.checked_sub(1) {
            Some(left) => operation.left = left,
            None => self.finish(path),
        }
    }

    /// Ends it now.
    pub fn finish(&mut self, path: &str) {
        let Some(operation) = self.operations.get_mut(path).filter(|it| it.is_running()) else { return };
        let end = std::mem::replace(&mut operation.end, End::Over);
        let failure = if let End::Failed(failure, _) = &end { Some(failure.clone()) } else { None };
        match end {
            End::Made(paths) => paths.iter().for_each(|path| self.made(path)),
            End::Changed(path, change) => {
                if let Some(thing) = self.things.get_mut(&path) {
                    change(&mut thing.body);
                }
            }
            End::Gone(paths) | End::Failed(_, paths) => self.remove(&paths),
            End::Over => {}
        }
        self.close(path, failure.as_ref());
    }

    fn close(&mut self, path: &str, failure: Option<&Failure>) {
        let time = self.local_time();
        let Some(operation) = self.operations.get_mut(path) else { return };
        operation.body["status"] = json!("DONE");
        operation.body["progress"] = json!(100);
        operation.body["endTime"] = json!(time);
        if let Some(failure) = failure {
            operation.body["error"] = failure.error();
            operation.body["httpErrorStatusCode"] = json!(failure.status());
            operation.body["httpErrorMessage"] = json!(failure.status_text());
        }
    }

    /// What is being made at a path is given up, since somebody wants it away.
    pub fn overtake(&mut self, target: &str) {
        let making = |it: &Operation| matches!(&it.end, End::Made(paths) if paths.iter().any(|path| path == target));
        let paths: Vec<String> =
            self.operations.iter().filter(|(_, it)| making(it)).map(|(path, _)| path.clone()).collect();
        let failure =
            Failure::new("RESOURCE_OPERATION_CONFLICT", 409, format!("'{target}' was deleted while it was made"));
        for path in paths {
            self.close(&path, Some(&failure));
            self.operations.entry(path).and_modify(|operation| operation.end = End::Over);
        }
    }

    fn made(&mut self, path: &str) {
        let time = self.local_time();
        let Some(thing) = self.things.get_mut(path) else { return };
        thing.life = Life::Ready;
        match thing.kind.collection {
            "instances" => {
                thing.body["status"] = json!("RUNNING");
                thing.body["lastStartTimestamp"] = json!(time);
            }
            "disks" => thing.body["status"] = json!("READY"),
            _ => {}
        }
    }

    /// How the next operation of a method shall fail, if a test said so.
    pub fn armed_failure(&mut self, method: &str) -> Option<Failure> {
        let at = self.settings.failures.iter().position(|(of, left, _)| of == method && *left > 0)?;
        self.settings.failures[at].1 -= 1;
        Some(self.settings.failures[at].2.clone())
    }
}

/// Everything that changes while it goes on.
fn about(target: &str, end: &End) -> Vec<String> {
    let more = match end {
        End::Made(paths) | End::Gone(paths) | End::Failed(_, paths) => paths.clone(),
        End::Changed(..) | End::Over => Vec::new(),
    };
    let mut about = vec![target.to_owned()];
    about.extend(more.into_iter().filter(|path| path != target));
    about
}

/// `projects/P/zones/Z` of what lies there.
fn folder(path: &str) -> &str {
    let end = path.rmatch_indices('/').nth(1).map_or(path.len(), |(place, _)| place);
    &path[..end]
}

/// `globalOperations`, `regionOperations`, `zoneOperations`.
pub(super) fn answer(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (collection, verb) = call.act();
    let scope = match collection {
        "globalOperations" => Scope::Global,
        "regionOperations" => Scope::Region,
        _ => Scope::Zone,
    };
    let place = super::kind::Place::of(world, call)?;
    let path = format!("{}/operations/{}", place.folder(scope), call.path("operation"));
    match verb {
        "get" => world.look_at_operation(&path),
        // Google answers when it is done, or after two minutes.
        "wait" => world.finish(&path),
        _ => return Err(Refusal::unserved(call.method)),
    }
    let operation = world.operations.get(&path).ok_or_else(|| not_found(&path))?;
    Ok(Reply::Json(operation.body.clone()))
}

/// What an earlier call with the same request id began.
pub(super) fn repeated(world: &mut World, call: &Call) -> Result<Option<Reply>, Refusal> {
    let Some(request) = call.query("requestId") else { return Ok(None) };
    is_uuid(request)?;
    let key = (call.path("project").to_owned(), request.to_owned());
    let Some((asked, path)) = world.requests.get(&key).cloned() else { return Ok(None) };
    if asked != signature(call) {
        // What Google does is not written down anywhere; a client that does this has mixed its ids up.
        return Err(Refusal::invalid("requestId", &json!(request), "The request id was used for another request."));
    }
    world.look_at_operation(&path);
    Ok(world.operations.get(&path).map(|operation| Reply::Json(operation.body.clone())))
}

/// Keeps what a call began under its request id.
pub(super) fn remember(world: &mut World, call: &Call, reply: &Reply) {
    let (Some(request), Reply::Json(body)) = (call.query("requestId"), reply) else { return };
    if body["kind"] == "compute#operation" {
        let key = (call.path("project").to_owned(), request.to_owned());
        let path = super::kind::unlinked(super::super::call::text(&body["selfLink"])).to_owned();
        world.requests.insert(key, (signature(call), path));
    }
}

/// What a call is about, as far as a request id goes.
fn signature(call: &Call) -> String {
    let names = ["region", "zone", "network", "subnetwork", "router", "firewall", "instance", "disk", "resource"];
    let gaps: Vec<&str> = names.iter().map(|name| call.path(name)).collect();
    format!("{} {} {}", call.method, gaps.join("/"), call.text("name"))
}

fn is_uuid(text: &str) -> Result<(), Refusal> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let is_hex = text.bytes().all(|letter| letter == b'-' || letter.is_ascii_hexdigit());
    let is_zero = text.bytes().all(|letter| letter == b'-' || letter == b'0');
    if lengths == [8, 4, 4, 4, 12] && is_hex && !is_zero {
        return Ok(());
    }
    Err(Refusal::invalid("requestId", &json!(text), "Must be a UUID, and not the one of zeros."))
}

/// The answer to a change of something that is there.
pub(super) fn change(
    world: &mut World,
    call: &Call,
    (path, verb): (&str, &str),
    change: impl FnOnce(&mut Value) + Send + 'static,
) -> Reply {
    let end = match world.armed_failure(call.method) {
        Some(failure) => End::Failed(failure, Vec::new()),
        None => End::Changed(path.to_owned(), Box::new(change)),
    };
    Reply::Json(world.begin(call, path, verb, end))
}

/// The answer to an insert of what was put at the first of these paths.
pub(super) fn making(world: &mut World, call: &Call, paths: Vec<String>, failure: Option<Failure>) -> Reply {
    let target = paths.first().cloned().unwrap_or_default();
    let failure = failure.or_else(|| world.armed_failure(call.method));
    let end = match failure {
        Some(failure) => End::Failed(failure, paths),
        None => End::Made(paths),
    };
    Reply::Json(world.begin(call, &target, "insert", end))
}

/// Everything but instances: whether it may go, and its operation.
pub(super) fn delete(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    let place = super::kind::Place::of(world, call)?;
    let path = place.path(kind, call.path(kind.single));
    world.usable(&path)?;
    world.unused(&path)?;
    Ok(going(world, call, vec![path]))
}

pub(super) fn going(world: &mut World, call: &Call, paths: Vec<String>) -> Reply {
    let target = paths.first().cloned().unwrap_or_default();
    if let Some(failure) = world.armed_failure(call.method) {
        return Reply::Json(world.begin(call, &target, "delete", End::Failed(failure, Vec::new())));
    }
    for path in &paths {
        if let Some(thing) = world.things.get_mut(path) {
            thing.life = Life::Going;
            match thing.kind.collection {
                "instances" => thing.body["status"] = json!("STOPPING"),
                "disks" => thing.body["status"] = json!("DELETING"),
                _ => {}
            }
        }
    }
    Reply::Json(world.begin(call, &target, "delete", End::Gone(paths)))
}
