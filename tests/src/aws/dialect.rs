//! How AWS names calls, refuses and answers; with what moto leaves out: the same `ClientToken` gives the same answer again,
//! machines and NAT gateways are pending for a while, what was just made may not show.
//!
//! ```text
//! forward -> moto, or overlay by service
//!              |
//!            once (client tokens)   world (pending and unseen, in EC2's answers)
//! ```

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Client;

pub use super::moto::Looks;
use super::moto::World;
use super::{Protocol, Refusal, Signed, is_mutating, protocol};
use crate::proxy::message::{Answer, Asked, field, pass_on};
use crate::proxy::{Dialect, Fault, Named, Proxy, lock};

#[derive(Debug)]
pub struct AwsDialect {
    client: Client,
    moto: String,
    /// Services that somebody else answers for.
    routes: BTreeMap<String, String>,
    world: Mutex<World>,
    /// EC2 answers of a test's own, by operation.
    answers: Mutex<BTreeMap<String, String>>,
    /// Held while a call with a token is made, so that its twin waits for the answer.
    replays: tokio::sync::Mutex<BTreeMap<[String; 3], Replay>>,
}

/// The first answer to a client token, and what was asked.
#[derive(Debug)]
struct Replay {
    parameters: Vec<(String, String)>,
    answer: Answer,
}

impl AwsDialect {
    /// Calls of some services go elsewhere: [`super::overlay::SERVICES`].
    pub fn new(moto_url: &str, services: &[&str], elsewhere: &str) -> Self {
        // Connections to moto are kept: a new one each would cost as much as the call.
        let client = Client::builder().no_proxy().build().expect("an HTTP client");
        let routes = services.iter().map(|service| ((*service).to_owned(), elsewhere.to_owned()));
        Self {
            client,
            moto: moto_url.to_owned(),
            routes: routes.collect(),
            world: Mutex::default(),
            answers: Mutex::default(),
            replays: tokio::sync::Mutex::default(),
        }
    }
}

impl Proxy<AwsDialect> {
    pub fn set_pending(&self, looks: Looks) {
        lock(&self.dialect().world).looks = looks;
    }

    /// EC2 answers an operation with this from now on; nothing is asked of moto.
    pub fn answer_with(&self, operation: &str, body: String) {
        lock(&self.dialect().answers).insert(operation.to_owned(), body);
    }
}

impl Dialect for AwsDialect {
    fn name(&self, asked: &Asked) -> Named {
        let asked = Signed::of(asked);
        let operation = asked.operation();
        Named {
            mutating: is_mutating(&operation),
            token: token(&asked),
            operation,
            service: asked.service,
            region: asked.region,
        }
    }

    fn refusal(&self, asked: &Asked, fault: &Fault) -> Option<Answer> {
        let service = Signed::of(asked).service;
        refusal(&service, fault).map(|refusal| refusal.answer(&service))
    }

    fn broken(&self, asked: &Asked, status: u16) -> Answer {
        let service = Signed::of(asked).service;
        let code = match protocol(&service) {
            Protocol::Query => "ServiceFailure",
            Protocol::Json => "InternalServerError",
            Protocol::Ec2 | Protocol::S3 => "InternalError",
        };
        Refusal::new(status, code, "An internal error has occurred").answer(&service)
    }

    fn forward<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Answer> {
        async move { self.ask(&Signed::of(asked)).await }.boxed()
    }

    fn hide(&self, asked: &Asked, answer: &Answer, looks: u32) {
        lock(&self.world).hide(&Signed::of(asked), answer, looks);
    }

    fn reset(&self) -> BoxFuture<'_, ()> {
        async {
            lock(&self.answers).clear();
            *lock(&self.world) = World::default();
            self.replays.lock().await.clear();
        }
        .boxed()
    }
}

/// What is said instead of doing it.
fn refusal(service: &str, fault: &Fault) -> Option<Refusal> {
    Some(match (fault, protocol(service)) {
        (Fault::Throttle { .. }, Protocol::Ec2) => Refusal::new(503, "RequestLimitExceeded", "Request limit exceeded."),
        (Fault::Throttle { .. }, Protocol::S3) => Refusal::new(503, "SlowDown", "Please reduce your request rate."),
        (Fault::Throttle { .. }, Protocol::Query) => Refusal::new(400, "Throttling", "Rate exceeded"),
        (Fault::Throttle { .. }, Protocol::Json) => Refusal::new(400, "ThrottlingException", "Rate exceeded"),
        (Fault::Capacity, _) => {
            let message = "We currently do not have sufficient capacity in the Availability Zone you requested.";
            Refusal::new(500, "InsufficientInstanceCapacity", message)
        }
        (Fault::Quota, _) => {
            let message = "You have requested more vCPU capacity than your current vCPU limit of 0 allows.";
            Refusal::new(400, "VcpuLimitExceeded", message)
        }
        (Fault::Denied, Protocol::Ec2) => {
            Refusal::new(403, "UnauthorizedOperation", "You are not authorized to perform this operation.")
        }
        (Fault::Denied, Protocol::Json) => Refusal::new(400, "AccessDeniedException", "User is not authorized."),
        (Fault::Denied, _) => Refusal::new(403, "AccessDenied", "Access Denied"),
        _ => return None,
    })
}

impl AwsDialect {
    async fn ask(&self, asked: &Signed) -> Answer {
        let is_ec2 = protocol(&asked.service) == Protocol::Ec2;
        if let Some(refusal) = lock(&self.world).refusal(asked) {
            return refusal.answer(&asked.service);
        }
        let scripted = lock(&self.answers).get(&asked.operation()).cloned();
        let mut answer = match scripted {
            Some(body) => Answer::new(200, "text/xml", body),
            None if is_ec2 => self.once(asked).await,
            None => self.send(asked).await,
        };
        if answer.is_success() && is_ec2 {
            lock(&self.world).change(asked, &mut answer);
        }
        answer
    }

    /// The same token and parameters have the same answer, as EC2 promises.
    async fn once(&self, asked: &Signed) -> Answer {
        let mut parameters = asked.form();
        let Some(token) = field(&parameters, "ClientToken").map(str::to_owned) else { return self.send(asked).await };
        parameters.retain(|(key, _)| key != "ClientToken");
        parameters.sort();
        let key = [asked.region.clone(), asked.operation(), token];
        let mut replays = self.replays.lock().await;
        if let Some(replay) = replays.get(&key) {
            return replay.again(&parameters, &lock(&self.world));
        }
        let answer = self.send(asked).await;
        if answer.is_success() {
            replays.insert(key, Replay { parameters, answer: answer.clone() });
        }
        answer
    }

    async fn send(&self, asked: &Signed) -> Answer {
        let base = self.routes.get(&asked.service).unwrap_or(&self.moto);
        let answered = pass_on(&self.client, base, asked).await;
        answered.unwrap_or_else(|error| Refusal::new(502, "MotoIsAway", error).answer(&asked.service))
    }
}

fn token(asked: &Signed) -> Option<String> {
    let form = asked.form();
    let of_tag = || {
        let (key, _) = form.iter().find(|(key, value)| key.ends_with(".Key") && value == "dsctl:token")?;
        field(&form, &format!("{}.Value", key.strip_suffix(".Key")?))
    };
    field(&form, "ClientToken").or_else(of_tag).map(str::to_owned)
}

impl Replay {
    fn again(&self, parameters: &[(String, String)], world: &World) -> Answer {
        let text = String::from_utf8_lossy(&self.answer.body);
        let refusal = if self.parameters != parameters {
            Refusal::new(400, "IdempotentParameterMismatch", "The token was used before, with other parameters.")
        } else if world.has_ended(&text) {
            Refusal::new(400, "IdempotentInstanceTerminated", "The instance of this token has been terminated.")
        } else {
            return self.answer.clone();
        };
        refusal.answer("ec2")
    }
}
