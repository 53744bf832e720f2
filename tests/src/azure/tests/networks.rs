//! Networks, security groups, addresses, gateways, interfaces: what they show and what they stand on.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::{Azure, Looks};
use super::{group, network, tags, thing};

const NETWORK: &str = "Microsoft.Network/virtualNetworks/main";
const RULES: &str = "Microsoft.Network/networkSecurityGroups/machine";
const ADDRESS: &str = "Microsoft.Network/publicIPAddresses/nat";
const GATEWAY: &str = "Microsoft.Network/natGateways/main";
const INTERFACE: &str = "Microsoft.Network/networkInterfaces/main";

fn rule(name: &str, priority: i64, access: &str) -> Value {
    json!({"name": name, "properties": {"priority": priority, "direction": "Inbound", "access": access, "protocol": "Tcp",
        "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "8080"}})
}

fn address() -> Value {
    json!({"location": "eastus", "tags": tags("a"), "sku": {"name": "Standard", "tier": "Regional"},
        "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"}})
}

fn interface(subnet: &str, public: Option<&str>) -> Value {
    let mut properties = json!({"subnet": {"id": subnet}});
    if let Some(public) = public {
        properties["publicIPAddress"] = json!({ "id": public });
    }
    json!({"location": "eastus", "tags": tags("i"), "properties": {
        "ipConfigurations": [{"name": "main", "properties": properties}]}})
}

#[test]
fn something_new_is_creating_until_it_was_looked_at() {
    let azure = Azure::ready();
    azure.set_looks(Looks { network: 1, ..Looks::NONE });
    let told = azure.put(&thing(ADDRESS), &address()).is(201);
    assert_eq!(told.json()["properties"]["provisioningState"], "Creating");
    let url = told.header("azure-asyncoperation").expect("where to ask").to_owned();
    azure.put(&thing(ADDRESS), &address()).refused(429, "AnotherOperationInProgress");
    assert_eq!(azure.follow(&url).is(200).json()["status"], "InProgress");
    assert_eq!(azure.follow(&url).is(200).json()["status"], "Succeeded");
    let there = azure.get(&thing(ADDRESS)).json();
    assert_eq!(there["properties"]["provisioningState"], "Succeeded");
    azure.put(&thing(ADDRESS), &address()).is(200);
    let again = azure.get(&thing(ADDRESS)).json();
    assert_eq!(again["properties"]["ipAddress"], there["properties"]["ipAddress"]);
}

#[test]
fn looks_at_the_thing_itself_count_as_well() {
    let azure = Azure::ready();
    azure.set_looks(Looks { network: 2, ..Looks::NONE });
    azure.put(&thing(ADDRESS), &address()).is(201);
    let states: Vec<Value> =
        (0..3).map(|_| azure.get(&thing(ADDRESS)).json()["properties"]["provisioningState"].clone()).collect();
    assert_eq!(states, ["Creating", "Creating", "Succeeded"]);
}

#[test]
fn a_removal_takes_its_looks_and_the_absent_is_no_error() {
    let azure = Azure::ready();
    azure.delete(&thing(ADDRESS)).is(204);
    azure.made(&thing(ADDRESS), &address());
    azure.set_looks(Looks { network: 1, ..Looks::NONE });
    let told = azure.delete(&thing(ADDRESS)).is(202);
    let url = told.header("location").expect("where to ask").to_owned();
    azure.follow(&url).is(202);
    azure.follow(&url).is(204);
    azure.get(&thing(ADDRESS)).refused(404, "ResourceNotFound");
}

#[test]
fn a_subnet_names_what_it_stands_on_and_shows_it() {
    let azure = Azure::ready();
    let body = json!({"location": "eastus", "tags": tags("n"), "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/24"]},
        "subnets": [{"name": "machines", "properties": {"addressPrefix": "10.0.0.0/24", "defaultOutboundAccess": false,
            "networkSecurityGroup": {"id": thing(RULES)}, "natGateway": {"id": thing(GATEWAY)},
            "serviceEndpoints": [{"service": "Microsoft.Storage"}]}}]}});
    azure.put(&thing(NETWORK), &body).refused(400, "InvalidResourceReference");
    azure.made(
        &thing(RULES),
        &json!({"location": "eastus", "properties": {"securityRules": [rule("serve", 100, "Allow")]}}),
    );
    azure.made(&thing(ADDRESS), &address());
    let gateway = json!({"location": "eastus", "sku": {"name": "Standard"}, "properties": {"idleTimeoutInMinutes": 4,
        "publicIpAddresses": [{"id": thing(ADDRESS)}]}});
    azure.made(&thing(GATEWAY), &gateway);
    let made = azure.made(&thing(NETWORK), &body);
    let subnet = &made["properties"]["subnets"][0];
    assert_eq!(subnet["properties"]["serviceEndpoints"][0]["locations"], json!(["eastus"]));
    let users =
        [thing(RULES), thing(GATEWAY)].map(|id| azure.get(&id).json()["properties"]["subnets"][0]["id"].clone());
    assert_eq!(users, [subnet["id"].clone(), subnet["id"].clone()]);
    azure.delete(&thing(RULES)).refused(400, "InUseNetworkSecurityGroupCannotBeDeleted");
    azure.delete(&thing(GATEWAY)).refused(400, "CannotDeleteNatGatewayAssociatedToSubnet");
    azure.delete(&thing(ADDRESS)).refused(400, "PublicIPAddressCannotBeDeleted");
    for id in [NETWORK, GATEWAY, ADDRESS, RULES] {
        azure.gone(&thing(id));
    }
}

#[test]
fn what_is_still_updating_is_not_referred_to() {
    let azure = Azure::ready();
    azure.set_looks(Looks { network: 9, ..Looks::NONE });
    azure.put(&thing(ADDRESS), &address()).is(201);
    let gateway = json!({"location": "eastus", "sku": {"name": "Standard"}, "properties": {
        "publicIpAddresses": [{"id": thing(ADDRESS)}]}});
    azure.put(&thing(GATEWAY), &gateway).refused(429, "ReferencedResourceNotProvisioned");
}

#[test]
fn ranges_of_subnets_fit_into_their_network() {
    let azure = Azure::ready();
    let body = |subnets: &[&str]| {
        let subnets = subnets
            .iter()
            .enumerate()
            .map(|(index, range)| json!({"name": format!("s{index}"), "properties": {"addressPrefix": range}}));
        json!({"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/24"]},
            "subnets": subnets.collect::<Vec<_>>()}})
    };
    azure.put(&thing(NETWORK), &body(&["10.1.0.0/24"])).refused(400, "NetcfgInvalidSubnet");
    azure.put(&thing(NETWORK), &body(&["10.0.0.0/25", "10.0.0.64/26"])).refused(400, "NetcfgSubnetRangesOverlap");
    azure.put(&thing(NETWORK), &body(&["10.0.0.1/24"])).refused(400, "InvalidCIDRNotation");
    azure.put(&thing(NETWORK), &body(&["10.0.0.0/25", "10.0.0.128/25"])).is(201);
}

#[test]
fn a_subnet_in_use_stays_and_a_put_without_it_is_refused() {
    let azure = Azure::ready();
    let subnet = network(&azure);
    let made = azure.made(&thing(INTERFACE), &interface(&subnet, None));
    let configuration = &made["properties"]["ipConfigurations"][0];
    assert_eq!(configuration["properties"]["privateIPAddress"], "10.0.0.4");
    let shown = azure.get(&thing(NETWORK)).json();
    assert_eq!(shown["properties"]["subnets"][0]["properties"]["ipConfigurations"][0]["id"], configuration["id"]);
    azure.delete(&thing(NETWORK)).refused(400, "InUseSubnetCannotBeDeleted");
    azure.delete(&subnet).refused(400, "InUseSubnetCannotBeDeleted");
    let without = json!({"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/24"]}}});
    azure.put(&thing(NETWORK), &without).refused(400, "InUseSubnetCannotBeDeleted");
    azure.gone(&thing(INTERFACE));
    azure.put(&thing(NETWORK), &without).is(200);
    assert_eq!(azure.get(&thing(NETWORK)).json()["properties"]["subnets"], json!([]));
}

#[test]
fn an_address_belongs_to_one_thing() {
    let azure = Azure::ready();
    let subnet = network(&azure);
    azure.made(&thing(ADDRESS), &address());
    let made = azure.made(&thing(INTERFACE), &interface(&subnet, Some(&thing(ADDRESS))));
    let shown = azure.get(&thing(ADDRESS)).json();
    assert_eq!(shown["properties"]["ipConfiguration"]["id"], made["properties"]["ipConfigurations"][0]["id"]);
    let other = thing("Microsoft.Network/networkInterfaces/other");
    azure.put(&other, &interface(&subnet, Some(&thing(ADDRESS)))).refused(400, "PublicIPAddressInUse");
    azure.delete(&thing(ADDRESS)).refused(400, "PublicIPAddressCannotBeDeleted");
}

#[test]
fn addresses_are_standard_and_static_and_keep_their_zones() {
    let azure = Azure::ready();
    let with = |path: &str, value: Value| {
        let mut body = address();
        *body.pointer_mut(path).expect("a place") = value;
        body
    };
    azure.put(&thing(ADDRESS), &with("/sku/name", json!("Basic"))).refused(400, "BasicSkuPublicIpCannotBeCreated");
    let dynamic = with("/properties/publicIPAllocationMethod", json!("Dynamic"));
    azure.put(&thing(ADDRESS), &dynamic).refused(400, "StandardSkuPublicIPAddressRequiresStaticAllocation");
    azure.made(&thing(ADDRESS), &address());
    let mut zonal = address();
    zonal["zones"] = json!(["1"]);
    azure.put(&thing(ADDRESS), &zonal).refused(400, "ResourceAvailabilityZonesCannotBeModified");
}

#[test]
fn rules_have_priorities_of_their_own() {
    let azure = Azure::ready();
    let body = |rules: Vec<Value>| json!({"location": "eastus", "properties": {"securityRules": rules}});
    let both = body(vec![rule("a", 100, "Allow"), rule("b", 100, "Deny")]);
    azure.put(&thing(RULES), &both).refused(400, "SecurityRuleConflict");
    azure.put(&thing(RULES), &body(vec![rule("a", 99, "Allow")])).refused(400, "SecurityRuleInvalidPriority");
    let mut within = rule("a", 100, "Allow");
    within["properties"]["sourceAddressPrefixes"] = json!(["10.1.0.0/16", "10.0.0.0/8"]);
    azure.put(&thing(RULES), &body(vec![within])).refused(400, "OverlappingSubnetsNotPermittedInSecurityRule");
    let mut bare = rule("a", 100, "Allow");
    bare["properties"].as_object_mut().expect("properties").remove("destinationPortRange");
    azure.put(&thing(RULES), &body(vec![bare])).refused(400, "SecurityRuleParameterNotSpecified");
    let made = azure.made(&thing(RULES), &body(vec![rule("a", 100, "Allow"), rule("b", 4096, "Deny")]));
    assert_eq!(made["properties"]["defaultSecurityRules"].as_array().map(Vec::len), Some(6));
}

#[test]
fn somebody_opens_a_port_and_adds_a_subnet_by_their_own_calls() {
    let azure = Azure::ready();
    network(&azure);
    azure.made(
        &thing(RULES),
        &json!({"location": "eastus", "properties": {"securityRules": [rule("serve", 100, "Allow")]}}),
    );
    let open = rule("open", 200, "Allow");
    let target = format!("{}/securityRules/open?api-version=2025-05-01", thing(RULES));
    azure.somebody(Method::PUT, &target, Some(&open)).has_status(201);
    let subnet = json!({"properties": {"addressPrefix": "10.0.0.0/25"}});
    let overlapping = format!("{}/subnets/more?api-version=2025-05-01", thing(NETWORK));
    azure.somebody(Method::PUT, &overlapping, Some(&subnet)).has_status(400);
    let rules = azure.get(&thing(RULES)).json();
    assert_eq!(rules["properties"]["securityRules"][1]["name"], "open");
    azure.somebody(Method::DELETE, &target, None).has_status(202);
    assert_eq!(azure.get(&thing(RULES)).json()["properties"]["securityRules"].as_array().map(Vec::len), Some(1));
    azure.get(&format!("{}/securityRules/open", thing(RULES))).refused(404, "NotFound");
    assert_eq!(azure.get(&format!("{}/subnets", thing(NETWORK))).json()["value"].as_array().map(Vec::len), Some(1));
}

#[test]
fn tags_are_changed_alone() {
    let azure = Azure::ready();
    azure.made(&thing(ADDRESS), &address());
    let changed = azure.call(Method::PATCH, &thing(ADDRESS), Some(&json!({"tags": {"a": "b"}}))).is(200).json();
    assert_eq!(
        (&changed["tags"], &changed["properties"]["provisioningState"]),
        (&json!({"a": "b"}), &json!("Succeeded"))
    );
}

#[test]
fn a_thing_stays_where_it_is_and_needs_its_group() {
    let azure = Azure::ready();
    azure.made(&thing(ADDRESS), &address());
    let mut moved = address();
    moved["location"] = json!("westeurope");
    azure.put(&thing(ADDRESS), &moved).refused(409, "InvalidResourceLocation");
    let elsewhere = thing(ADDRESS).replace(&group(), &group().replace("/g", "/other"));
    azure.put(&elsewhere, &address()).refused(404, "ResourceGroupNotFound");
}
