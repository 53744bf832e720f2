//! Microsoft's own clients read what the fake says it has.

use futures::TryStreamExt as _;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::{Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};
use serde_json::json;

use super::super::access::BLOB_CONTRIBUTOR;
use super::super::account::{alive, orphans, things};
use super::super::reader::Reader;
use super::super::{Azure, CALLER, token};
use super::access::{assignment, role};
use super::storage::container;
use super::{MACHINE, SIZE, machine, network, thing};
use crate::http::wait;

#[test]
fn the_account_is_what_microsofts_clients_see() {
    let azure = Azure::ready();
    let subnet = network(&azure);
    let address = json!({"location": "eastus", "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}});
    azure.made(&thing("Microsoft.Network/publicIPAddresses/nat"), &address);
    azure.made(&thing("Microsoft.ManagedIdentity/userAssignedIdentities/machine"), &json!({"location": "eastus"}));
    azure.made(&thing(MACHINE), &machine(&subnet, SIZE));
    let container = container(&azure);
    azure
        .put(&role(&container, "11111111-2222-4333-8444-555555555555"), &assignment(BLOB_CONTRIBUTOR, CALLER, "User"))
        .is(201);
    let lock = format!("{}/providers/Microsoft.Authorization/locks/dsctl", thing(MACHINE));
    azure.put(&lock, &json!({"properties": {"level": "CanNotDelete"}})).is(201);
    let (ours, theirs) = (azure.account(), Reader::start().list(&azure));
    for (kind, list) in ours.as_object().expect("kinds") {
        let ids = |account| {
            let mut ids: Vec<String> =
                things(account, kind).map(|it| it["id"].as_str().unwrap_or_default().to_lowercase()).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(&ours), ids(&theirs), "{kind}");
        assert!(
            !list.as_array().expect("a list").is_empty()
                || ["security_groups", "nat_gateways"].contains(&kind.as_str()),
            "{kind}"
        );
    }
    assert_eq!(theirs["machines"][0]["power"], "PowerState/running");
    assert_eq!(theirs["machines"][0]["tags"], ours["machines"][0]["tags"]);
    assert_eq!(orphans(&ours).len(), 1, "the address that nothing uses");
    assert!(alive(&ours).iter().any(|id| id.ends_with("/containers/dsctl")));
    azure.set_page(1);
    assert_eq!(things(&Reader::start().list(&azure), "resources").count(), things(&theirs, "resources").count());
}

/// As the engine keeps a state in a container: each write is compared with what was read.
#[test]
fn a_state_is_kept_in_a_container_by_the_object_store() {
    let azure = Azure::ready();
    let container = container(&azure);
    azure
        .put(&role(&container, "11111111-2222-4333-8444-555555555555"), &assignment(BLOB_CONTRIBUTOR, CALLER, "User"))
        .is(201);
    let builder =
        MicrosoftAzureBuilder::new().with_account("dsctltests").with_container_name("dsctl").with_allow_http(true);
    let endpoint = format!("{}/dsctltests", azure.url());
    let store =
        builder.with_endpoint(endpoint).with_bearer_token_authorization(token(CALLER)).build().expect("a store");
    let key = Path::from("states/demo/state.json");
    let put = |text: &'static str, mode: PutMode| {
        let options = PutOptions { mode, ..PutOptions::default() };
        wait(store.put_opts(&key, text.into(), options))
    };
    let first = put("one", PutMode::Create).expect("a first write");
    assert!(matches!(put("two", PutMode::Create), Err(Error::AlreadyExists { .. })));
    let read = UpdateVersion { e_tag: first.e_tag, version: first.version };
    put("two", PutMode::Update(read.clone())).expect("a compared write");
    assert!(matches!(put("three", PutMode::Update(read)), Err(Error::Precondition { .. })));
    let text = wait(async { store.get(&key).await.expect("a state").bytes().await.expect("its bytes") });
    assert_eq!(text, "two");
    let listed: Vec<_> = wait(store.list(Some(&Path::from("states"))).try_collect()).expect("a list");
    assert_eq!(listed.iter().map(|it| it.location.as_ref()).collect::<Vec<_>>(), ["states/demo/state.json"]);
    wait(store.delete(&key)).expect("a removal");
    assert!(matches!(wait(store.get(&key)), Err(Error::NotFound { .. })));
}
