//! Buckets and objects: names, conditions, generations, retention.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::super::PROJECT;
use super::Desk;
use crate::http::{Answer, ask, client};

pub(super) const BUCKET: &str = "dsctl-a-0123";

pub(super) fn bucket() -> Value {
    json!({"name": BUCKET, "location": "us-central1", "labels": {"dsctl-deployment": "a"}, "storageClass": "STANDARD",
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}, "publicAccessPrevention": "enforced"},
        "versioning": {"enabled": true}, "softDeletePolicy": {"retentionDurationSeconds": "0"}})
}

fn buckets() -> String {
    format!("/storage/v1/b?project={PROJECT}")
}

fn place() -> String {
    format!("/storage/v1/b/{BUCKET}")
}

/// Where an object is; its name encoded.
fn object(key: &str) -> String {
    format!("{}/o/{}", place(), key.replace('/', "%2F"))
}

impl Desk {
    #[track_caller]
    pub fn with_bucket(self) -> Self {
        self.post(&buckets(), &bucket());
        self
    }

    /// Uploads in two parts, with conditions in the query.
    #[track_caller]
    pub fn upload(&self, told: &Value, content: &str, query: &str) -> Answer {
        let body = format!(
            "--part\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{told}\r\n--part\r\ncontent-type: text/plain\r\n\r\n\
             {content}\r\n--part--\r\n"
        );
        let url = format!("{}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart{query}", self.google.url());
        ask(client().request(Method::POST, url).header("content-type", "multipart/related; boundary=part").body(body))
    }
}

#[test]
fn the_name_of_a_bucket_is_everybodys() {
    let desk = Desk::start();
    desk.google.take_bucket_name("dsctl-taken-0");
    let made = desk.post(&buckets(), &bucket());
    assert_eq!((&made["location"], &made["metageneration"]), (&json!("US-CENTRAL1"), &json!("1")));
    let message = desk.refused(("POST", &buckets()), Some(&bucket()), 409, "conflict");
    assert_eq!(message, "Your previous request to create the named bucket succeeded and you already own it.");
    let mut taken = bucket();
    taken["name"] = json!("dsctl-taken-0");
    let message = desk.refused(("POST", &buckets()), Some(&taken), 409, "conflict");
    assert!(message.starts_with("The requested bucket name is not available."), "{message}");
    desk.refused(("GET", "/storage/v1/b/dsctl-taken-0"), None, 403, "forbidden");
    desk.refused(("GET", "/storage/v1/b/dsctl-absent"), None, 404, "notFound");
    let mut wrong = bucket();
    wrong["name"] = json!("Dsctl");
    desk.refused(("POST", &buckets()), Some(&wrong), 400, "invalid");
    let list = desk.get(&format!("{}&prefix=dsctl-", buckets()));
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    assert!(desk.get(&format!("{}&prefix=other-", buckets()))["items"].is_null());
}

#[test]
fn settings_change_for_who_saw_them() {
    let desk = Desk::start().with_bucket();
    let patch = json!({"labels": {"dsctl-deployment": null, "dsctl-owner": "me"}, "versioning": {"enabled": false}});
    let first = format!("{}?ifMetagenerationMatch=1", place());
    let after = desk.ask("PATCH", &first, Some(&patch)).has_status(200).json();
    assert_eq!((&after["labels"], &after["metageneration"]), (&json!({"dsctl-owner": "me"}), &json!("2")));
    assert_eq!(after["iamConfiguration"]["publicAccessPrevention"], "enforced");
    desk.refused(("PATCH", &first), Some(&patch), 412, "conditionNotMet");
    desk.refused(("PATCH", &place()), Some(&json!({"labels": {"a": "B"}})), 400, "invalid");
    let rule = json!({"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]}});
    assert_eq!(desk.ask("PATCH", &place(), Some(&rule)).json()["lifecycle"], rule["lifecycle"]);
    let without = desk.ask("PATCH", &place(), Some(&json!({"lifecycle": null}))).has_status(200).json();
    assert!(without["lifecycle"].is_null());
}

#[test]
fn a_bucket_goes_when_nothing_of_anything_is_left_in_it() {
    let desk = Desk::start().with_bucket();
    let first = desk.upload(&json!({"name": "a/b"}), "one", "").has_status(200).json();
    let second = desk.upload(&json!({"name": "a/b"}), "two", "").has_status(200).json();
    let message = desk.refused(("DELETE", &place()), None, 409, "conflict");
    assert_eq!(message, "The bucket you tried to delete is not empty.");
    desk.ask("DELETE", &object("a/b"), None).has_status(204);
    desk.refused(("GET", &object("a/b")), None, 404, "notFound");
    let all = desk.get(&format!("{}/o?versions=true&prefix=a/", place()));
    let generations: Vec<&Value> = all["items"].as_array().into_iter().flatten().map(|it| &it["generation"]).collect();
    assert_eq!(generations, [&first["generation"], &second["generation"]]);
    assert!(desk.get(&format!("{}/o", place()))["items"].is_null());
    desk.refused(("DELETE", &place()), None, 409, "conflict");
    for generation in generations {
        let generation = generation.as_str().expect("a generation");
        desk.ask("DELETE", &format!("{}?generation={generation}", object("a/b")), None).has_status(204);
    }
    desk.ask("DELETE", &place(), None).has_status(204);
    desk.refused(("GET", &place()), None, 404, "notFound");
}

#[test]
fn an_upload_tells_of_its_content_and_holds_to_its_conditions() {
    let desk = Desk::start().with_bucket();
    let told =
        json!({"name": "secrets/api-key", "contentType": "text/plain", "metadata": {"dsctl-address": "secret.api"}});
    let made = desk.upload(&told, "s3cret", "&name=secrets%2Fapi-key&ifGenerationMatch=0").has_status(200).json();
    assert_eq!((&made["size"], &made["metageneration"]), (&json!("6"), &json!("1")));
    let again = desk.upload(&told, "other", "&ifGenerationMatch=0").has_status(412).json();
    assert_eq!(again["error"]["errors"][0]["reason"], "conditionNotMet");
    let generation = made["generation"].as_str().expect("a generation");
    desk.upload(&told, "other", &format!("&ifGenerationMatch={generation}")).has_status(200);
    let content = |rest: &str| desk.ask("GET", &format!("{}?alt=media{rest}", object("secrets/api-key")), None);
    assert_eq!(content("").has_status(200).body, "other");
    assert_eq!(content(&format!("&generation={generation}")).has_status(200).body, "s3cret");
    let mut wrong = told.clone();
    wrong["crc32c"] = json!("AAAAAA==");
    desk.upload(&wrong, "other", "").has_status(400);
    wrong["crc32c"] = json!("4waSgw==");
    desk.upload(&wrong, "123456789", "").has_status(200);
}

#[test]
fn what_is_told_of_an_object_changes_by_itself() {
    let desk = Desk::start().with_bucket();
    let made = desk.upload(&json!({"name": "k", "metadata": {"a": "1", "b": "2"}}), "x", "").json();
    let patch = json!({"metadata": {"a": null, "c": "3"}});
    let first = format!("{}?ifMetagenerationMatch=1", object("k"));
    let after = desk.ask("PATCH", &first, Some(&patch)).has_status(200).json();
    assert_eq!((&after["metadata"], &after["metageneration"]), (&json!({"b": "2", "c": "3"}), &json!("2")));
    assert_eq!(after["generation"], made["generation"]);
    desk.refused(("PATCH", &first), Some(&patch), 412, "conditionNotMet");
}

#[test]
fn lists_of_objects_have_folders_and_pages() {
    let desk = Desk::start().with_bucket();
    for key in ["a/1", "a/2", "b/1", "top"] {
        desk.upload(&json!({"name": key}), "x", "").has_status(200);
    }
    let names = |list: &Value| -> Vec<String> {
        list["items"].as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).map(str::to_owned).collect()
    };
    let top = desk.get(&format!("{}/o?delimiter=/", place()));
    assert_eq!((names(&top), &top["prefixes"]), (vec!["top".to_owned()], &json!(["a/", "b/"])));
    desk.google.set_page(3);
    let first = desk.get(&format!("{}/o?fields=items(name,generation),nextPageToken&pageToken=", place()));
    assert_eq!(first["items"].as_array().map(Vec::len), Some(3));
    assert!(first["items"][0]["kind"].is_null());
    let token = first["nextPageToken"].as_str().expect("a next page");
    assert_eq!(names(&desk.get(&format!("{}/o?pageToken={token}", place()))), ["top"]);
}

#[test]
fn retention_refuses_what_comes_too_early() {
    let desk = Desk::start().with_bucket();
    let policy = json!({"retentionPolicy": {"retentionPeriod": "3600"}});
    desk.ask("PATCH", &place(), Some(&policy)).has_status(200);
    let made = desk.upload(&json!({"name": "log"}), "x", "").json();
    let place = format!("{}?generation={}", object("log"), made["generation"].as_str().expect("a generation"));
    let message = desk.refused(("DELETE", &place), None, 403, "retentionPolicyNotMet");
    assert!(message.contains("cannot be deleted or overwritten until"), "{message}");
    desk.google.pass(Duration::from_secs(3601));
    desk.ask("DELETE", &place, None).has_status(204);
}

#[test]
fn without_generations_retention_keeps_what_is_there() {
    let desk = Desk::start().with_bucket();
    let settings = json!({"versioning": {"enabled": false}, "retentionPolicy": {"retentionPeriod": "3600"}});
    desk.ask("PATCH", &place(), Some(&settings)).has_status(200);
    desk.upload(&json!({"name": "log"}), "x", "").has_status(200);
    desk.upload(&json!({"name": "log"}), "y", "").has_status(403);
    desk.refused(("DELETE", &object("log")), None, 403, "retentionPolicyNotMet");
    desk.google.pass(Duration::from_secs(3601));
    desk.upload(&json!({"name": "log"}), "y", "").has_status(200);
    desk.refused(("DELETE", &object("absent")), None, 404, "notFound");
}

#[test]
fn what_somebody_with_every_right_wrote_is_what_is_read() {
    let desk = Desk::start().with_bucket();
    assert_eq!(desk.google.object(BUCKET, "host/main/status.json"), None);
    desk.google.put_object(BUCKET, "host/main/status.json", "{}");
    assert_eq!(desk.get(&format!("{}?alt=media", object("host/main/status.json"))), json!({}));
    assert_eq!(desk.google.object(BUCKET, "host/main/status.json").as_deref(), Some("{}"));
}

#[test]
fn a_bucket_encrypts_by_a_key_of_its_own_place_that_google_may_use() {
    let desk = Desk::start();
    let key = |place: &str| format!("projects/k/locations/{place}/keyRings/r/cryptoKeys/k");
    let mut keyed = bucket();
    keyed["encryption"] = json!({"defaultKmsKeyName": key("global")});
    desk.refused(("POST", &buckets()), Some(&keyed), 400, "invalid");
    keyed["encryption"] = json!({"defaultKmsKeyName": key("us-central1")});
    desk.google.lock_out("storage");
    let message = desk.refused(("POST", &buckets()), Some(&keyed), 403, "forbidden");
    assert!(message.starts_with("Permission denied on Cloud KMS key."), "{message}");
    desk.google.let_in("storage");
    let made = desk.post(&buckets(), &keyed);
    assert_eq!(made["encryption"], keyed["encryption"]);
    let written = desk.upload(&json!({"name": "a"}), "x", "").has_status(200).json();
    assert_eq!(written["kmsKeyName"], format!("{}/cryptoKeyVersions/1", key("us-central1")));
    let patched = desk.ask("PATCH", &place(), Some(&json!({"encryption": null}))).has_status(200).json();
    assert_eq!(patched.get("encryption"), None, "{patched}");
    assert_eq!(desk.upload(&json!({"name": "b"}), "x", "").has_status(200).json().get("kmsKeyName"), None);
}
