//! Groups, what is in them, and the subscription.

use reqwest::Method;
use serde_json::json;

use super::super::{Azure, Looks, SUBSCRIPTION};
use super::{group, network, send, tags, thing};

#[test]
fn a_group_is_put_looked_at_and_listed_by_tag() {
    let azure = Azure::start();
    azure.get(&group()).refused(404, "ResourceGroupNotFound");
    azure.call(Method::HEAD, &group(), None).is(404);
    let body = json!({"location": "eastus", "tags": tags("g")});
    azure.put(&group(), &body).is(201);
    azure.put(&group(), &body).is(200);
    azure.call(Method::HEAD, &group(), None).is(204);
    azure.put(&group(), &json!({"location": "westeurope"})).refused(409, "InvalidResourceGroupLocation");
    let list =
        format!("/subscriptions/{SUBSCRIPTION}/resourcegroups?$filter=tagName eq 'dsctl-deployment' and tagValue eq");
    assert_eq!(azure.get(&format!("{list} 'demo'")).is(200).json()["value"][0]["name"], "g");
    assert_eq!(azure.get(&format!("{list} 'other'")).is(200).json()["value"], json!([]));
}

#[test]
fn ids_are_the_same_whatever_their_case() {
    let azure = Azure::ready();
    network(&azure);
    let upper = thing("MICROSOFT.NETWORK/VIRTUALNETWORKS/MAIN").replace("resourceGroups/g", "RESOURCEGROUPS/G");
    assert_eq!(azure.get(&upper).is(200).json()["name"], "main");
}

#[test]
fn tags_may_not_be_called_anything() {
    let azure = Azure::ready();
    let body = json!({"location": "eastus", "tags": {"a<b": "c"}});
    azure.put(&group(), &body).refused(400, "InvalidTagNameCharacters");
    azure.call(Method::PATCH, &group(), Some(&json!({"tags": {"a": "b"}}))).is(200);
    assert_eq!(azure.get(&group()).json()["tags"], json!({"a": "b"}));
}

#[test]
fn a_group_goes_with_all_that_is_in_it() {
    let azure = Azure::ready();
    network(&azure);
    azure.set_looks(Looks { group: 1, ..Looks::NONE });
    let told = azure.delete(&group()).is(202);
    let url = told.header("location").expect("where to ask").to_owned();
    assert_eq!(told.header("retry-after"), Some("0"));
    azure.put(&group(), &json!({"location": "eastus"})).refused(409, "ResourceGroupBeingDeleted");
    azure.follow(&url).is(202);
    azure.follow(&url).is(200);
    azure.delete(&group()).refused(404, "ResourceGroupNotFound");
    azure.get(&thing("Microsoft.Network/virtualNetworks/main")).refused(404, "ResourceGroupNotFound");
    assert_eq!(azure.account()["networks"], json!([]));
}

#[test]
fn resources_are_listed_by_tag_without_their_tags() {
    let azure = Azure::ready();
    network(&azure);
    let all = format!("/subscriptions/{SUBSCRIPTION}/resources");
    let by_tag = format!("{all}?$filter=tagName eq 'dsctl-deployment' and tagValue eq 'demo'");
    let found = azure.get(&by_tag).is(200).json();
    assert_eq!((&found["value"][0]["name"], &found["value"][0]["tags"]), (&json!("main"), &json!(null)));
    let inside = azure.get(&format!("{}/resources?$expand=createdTime", group())).is(200).json();
    assert!(inside["value"][0]["createdTime"].is_string() && inside["value"][0]["tags"].is_object(), "{inside}");
    let kind = azure.get(&format!("{all}?$filter=resourceType eq 'Microsoft.Compute/disks'")).is(200).json();
    assert_eq!(kind["value"], json!([]));
    azure.get(&format!("{all}?$filter=substringof('a', name)")).refused(400, "InvalidFilterInQueryString");
}

#[test]
fn a_list_has_pages() {
    let azure = Azure::ready();
    azure.set_page(2);
    for name in ["a", "b", "c"] {
        azure.made(
            &thing(&format!("Microsoft.ManagedIdentity/userAssignedIdentities/{name}")),
            &json!({"location": "eastus"}),
        );
    }
    let first = azure.get(&format!("{}/resources", group())).is(200).json();
    assert_eq!(first["value"].as_array().map(Vec::len), Some(2));
    let second = azure.follow(first["nextLink"].as_str().expect("a next page")).is(200).json();
    assert_eq!((second["value"][0]["name"].as_str(), second["nextLink"].as_str()), (Some("c"), None));
}

#[test]
fn a_service_is_registered_before_it_is_used() {
    let azure = Azure::ready();
    azure.unregister("Microsoft.Network");
    let provider = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Network");
    assert_eq!(
        azure.get(&provider.replace("Microsoft", "microsoft")).is(200).json()["registrationState"],
        "NotRegistered"
    );
    let address = thing("Microsoft.Network/publicIPAddresses/nat");
    let body = json!({"location": "eastus", "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}});
    azure.put(&address, &body).refused(409, "MissingSubscriptionRegistration");
    let registered = azure.call(Method::POST, &format!("{provider}/register"), None).is(200).json();
    assert_eq!(registered["registrationState"], "Registering");
    assert_eq!(azure.get(&provider).json()["registrationState"], "Registered");
    azure.put(&address, &body).is(201);
}

#[test]
fn a_feature_is_registered_before_it_is_used() {
    let azure = Azure::ready();
    let features =
        format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Features/providers/Microsoft.Compute/features");
    let feature = format!("{features}/EncryptionAtHost");
    let state = |told: super::Told| told.is(200).json()["properties"]["state"].clone();
    assert_eq!(state(azure.get(&feature)), "Registered");
    azure.set_encryption_at_host(false);
    assert_eq!(state(azure.get(&feature)), "NotRegistered");
    assert_eq!(state(azure.call(Method::POST, &format!("{feature}/register"), None)), "Registering");
    assert_eq!(state(azure.get(&feature)), "Registered");
    azure.get(&format!("{features}/Other")).refused(404, "FeatureNotFound");
}

#[test]
fn a_stranger_and_another_subscription_are_refused() {
    let azure = Azure::ready();
    let url = format!("{}{}?api-version=2025-04-01", azure.url(), group());
    send(Method::GET, &url, &[], None).refused(401, "AuthenticationFailed");
    azure.get(&group().replace(SUBSCRIPTION, "other")).refused(404, "SubscriptionNotFound");
    let subscription = azure.get(&format!("/subscriptions/{SUBSCRIPTION}")).is(200).json();
    assert_eq!((&subscription["displayName"], &subscription["state"]), (&json!("Tests"), &json!("Enabled")));
}

#[test]
fn all_is_forgotten_by_a_reset() {
    let azure = Azure::ready();
    network(&azure);
    azure.reset();
    azure.get(&group()).refused(404, "ResourceGroupNotFound");
    assert_eq!(azure.account()["networks"], json!([]));
}
