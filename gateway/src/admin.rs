//! The API that `dsctl` uses; its calls and shapes are those of `spec::route`. The signs of life are here too: whoever
//! watches this machine from itself needs no certificate for them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use http::StatusCode;
use rollout::ControllerError;
use serde::de::DeserializeOwned;
use spec::openai::ErrorKind;
use spec::rollout::RolloutSpec;
use spec::route::RouteTableChange;

use crate::answer::{self, refusal, refusal_with};
use crate::carrier::{CarrierError, Move};
use crate::control::{Control, ReloadError};
use crate::table::TableError;
use crate::{page, public};

/// More than any change or rollout needs.
const BODY_BYTES: u64 = 1 << 20;

pub fn router(control: Arc<Control>) -> Router {
    let moved = |to: Move| {
        post(move |State(control): State<Arc<Control>>| async move {
            let report = whole(async move { control.carrier.make(to).await }).await;
            answered(StatusCode::OK, report)
        })
    };
    Router::new()
        .route("/admin/status", get(status))
        .route("/admin/route-table", put(change_table))
        .route("/admin/reload", post(reload))
        .route("/admin/rollout", get(report).post(start))
        .route("/admin/rollout/pause", moved(Move::Pause))
        .route("/admin/rollout/resume", moved(Move::Resume))
        .route("/admin/rollout/approve", moved(Move::Approve))
        .route("/admin/rollout/abort", moved(Move::Abort))
        .route("/admin/rollout/undo", moved(Move::Undo))
        .route("/admin/rollout/history", get(history))
        .route("/admin/rollout/trail", get(trail))
        .fallback(answer::unknown_path)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&control), require_token))
        .merge(public::signs(Arc::clone(&control.plane)))
        .merge(page::router())
        .with_state(control)
}

async fn require_token(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let admission = control.plane.settings().admin_token.admit(request.headers());
    if let Some(refused) = answer::unauthorized(admission, "admin token") {
        return refused;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    if method.is_safe() {
        tracing::debug!(%method, path, status, "admin");
    } else {
        tracing::info!(%method, path, status, "admin");
    }
    response
}

async fn status(State(control): State<Arc<Control>>) -> Response {
    answer::json(StatusCode::OK, &control.status())
}

async fn change_table(State(control): State<Arc<Control>>, request: Request) -> Response {
    let change: RouteTableChange = match read(request).await {
        Ok(change) => change,
        Err(refused) => return refused,
    };
    answered(StatusCode::OK, whole(async move { control.carrier.change_table(&change).await }).await)
}

async fn reload(State(control): State<Arc<Control>>) -> Response {
    let reloading = Arc::clone(&control);
    match whole(async move { reloading.reload().await }).await {
        Ok(()) => answer::json(StatusCode::OK, &control.status()),
        Err(error @ (ReloadError::Config(_) | ReloadError::Field { source: CarrierError::Owned, .. })) => refusal_with(
            StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::InvalidRequest,
            crate::describe(&error),
            None,
            Some("config_refused"),
        ),
        Err(error @ ReloadError::Field { .. }) => refusal(ErrorKind::Server, crate::describe(&error), None, None),
    }
}

async fn start(State(control): State<Arc<Control>>, request: Request) -> Response {
    let spec: RolloutSpec = match read(request).await {
        Ok(spec) => spec,
        Err(refused) => return refused,
    };
    if let Err(error) = spec.validate() {
        return refusal(ErrorKind::InvalidRequest, error.to_string(), None, None);
    }
    answered(StatusCode::CREATED, whole(async move { control.carrier.start(spec).await }).await)
}

async fn report(State(control): State<Arc<Control>>) -> Response {
    match control.carrier.last_report().await {
        Ok(Some(report)) => answer::json(StatusCode::OK, &report),
        Ok(None) => refusal(ErrorKind::NotFound, "there was no rollout yet", None, Some("no_rollout")),
        Err(error) => refused(&error),
    }
}

async fn history(State(control): State<Arc<Control>>) -> Response {
    answered(StatusCode::OK, control.carrier.history().await)
}

async fn trail(State(control): State<Arc<Control>>) -> Response {
    answer::json(StatusCode::OK, &control.trail.points())
}

fn answered(status: StatusCode, result: Result<impl serde::Serialize, CarrierError>) -> Response {
    match result {
        Ok(value) => answer::json(status, &value),
        Err(error) => refused(&error),
    }
}

fn refused(error: &CarrierError) -> Response {
    let message = crate::describe(error);
    let code = match error {
        CarrierError::Owned => "rollout_owns_weights",
        CarrierError::LacksVariant(_) => "variant_missing",
        CarrierError::Table(TableError::Moved { .. }) => "generation_moved",
        CarrierError::Controller(ControllerError::Active { .. }) => "rollout_active",
        CarrierError::Controller(ControllerError::NothingLeft { .. }) => "no_stage_left",
        CarrierError::Controller(ControllerError::BetweenStages { .. }) => "between_stages",
        CarrierError::Controller(ControllerError::NothingToApprove { .. }) => "nothing_to_approve",
        CarrierError::Controller(ControllerError::LockedOut { .. }) => "locked_out",
        CarrierError::Controller(ControllerError::IllegalMove(_)) => "no_such_move",
        CarrierError::Controller(ControllerError::NoRollout) => {
            return refusal(ErrorKind::NotFound, message, None, Some("no_rollout"));
        }
        CarrierError::Controller(ControllerError::Invalid(_)) => {
            return refusal(ErrorKind::InvalidRequest, message, None, None);
        }
        CarrierError::Unopened(_) => return refusal(ErrorKind::Server, message, None, Some("rollout_unreadable")),
        CarrierError::Table(_) | CarrierError::Controller(_) => return refusal(ErrorKind::Server, message, None, None),
    };
    refusal_with(StatusCode::CONFLICT, ErrorKind::InvalidRequest, message, None, Some(code))
}

/// A change that began is carried through, whether or not the one who asked for it waits.
async fn whole<T: Send + 'static>(act: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(act).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Reads a JSON body; the error names the field.
async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Response> {
    let bytes = answer::read_body(request.into_body(), BODY_BYTES).await?;
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let refused = |error: &serde_json::Error, field: Option<&str>| {
        let place = field.map(|field| format!("{field}: ")).unwrap_or_default();
        refusal(ErrorKind::InvalidRequest, format!("{place}{error}"), field, None)
    };
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        refused(error.inner(), (field != ".").then_some(field.as_str()))
    })?;
    json.end().map_err(|error| refused(&error, None))?;
    Ok(value)
}
