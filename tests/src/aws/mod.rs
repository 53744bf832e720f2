//! AWS on loopback: a cloud that keeps what it is given, and ways to make it fail.
//!
//! ```text
//! dsctl -> proxy (records, fails on order, adds what moto leaves out) -> moto (EC2, IAM, STS, S3)
//!                                                                    \-> overlay (quotas, prices, the newest image)
//! account lists everything alive in moto; python/aws_contract.py checks what proxy recorded against Amazon's models
//! ```
//! Here stands what proxy and overlay share: a request as AWS understands it, and refusals in each protocol's words.

pub mod account;
pub mod cloud;
pub mod dialect;
pub mod host;
pub mod moto;
pub mod overlay;

use std::ops::Deref;
use std::path::Path;
use std::process::Command;

use axum::http::{HeaderMap, Method, header};
use serde_json::json;

use crate::process::{Outcome, run};
use crate::proxy::message::{Answer, Asked, field, pairs};
use crate::python;

/// Id and secret of the tests; moto believes anybody.
pub const ACCESS_KEY: &str = "testing";

/// The variables that lead Amazon's SDKs to an endpoint on loopback and away from everything of the developer's own.
pub fn variables(endpoint: &str, region: &str) -> Vec<(&'static str, String)> {
    let fixed = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", region),
        ("AWS_DEFAULT_REGION", region),
    ];
    fixed.map(|(name, value)| (name, value.to_owned())).into()
}

/// Checks recorded requests against Amazon's models of the services; it ends with 0 if every one is valid.
pub fn contract(record: &Path) -> Outcome {
    let mut command = Command::new(python::environment(moto::REQUIREMENTS).join("bin/python"));
    crate::home::environment(&mut command, Path::new("/nonexistent"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/aws_contract.py");
    run(command.arg(script).arg(record))
}

/// A request as AWS understands it.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    asked: Asked,
    /// As the signature says: `ec2`, `s3`.
    pub service: String,
    pub region: String,
}

impl Deref for Signed {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        &self.asked
    }
}

impl Signed {
    pub fn of(asked: &Asked) -> Self {
        let scope = scope(&asked.headers, asked.query_text());
        let (service, region) = scope.unwrap_or_else(|| ("unknown".to_owned(), String::new()));
        Self { asked: asked.clone(), service, region }
    }

    /// The fields of the query protocol; none for the others.
    pub fn form(&self) -> Vec<(String, String)> {
        match protocol(&self.service) {
            Protocol::Ec2 | Protocol::Query => pairs(&String::from_utf8_lossy(&self.body)),
            Protocol::Json | Protocol::S3 => Vec::new(),
        }
    }

    /// As Amazon's API reference names it.
    pub fn operation(&self) -> String {
        let named = match protocol(&self.service) {
            Protocol::Ec2 | Protocol::Query => field(&self.form(), "Action").map(str::to_owned),
            Protocol::Json => {
                self.header("x-amz-target").and_then(|target| target.rsplit('.').next()).map(str::to_owned)
            }
            Protocol::S3 => Some(s3_operation(self)),
        };
        named.unwrap_or_else(|| format!("{} {}", self.method, self.path()))
    }
}

pub(crate) fn is_mutating(operation: &str) -> bool {
    !["Describe", "Get", "List", "Head"].iter().any(|verb| operation.starts_with(verb))
}

/// Service and region that a request is signed for.
fn scope(headers: &HeaderMap, query: &str) -> Option<(String, String)> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let presigned = pairs(query).into_iter().find(|(key, _)| key == "X-Amz-Credential").map(|(_, value)| value);
    let credential = header.split_once("Credential=").map(|(_, rest)| rest.to_owned()).or(presigned)?;
    let mut parts = credential.split(',').next()?.split('/').skip(2);
    let (region, service) = (parts.next()?, parts.next()?);
    Some((service.to_owned(), region.to_owned()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Ec2,
    Query,
    Json,
    S3,
}

pub(crate) fn protocol(service: &str) -> Protocol {
    match service {
        "ec2" => Protocol::Ec2,
        "iam" | "sts" => Protocol::Query,
        "s3" => Protocol::S3,
        _ => Protocol::Json,
    }
}

/// Query parameters that make a call to S3 one about something of a bucket or an object.
const S3_PARTS: [(&str, &str); 11] = [
    ("policy", "BucketPolicy"),
    ("publicAccessBlock", "PublicAccessBlock"),
    ("versioning", "BucketVersioning"),
    ("encryption", "BucketEncryption"),
    ("lifecycle", "BucketLifecycleConfiguration"),
    ("logging", "BucketLogging"),
    ("ownershipControls", "BucketOwnershipControls"),
    ("location", "BucketLocation"),
    ("policyStatus", "BucketPolicyStatus"),
    ("tagging", "Tagging"),
    ("acl", "Acl"),
];

fn s3_operation(asked: &Signed) -> String {
    let query = asked.query();
    let has = |name: &str| query.iter().any(|(key, _)| key == name);
    let path = asked.path().trim_start_matches('/');
    let thing = match path.split_once('/') {
        _ if path.is_empty() => return "ListBuckets".to_owned(),
        Some((_, key)) if !key.is_empty() => "Object",
        _ => "Bucket",
    };
    let verb = verb(&asked.method);
    match S3_PARTS.iter().find(|(part, _)| has(part)) {
        Some((_, "BucketLifecycleConfiguration")) if verb == "Delete" => "DeleteBucketLifecycle".to_owned(),
        Some((_, of_both @ ("Tagging" | "Acl"))) => format!("{verb}{thing}{of_both}"),
        Some((_, part)) => format!("{verb}{part}"),
        None if thing == "Bucket" => bucket_operation(&asked.method, has).to_owned(),
        None => object_operation(asked, has).to_owned(),
    }
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "PUT" => "Put",
        "DELETE" => "Delete",
        "HEAD" => "Head",
        _ => "Get",
    }
}

fn bucket_operation(method: &Method, has: impl Fn(&str) -> bool) -> &'static str {
    match method.as_str() {
        "PUT" => "CreateBucket",
        "DELETE" => "DeleteBucket",
        "HEAD" => "HeadBucket",
        "POST" => "DeleteObjects",
        _ if has("versions") => "ListObjectVersions",
        _ if has("uploads") => "ListMultipartUploads",
        _ if has("list-type") => "ListObjectsV2",
        _ => "ListObjects",
    }
}

fn object_operation(asked: &Signed, has: impl Fn(&str) -> bool) -> &'static str {
    let is_copy = asked.headers.contains_key("x-amz-copy-source");
    match asked.method.as_str() {
        "PUT" if has("uploadId") && is_copy => "UploadPartCopy",
        "PUT" if has("uploadId") => "UploadPart",
        "PUT" if is_copy => "CopyObject",
        "PUT" => "PutObject",
        "POST" if has("uploads") => "CreateMultipartUpload",
        "POST" => "CompleteMultipartUpload",
        "DELETE" if has("uploadId") => "AbortMultipartUpload",
        "DELETE" => "DeleteObject",
        "HEAD" => "HeadObject",
        _ if has("attributes") => "GetObjectAttributes",
        _ if has("uploadId") => "ListParts",
        _ => "GetObject",
    }
}

/// An error as a service says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    pub fn answer(&self, service: &str) -> Answer {
        let Self { code, message, .. } = self;
        let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        let (kind, body) = match protocol(service) {
            Protocol::Ec2 => {
                ("text/xml", format!("<Response><Errors>{error}</Errors><RequestID>proxy</RequestID></Response>"))
            }
            Protocol::Query => {
                ("text/xml", format!("<ErrorResponse>{error}<RequestId>proxy</RequestId></ErrorResponse>"))
            }
            Protocol::S3 => ("application/xml", error),
            Protocol::Json => ("application/x-amz-json-1.1", json!({"__type": code, "message": message}).to_string()),
        };
        Answer::new(self.status, kind, body)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;

    use super::*;

    async fn asked(method: &str, target: &str, service: &str, body: &str) -> Signed {
        let scope =
            format!("AWS4-HMAC-SHA256 Credential=K/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host");
        let request = Request::builder().method(method).uri(target).header("authorization", scope);
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        Signed::of(&Asked::read(request).await.expect("whole"))
    }

    #[tokio::test]
    async fn each_request_has_the_name_of_amazons_reference() {
        for (method, target, name) in [
            ("PUT", "/b", "CreateBucket"),
            ("PUT", "/b?policy", "PutBucketPolicy"),
            ("DELETE", "/b?lifecycle", "DeleteBucketLifecycle"),
            ("GET", "/b?list-type=2&prefix=a%2Fb", "ListObjectsV2"),
            ("GET", "/b?versions", "ListObjectVersions"),
            ("PUT", "/b?tagging", "PutBucketTagging"),
            ("GET", "/b/k?tagging", "GetObjectTagging"),
            ("PUT", "/b/a/k?x-id=PutObject", "PutObject"),
            ("PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"),
            ("POST", "/b?delete", "DeleteObjects"),
            ("HEAD", "/b/k", "HeadObject"),
            ("GET", "/", "ListBuckets"),
        ] {
            assert_eq!(asked(method, target, "s3", "").await.operation(), name, "{method} {target}");
        }
        let run = asked("POST", "/", "ec2", "Action=RunInstances&ClientToken=a%2Bb").await;
        assert_eq!((run.operation().as_str(), field(&run.form(), "ClientToken")), ("RunInstances", Some("a+b")));
        assert_eq!((run.service.as_str(), run.region.as_str()), ("ec2", "eu-west-1"));
    }
}
