//! Microsoft's own clients read what the fake says it has.

use serde_json::json;

use super::super::access::BLOB_CONTRIBUTOR;
use super::super::account::{alive, orphans, things};
use super::super::reader::Reader;
use super::super::{Azure, CALLER};
use super::access::{assignment, role};
use super::storage::container;
use super::{MACHINE, SIZE, machine, network, thing};

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
