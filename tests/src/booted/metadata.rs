//! The instance metadata service, version 2, of one machine: what cloud-init and Amazon's clients ask for, by token only.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde_json::json;

use super::machine::Birth;
use crate::http::runtime;

const TOKEN: &str = "a token of the tests";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const LIFETIME_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const ROLE: &str = "dsctl-machine";
const CREDENTIALS: &str = "meta-data/iam/security-credentials/";

/// By path below the version.
type Values = Arc<BTreeMap<String, Vec<u8>>>;

/// Answers on this listener until the process ends.
pub fn serve(listener: TcpListener, birth: &Birth) {
    let router = Router::new()
        .route("/latest/api/token", put(async || ([(LIFETIME_HEADER, "21600")], TOKEN)))
        .route("/", get(async || "latest\n2021-03-23\n"))
        .route("/{version}/{*path}", get(answer))
        .with_state(Arc::new(values(birth)));
    listener.set_nonblocking(true).expect("a listener for the runtime");
    runtime().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        axum::serve(listener, router).await.expect("the metadata service serves");
    });
}

fn values(birth: &Birth) -> BTreeMap<String, Vec<u8>> {
    let Birth { instance, region, zone, address, user_data, .. } = birth;
    let identity = json!({"instanceId": instance, "region": region, "availabilityZone": zone, "privateIp": address,
        "accountId": "123456789012", "architecture": "x86_64", "imageId": "ami-1", "instanceType": "g4dn.xlarge",
        "version": "2017-09-30"});
    let credentials = json!({"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "testing", "SecretAccessKey": "testing",
        "Token": "testing", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"});
    let meta = [
        ("ami-id", "ami-1".to_owned()),
        ("hostname", "main".to_owned()),
        ("local-hostname", "main".to_owned()),
        ("instance-id", instance.clone()),
        ("instance-type", "g4dn.xlarge".to_owned()),
        ("local-ipv4", address.to_string()),
        ("mac", "0a:00:00:00:00:01".to_owned()),
        ("placement/availability-zone", zone.clone()),
        ("placement/region", region.clone()),
        ("iam/security-credentials/", ROLE.to_owned()),
    ];
    let role = format!("meta-data/iam/security-credentials/{ROLE}");
    let meta = meta.into_iter().map(|(path, value)| (format!("meta-data/{path}"), value.into_bytes()));
    let rest = [
        ("user-data".to_owned(), user_data.clone()),
        ("dynamic/instance-identity/document".to_owned(), identity.to_string().into_bytes()),
        (role, credentials.to_string().into_bytes()),
    ];
    meta.chain(rest).collect()
}

async fn answer(State(values): State<Values>, headers: HeaderMap, Path((_, path)): Path<(String, String)>) -> Response {
    let token = headers.get(TOKEN_HEADER).map(|token| token.as_bytes());
    // cloud-init takes tokens only where the firmware says that this is EC2, and a container has no firmware: for what it
    // reads, it needs none here. Credentials are another matter.
    if token != Some(TOKEN.as_bytes()) && path.starts_with(CREDENTIALS) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(value) = values.get(&path) {
        return value.clone().into_response();
    }
    let listing = listing(&values, &path);
    if listing.is_empty() { StatusCode::NOT_FOUND.into_response() } else { listing.into_response() }
}

/// What lies directly below a path, a line each; folders end in a slash.
fn listing(values: &BTreeMap<String, Vec<u8>>, path: &str) -> String {
    let folder = format!("{}/", path.trim_end_matches('/'));
    let below = values.keys().filter_map(|key| key.strip_prefix(&folder));
    let mut names: Vec<&str> = below.map(|rest| rest.find('/').map_or(rest, |slash| &rest[..=slash])).collect();
    names.dedup();
    names.join("\n")
}
