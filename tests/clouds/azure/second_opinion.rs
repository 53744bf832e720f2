//! A life on Azure as Prism sees it, by the contract that Microsoft's own clients carry.

use serde_json::json;
use tests::azure::cloud::Cloud;
use tests::proxy::message::Answer;

use super::crash::Azure;
use crate::second_opinion::{agrees, bites, found, is_wrong_answer, is_wrong_request, with_body};

const NAMESPACES: [&str; 6] = [
    "/Microsoft.Compute/",
    "/Microsoft.Network/",
    "/Microsoft.Storage/",
    "/Microsoft.ManagedIdentity/",
    "/Microsoft.Authorization/",
    "/resourceGroups/",
];

#[test]
fn a_validator_that_we_did_not_write_agrees_with_a_life_and_refuses_what_differs_from_it() {
    let (cloud, opinion) = Cloud::with_second_opinion();
    agrees(&Azure::on(cloud), &opinion, &NAMESPACES);
    bites(&opinion);

    let put = found(&opinion, "PUT", "/virtualMachines/");
    let wrong_type =
        with_body(&put.asked, |body| body["properties"]["storageProfile"]["osDisk"]["diskSizeGB"] = json!("200"));
    is_wrong_request(&opinion, &wrong_type);
    let unknown_value = with_body(&put.asked, |body| body["properties"]["priority"] = json!("Cheap"));
    is_wrong_request(&opinion, &unknown_value);
    let of_azures = with_body(&put.asked, |body| body["properties"]["provisioningState"] = json!("Succeeded"));
    is_wrong_request(&opinion, &of_azures);

    let mut get = found(&opinion, "GET", "/virtualMachines/");
    let no_error = Answer::new(404, "application/json", json!({"message": "no"}).to_string());
    is_wrong_answer(&opinion, &get.asked, &no_error);
    for version in ["", "?api-version=2015-06-15"] {
        get.asked.target = format!("{}{version}", get.asked.path());
        is_wrong_request(&opinion, &get.asked);
    }
}
