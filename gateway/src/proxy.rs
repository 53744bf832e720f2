//! A request as it comes in, and what it has to pass before it is sent: the key's limits, the guards; and its record.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};
use rollout::ports::Outcome;
use spec::openai::ErrorKind;

use crate::allowance::{Estimate, Permit};
use crate::answer::refusal;
use crate::body::RequestBody;
use crate::config::Settings;
use crate::entry::{Asked, Ended, Entry, Findings, Recorded};
use crate::guard::{self, Seen};
use crate::headers;
use crate::keys::ClientKey;
use crate::plane::DataPlane;
use crate::recorder::Unrecorded;
use crate::relay;
use crate::route::{Passed, route};

/// Of a text in a request, about: what counts is what the answer says.
const BYTES_A_TOKEN: u64 = 4;

/// Tokens that an answer is taken to have at the most if the request does not say.
const USUAL_TOKENS: u64 = 1024;

/// The outcome of a request that its key may not send.
const LIMITED: &str = "limited";

/// One of the API's calls that are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Embeddings,
}

impl Endpoint {
    /// The path here.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// The path below an upstream's base URL.
    pub const fn below_base(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
        }
    }
}

/// A request that was checked.
#[derive(Debug)]
pub struct ClientRequest {
    pub endpoint: Endpoint,
    pub caller: Caller,
    pub headers: HeaderMap,
    pub body: RequestBody,
}

/// Who asks.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    pub key: Option<ClientKey>,
    pub address: Option<SocketAddr>,
}

impl Caller {
    pub fn asking(&self, path: impl Into<String>) -> Asked {
        let client = self.address.map(|address| address.ip().to_canonical().to_string());
        Asked { path: path.into(), key: self.key.as_ref().map(|key| key.0.id.to_string()), client, ..Asked::default() }
    }
}

impl ClientRequest {
    /// The request's record; none if no audit log is kept.
    fn entry(&self, plane: &DataPlane, findings: &Findings) -> Option<Entry> {
        let recorder = plane.recorder.as_ref()?;
        let asked = self.caller.asking(self.endpoint.path());
        let asked = Asked { user: self.body.user.clone(), model: Some(self.body.model.clone()), ..asked };
        Some(Entry::begin(recorder, asked, Some(self.body.bytes()), findings.clone()))
    }

    /// What keeps a session with its variant.
    pub fn session(&self) -> Option<&[u8]> {
        let header = self.headers.get(&headers::SESSION).map(HeaderValue::as_bytes).filter(|value| !value.is_empty());
        header.or(self.body.user.as_deref().map(str::as_bytes))
    }
}

/// Answers a request that the guards let pass. With an audit log the answer says under which id it stands there.
pub async fn answer(plane: &Arc<DataPlane>, mut request: ClientRequest) -> Response {
    let settings = plane.settings();
    let seen = Seen { metrics: Arc::clone(&plane.metrics), findings: Findings::default() };
    let entry = request.entry(plane, &seen.findings);
    let id = entry.as_ref().and_then(|entry| HeaderValue::from_str(entry.id()).ok());
    let permit = match permit(plane, &settings, &request) {
        Ok(permit) => permit,
        Err(refused) => return turn_away(*refused, LIMITED, entry).await,
    };
    let screened = guard::screen(settings.guards.as_ref(), &seen, request.endpoint, &mut request.body);
    let mut response = match screened {
        Ok(guard) => route(plane, &settings, &request, Passed { guard, entry, permit, findings: seen.findings }).await,
        Err(refused) => turn_away(*refused, Outcome::Blocked.as_str(), entry).await,
    };
    if let Some(id) = id {
        response.headers_mut().insert(headers::REQUEST_ID.clone(), id);
    }
    response
}

/// An answer of the gateway's own, with its record.
pub async fn turn_away(response: Response, outcome: &'static str, entry: Option<Entry>) -> Response {
    let Some(mut entry) = entry else { return response };
    let status = Some(response.status().as_u16());
    entry.end(&Ended { status, outcome, variant: None, generation: None, usage: None, price: None });
    let mut response = match entry.settle().await {
        Ok(()) => response,
        Err(unrecorded) => keep_back(unrecorded),
    };
    response.extensions_mut().insert(Recorded);
    response
}

/// In place of an answer that has no record.
pub fn keep_back(unrecorded: Unrecorded) -> Response {
    let mut response = refusal(ErrorKind::Unavailable, unrecorded.to_string(), None, Some(relay::UNRECORDED));
    response.extensions_mut().insert(Recorded);
    response
}

/// Whether the key may send this now; none of a request that came by no key.
fn permit(
    plane: &DataPlane,
    settings: &Settings,
    request: &ClientRequest,
) -> Result<Option<Arc<Permit>>, Box<Response>> {
    let Some(ClientKey(known)) = &request.caller.key else { return Ok(None) };
    let body = &request.body;
    if !known.may_use(&body.model) {
        let message = format!("the API key may not use the model {:?}", body.model);
        return Err(Box::new(refusal(ErrorKind::NotFound, message, Some("model"), Some("model_not_found"))));
    }
    let prompt = body.bytes().len() as u64 / BYTES_A_TOKEN;
    let completion = match request.endpoint {
        Endpoint::Embeddings => 0,
        _ => body.max_tokens.unwrap_or(USUAL_TOKENS).saturating_mul(body.answers),
    };
    let prices = settings.upstreams.values().flatten().chain(&settings.spare);
    let prices = prices.filter_map(|upstream| upstream.price());
    plane.allowances.reserve(known, Estimate::of(prompt, completion, prices)).map(Some).map_err(|exceeded| {
        let mut response = refusal(ErrorKind::RateLimit, exceeded.to_string(), None, Some(exceeded.code()));
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(exceeded.wait()));
        Box::new(response)
    })
}
