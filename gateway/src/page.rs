//! The page of a rollout, for a browser on this machine: files that hold nothing of the deployment. What they show, their script asks
//! the admin API for, with the token that stands behind the `#` of the address and so is never sent to anybody in it.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// Nothing from elsewhere, nothing inline, and no other page around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/page", get(async || file("text/html; charset=utf-8", include_str!("../assets/page.html"))))
        .route("/page.js", get(async || file("text/javascript; charset=utf-8", include_str!("../assets/page.js"))))
        .route("/page.css", get(async || file("text/css; charset=utf-8", include_str!("../assets/page.css"))))
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, content).into_response()
}
