//! Every request's way: the contract, the room of its service, the contract again.

use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::call::{Asked, Call, Media, Refusal, Reply};
use super::contract::{self, Found};
use super::storage::{upload, xml};
use super::world::{PROJECT_NUMBER, World};
use super::{compute, fields, iam, lock, project, storage};

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub world: Mutex<World>,
    /// Sentences about what was against the contract.
    pub violations: Mutex<Vec<String>>,
}

pub(super) async fn arrive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Some(asked) = Asked::read(request).await else { return StatusCode::BAD_REQUEST.into_response() };
    shared.answer(&asked)
}

impl Shared {
    fn answer(&self, asked: &Asked) -> Response {
        match contract::find(asked.verb.as_str(), &asked.path) {
            Some(found) => self.call(&found, asked),
            None if asked.path == "/token" => project::token(asked),
            None if contract::is_described(&asked.path) => {
                self.violated(400, "", vec![format!("{} {}: no document has it", asked.verb, asked.path)])
            }
            None => self.xml(asked),
        }
    }

    fn xml(&self, asked: &Asked) -> Response {
        let answered = xml::answer(&mut lock(&self.world), asked);
        let refusal = match answered {
            Ok(reply) => return reply.into_response(),
            Err(refusal) => refusal,
        };
        if refusal.is_unserved() {
            lock(&self.violations).push(refusal.message.clone());
        }
        xml::refused(&refusal)
    }

    fn call(&self, found: &Found, asked: &Asked) -> Response {
        let id = found.id();
        let (body, media) = match body(found, asked) {
            Ok(parts) => parts,
            Err(wrong) => return self.violated(400, id, vec![format!("{id}: {wrong}")]),
        };
        let wrong = found.wrong_request(&asked.query, body.as_ref());
        if !wrong.is_empty() {
            return self.violated(400, id, wrong);
        }
        let call = Call::new(found, asked, body.unwrap_or_default(), media);
        let answered = room(&mut lock(&self.world), &call);
        match answered {
            Ok(reply) => self.reply(found, &call, reply),
            Err(refusal) if refusal.is_unserved() => self.violated(501, id, vec![format!("{id}: {}", refusal.message)]),
            Err(refusal) => refusal.answer(id),
        }
    }

    fn reply(&self, found: &Found, call: &Call, mut reply: Reply) -> Response {
        if let Reply::Json(value) = &mut reply {
            let wrong = found.wrong_answer(Some(value));
            if !wrong.is_empty() {
                return self.violated(500, found.id(), wrong);
            }
            if let Some(wanted) = call.query("fields") {
                *value = fields::only(wanted, value);
            }
        }
        reply.into_response()
    }

    fn violated(&self, status: u16, method: &str, wrong: Vec<String>) -> Response {
        let refusal = Refusal::new(status, "invalid", wrong.join("; "));
        lock(&self.violations).extend(wrong);
        refusal.answer(method)
    }
}

/// JSON of a request, and the content that came with it.
fn body(found: &Found, asked: &Asked) -> Result<(Option<Value>, Option<Media>), String> {
    if asked.path.starts_with("/upload/") {
        return upload::parts(asked).map(|(told, media)| (Some(told), Some(media)));
    }
    if asked.body.is_empty() {
        return Ok((None, None));
    }
    let kind = asked.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if found.takes_body() && !kind.starts_with("application/json") {
        return Err(format!("body: {kind:?} is no JSON"));
    }
    let body = serde_json::from_slice(&asked.body).map_err(|error| format!("body: {error}"))?;
    // Clients that always send one send an empty one.
    let is_nothing = !found.takes_body() && body == json!({});
    Ok((Some(body).filter(|_| !is_nothing), None))
}

/// As Google says it of a service that the project never enabled.
fn is_enabled(world: &World, call: &Call) -> Result<(), Refusal> {
    let service = call.method.split('.').next().unwrap_or_default();
    if !world.settings.disabled.contains(service) {
        return Ok(());
    }
    let host = format!("{service}.googleapis.com");
    let message = format!(
        "API [{host}] has not been used in project {PROJECT_NUMBER} before or it is disabled. Enable it, then retry."
    );
    let detail = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
        "metadata": {"service": host, "consumer": format!("projects/{PROJECT_NUMBER}")},
    });
    Err(Refusal::new(403, "accessNotConfigured", message).with_detail(detail))
}

fn room(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    is_enabled(world, call)?;
    match call.method.split('.').next() {
        Some("compute") => compute::answer(world, call),
        Some("storage") => storage::answer(world, call),
        Some("iam") => iam::answer(world, call),
        Some("cloudresourcemanager") => project::answer(world, call),
        _ => Err(Refusal::unserved(call.method)),
    }
}
