//! A life on Google Cloud as Prism sees it, by Google's own documents.

use serde_json::json;
use tests::gcp::cloud::Cloud;
use tests::proxy::message::Answer;

use super::crash::Gcp;
use crate::second_opinion::{agrees, bites, found, is_wrong_answer, is_wrong_request, with_body};

#[test]
fn a_validator_that_we_did_not_write_agrees_with_a_life_and_refuses_what_differs_from_it() {
    let (cloud, opinion) = Cloud::with_second_opinion();
    agrees(&Gcp::on(cloud), &opinion, &["/compute/v1/", "/storage/v1/", "/v1/projects/"]);
    bites(&opinion);

    let insert = found(&opinion, "POST", "/instances");
    let wrong_type = with_body(&insert.asked, |body| body["canIpForward"] = json!("no"));
    is_wrong_request(&opinion, &wrong_type);
    let unknown_value = with_body(&insert.asked, |body| body["scheduling"]["provisioningModel"] = json!("CHEAP"));
    is_wrong_request(&opinion, &unknown_value);
    let of_googles = with_body(&insert.asked, |body| body["creationTimestamp"] = json!("2026-01-01T00:00:00Z"));
    is_wrong_request(&opinion, &of_googles);

    let mut bucket = found(&opinion, "POST", "/storage/v1/b");
    bucket.asked.target = "/storage/v1/b".to_owned();
    is_wrong_request(&opinion, &bucket.asked);
    let no_error = Answer::new(403, "application/json", json!({"error": "no"}).to_string());
    is_wrong_answer(&opinion, &insert.asked, &no_error);
}
