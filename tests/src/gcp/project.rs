//! Resource Manager's projects, v1 and v3; and where tokens come from.

use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::call::{Asked, Call, Refusal, Reply};
use super::world::World;

const THEN: &str = "2026-01-01T00:00:00.000Z";
/// Of whoever asks for one.
pub(super) const TOKEN: &str = "ya29.fake";
const ORGANIZATION: &str = "112233445566";

pub(super) fn answer(world: &World, call: &Call) -> Result<Reply, Refusal> {
    if call.act() != ("projects", "get") {
        return Err(Refusal::unserved(call.method));
    }
    // v1 names the project, v3 `projects/P`.
    let (old, new) = (call.path("projectId"), call.path("name"));
    let project = if old.is_empty() { new.trim_start_matches("projects/") } else { old };
    if !world.has_project(project) {
        return Err(Refusal::new(403, "forbidden", "The caller does not have permission"));
    }
    let number = world.project_number(project).to_string();
    Ok(Reply::Json(if old.is_empty() {
        json!({
            "name": format!("projects/{number}"), "parent": format!("organizations/{ORGANIZATION}"), "projectId": project,
            "state": "ACTIVE", "displayName": project, "createTime": THEN, "updateTime": THEN, "etag": "W/\"1\"",
        })
    } else {
        json!({
            "projectNumber": number, "projectId": project, "lifecycleState": "ACTIVE", "name": project,
            "createTime": THEN, "parent": {"type": "organization", "id": ORGANIZATION},
        })
    }))
}

/// What a key file's `token_uri` may point to: it believes anybody.
pub(super) fn token(asked: &Asked) -> Response {
    if asked.verb != "POST" {
        return Refusal::new(404, "notFound", "Not Found").answer("token");
    }
    axum::Json(json!({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"})).into_response()
}
