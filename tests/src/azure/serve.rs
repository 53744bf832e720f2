//! From a connection to the world and back.
//!
//! ```text
//! arrive -> perform -> contract -> arm | blobs -> contract
//! ```

use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::ask::{Answer, Asked, Refusal};
use super::contract::{Contract, Matched};
use super::world::World;
use super::{actions, arm, blobs, check, operations, prices};
use crate::proxy::lock;

#[derive(Debug)]
pub(super) struct Shared {
    pub world: Mutex<World>,
    pub violations: Mutex<Vec<String>>,
}

/// What a request is, as far as it can be said before anything is done.
enum Sort<'a> {
    /// Of Microsoft's contract.
    Known(Matched<'a>),
    /// How far something is, under an address that an answer gave.
    Poll,
    Prices,
    /// What a machine wrote on its console.
    Console(String),
    Unknown,
}

impl Shared {
    pub fn new(origin: &str) -> Self {
        Self { world: Mutex::new(World::new(origin)), violations: Mutex::default() }
    }
}

pub(super) async fn arrive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Some(asked) = Asked::read(request).await else { return StatusCode::BAD_REQUEST.into_response() };
    shared.perform(&asked, &sort(&asked)).into_response()
}

/// Everything else is ARM's.
pub(super) fn is_blob(asked: &Asked) -> bool {
    let first = asked.segments().first().map(|part| part.to_ascii_lowercase()).unwrap_or_default();
    !["", "subscriptions", "providers", "api", "console"].contains(&first.as_str())
}

fn sort(asked: &Asked) -> Sort<'static> {
    let segments = asked.segments();
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["api", "retail", "prices"] => return Sort::Prices,
        ["console", machine, _] => return Sort::Console((*machine).to_owned()),
        _ => {}
    }
    let is_blob = is_blob(asked);
    if !is_blob && operations::asked_for(asked).is_some() {
        return Sort::Poll;
    }
    Contract::get().find(asked, is_blob).map_or(Sort::Unknown, Sort::Known)
}

/// As Microsoft's reference names it; `Operations_Get` asks how far something is.
pub(super) fn name(asked: &Asked) -> String {
    match &sort(asked) {
        Sort::Known(matched) => matched.operation.name.clone(),
        Sort::Poll => "Operations_Get".to_owned(),
        Sort::Prices => "RetailPrices_List".to_owned(),
        Sort::Console(_) => "Console_Get".to_owned(),
        Sort::Unknown => format!("{} {}", asked.method, asked.path()),
    }
}

impl Shared {
    /// One request, checked on its way in and out.
    fn perform(&self, asked: &Asked, sort: &Sort<'_>) -> Answer {
        let mut world = lock(&self.world);
        match sort {
            Sort::Prices => prices::answer(&world, asked),
            Sort::Console(machine) => actions::console_log(&world, machine),
            Sort::Poll => arm::answer(&mut world, asked),
            Sort::Unknown => self.violated(asked, vec!["there is no such operation".to_owned()]),
            Sort::Known(matched) => self.checked(&mut world, asked, matched),
        }
    }

    fn checked(&self, world: &mut World, asked: &Asked, matched: &Matched<'_>) -> Answer {
        let wrong = check::request(asked, matched);
        if !wrong.is_empty() {
            return self.violated(asked, wrong);
        }
        let operation = matched.operation;
        let answer =
            if operation.is_blob { blobs::answer(world, asked, &operation.name) } else { arm::answer(world, asked) };
        let mut wrong = check::answer(&answer, &asked.method, operation);
        if answer.status == 501 {
            wrong.push(format!("the fake does not serve {}", operation.name));
        }
        if !wrong.is_empty() {
            self.violated(asked, wrong);
        }
        answer
    }

    /// The request is refused, and the test that made it fails in the end.
    fn violated(&self, asked: &Asked, wrong: Vec<String>) -> Answer {
        let told = wrong.join("; ");
        lock(&self.violations).push(format!("{} {}: {told}", asked.method, asked.target));
        Refusal::new(400, "ContractViolated", told).answer(is_blob(asked), &asked.method)
    }
}
