//! What can't be or may not be on Azure: an exit code a script can act on, a sentence, the next command; and nothing made.

use reqwest::Method;
use tests::azure::cloud::Cloud;
use tests::azure::{Restriction, SUBSCRIPTION};
use tests::process::{Outcome, run};
use tests::proxy::{Fault, Rule};

const SMALL: &str = "Standard_NC48ads_A100_v4";
/// A subscription that the caller has nothing in.
const OTHER: &str = "0d5c71aa-0000-4000-8000-00000000000b";
const FAMILY: &str = "StandardNCADSA100v4Family";

/// Says each text, names a next command, and was told to the cloud in no call that changes something.
#[track_caller]
fn refused(cloud: &Cloud, outcome: Outcome, code: i32, texts: &[&str]) {
    let outcome = texts.iter().fold(outcome.exits(code), |outcome, text| outcome.says(text));
    assert!(outcome.stderr.contains("next: "), "no next command\n{}", outcome.transcript());
    cloud.is_untouched(&outcome.line);
}

#[test]
fn whoever_has_no_subscription_no_credentials_or_may_not_look_is_told_so() {
    let cloud = Cloud::start();
    let home = cloud.home().variable("AZURE_SUBSCRIPTION_ID", "");
    refused(&cloud, home.up(&[]), 3, &["no subscription is chosen", "next: az login, then az account set"]);
    let asked = home.dsctl(&["up", "--yes", "--json"]);
    assert_eq!(asked.exits(3).json()["error"]["kind"], "credentials");

    let home = cloud.home();
    cloud.proxy.arm([Rule::nth("Subscriptions_Get", 1, Fault::Denied)]);
    refused(&cloud, home.up(&[]), 3, &["AuthorizationFailed", "next: az role assignment list --assignee"]);
    // Whoever may not see limits and zones goes by what is on record, and is told so.
    cloud.proxy.clear();
    let denied = ["ResourceSkus_List", "Usage_List", "RetailPrices_List"];
    cloud.proxy.arm(denied.map(|operation| Rule::nth(operation, 1, Fault::Denied)));
    let plan = home.dsctl(&["plan"]).exits(0).says("to create").says("zones could not be asked, the catalogue's stand");
    plan.says("quotas could not be asked").says("prices could not be asked");
    cloud.is_untouched("a plan by the catalogue");
    assert_eq!(home.state(), None, "a state was written");
}

/// At Microsoft's own address, where nobody is asked: what the environment names is meant, and nothing else is tried.
#[test]
fn credentials_that_are_named_by_half_say_what_is_missing() {
    let cloud = Cloud::start();
    let home = cloud.home().variable("DSCTL_AZURE_ENDPOINT", "").variable("AZURE_CLIENT_SECRET", "x");
    refused(&cloud, home.up(&[]), 3, &["AZURE_CLIENT_SECRET: AZURE_TENANT_ID is not set", "next: az login"]);
}

/// dsctl registers nothing by itself: it is a change to the subscription that outlives every deployment.
#[test]
fn a_service_that_the_subscription_does_not_use_is_named_with_the_command_that_begins_it() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.azure.unregister("Microsoft.ManagedIdentity");
    let failed = home.up(&[]).exits(3).says("identity.machine").says("MissingSubscriptionRegistration");
    failed.says("next: az provider register --namespace Microsoft.ManagedIdentity --wait");
    assert!(!cloud.changes().iter().any(|call| call.contains("Register")), "{:?}", cloud.changes());
    let register = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.ManagedIdentity/register");
    let look = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.ManagedIdentity?api-version=2025-04-01");
    cloud.azure.somebody(Method::POST, &format!("{register}?api-version=2025-04-01"), None);
    for _ in 0..2 {
        cloud.azure.somebody(Method::GET, &look, None);
    }
    home.up(&[]).exits(0).says("+ identity.machine").says("+ machine.main");
    cloud.agrees_with(&home, "when it was registered");
}

/// It would start without that encryption: nobody asked for such a machine.
#[test]
fn a_subscription_that_may_not_encrypt_at_the_host_is_told_how_it_may() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.azure.set_encryption_at_host(false);
    let failed = home.up(&[]).says("machine.main").says("'Microsoft.Compute/EncryptionAtHost' feature is not enabled");
    let failed = failed.says("next: az feature register --namespace Microsoft.Compute --name EncryptionAtHost");
    assert_ne!(failed.code, 0);
    assert!(!failed.stderr.contains("trying "), "another machine was tried\n{}", failed.transcript());
    cloud.agrees_with(&home, "without a machine");
    cloud.azure.set_encryption_at_host(true);
    home.up(&[]).exits(0).says("1 to create").says("+ machine.main");
    cloud.agrees_with(&home, "when it may");
}

#[test]
fn a_quota_is_named_with_the_command_that_asks_for_more() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.azure.set_quota(FAMILY, 0);
    let request = format!(
        "next: az quota update --resource-name \"{FAMILY}\" --scope \"/subscriptions/{SUBSCRIPTION}/providers/\
         Microsoft.Compute/locations/eastus\" --limit-object value=48 --resource-type dedicated"
    );
    let wish = ["--machine-type", SMALL];
    refused(&cloud, home.up(&wish), 4, &[FAMILY, "48 vCPUs", "limit is 0", &request]);

    cloud.azure.set_quota("lowPriorityCores", 10);
    let spot = ["--spot", "--machine-type", SMALL];
    price(&cloud, true, 1.5);
    refused(&cloud, home.up(&spot), 4, &["lowPriorityCores", "48 vCPUs", "limit is 10", "--limit-object value=48"]);

    // Room for the small one only: the large ones are left out, and it is said.
    cloud.azure.set_quota(FAMILY, 48);
    home.dsctl(&["plan"]).exits(0).says(SMALL).says("not tried: Standard_NC96ads_A100_v4 takes 96 vCPUs").says(FAMILY);
    home.up(&[]).exits(0);
    // Its own machine is no reason against itself.
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
}

fn price(cloud: &Cloud, is_spot: bool, dollars: f64) {
    cloud.azure.set_price(tests::azure::Price {
        size: SMALL.to_owned(),
        region: "eastus".to_owned(),
        dollars,
        is_spot,
    });
}

#[test]
fn what_azure_does_not_offer_to_the_subscription_is_no_candidate() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.azure.restrict(Restriction { size: SMALL.to_owned(), region: "eastus".to_owned(), zones: Vec::new() });
    let texts = ["NotAvailableForSubscription", "which Azure does not offer to this subscription", "az vm list-skus"];
    refused(&cloud, home.up(&["--machine-type", SMALL]), 4, &texts);
    home.dsctl(&["plan"]).exits(0).says(&format!("not tried: {SMALL}")).says("Standard_NC96ads_A100_v4 in eastus");
}

/// It would be made, paid for, and never serve.
#[test]
fn a_machine_whose_driver_the_image_has_not_is_no_candidate() {
    let cloud = Cloud::start();
    let home = cloud.home_for("14b-int8");
    let graphics = "Standard_NV36ads_A10_v5";
    let plan = home.dsctl(&["plan", "--json"]).exits(0).json();
    let candidates = plan["cloud"]["candidates"].to_string();
    assert!(candidates.contains("Standard_NC") && !candidates.contains("Standard_NV"), "{candidates}");
    home.dsctl(&["plan"]).exits(0).says(&format!("not tried: {graphics}")).says("--image");
    let named = home.up(&["--machine-type", graphics]);
    let code = named.code;
    refused(&cloud, named, code, &[graphics, "GRID driver", "--image PUBLISHER:OFFER:SKU:VERSION"]);
    let image = "microsoft-dsvm:ubuntu-hpc:2204:22.04.2026061901";
    home.dsctl(&["plan", "--machine-type", graphics, "--image", image]).exits(0).says(&format!("{graphics} in eastus"));
}

#[test]
fn what_is_missing_is_named_before_anything_is_made() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let refused_image = |image: &str, texts: &[&str]| {
        let outcome = home.up(&["--image", image]);
        assert!([2, 4].contains(&outcome.code), "{}", outcome.transcript());
        let code = outcome.code;
        refused(&cloud, outcome, code, texts);
    };
    refused_image("microsoft-dsvm:ubuntu-hpc:2204:1.2.3", &["microsoft-dsvm:ubuntu-hpc:2204:1.2.3", "eastus"]);
    refused_image("ami-0123456789abcdef0", &["ami-0123456789abcdef0", "--image PUBLISHER:OFFER:SKU:VERSION"]);
    let refused_wish = |wish: &[&str], texts: &[&str]| refused(&cloud, home.up(wish), 2, texts);
    refused_wish(
        &["--machine-type", "Standard_NC48ads_A100"],
        &["machine.type", "did you mean Standard_NC48ads_A100_v4?"],
    );
    // The cheap ones are not there: that is no reason for one of four times the price that nobody asked about.
    for zone in ["eastus-9", "eastus-3"] {
        refused_wish(&["--zone", zone], &["machine.zones", zone, "eastus-1, eastus-2", "--max-hourly"]);
    }
    refused_wish(&["--network", "10.0.0.0/30"], &["network.range"]);
    cloud.azure.set_image_versions(&[]);
    let newest = ["an image with NVIDIA's driver", "eastus", "--image PUBLISHER:OFFER:SKU:VERSION"];
    refused(&cloud, home.up(&[]), 4, &newest);
    assert_eq!(home.state(), None, "a state was written");
}

/// In another, everything of it would seem to be gone.
#[test]
fn the_subscription_of_a_deployment_stays_the_one_on_record() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    cloud.proxy.clear();
    let elsewhere = |words: &[&str]| run(home.command(words).env("AZURE_SUBSCRIPTION_ID", OTHER));
    let set = format!("az account set --subscription {SUBSCRIPTION}, and the same command again");
    for words in [&["down", "--yes"][..], &["drift"]] {
        refused(&cloud, elsewhere(words), 3, &[OTHER, SUBSCRIPTION, &set]);
    }
    refused(&cloud, elsewhere(&["up", "--yes", "--no-wait"]), 3, &[OTHER, "next: az account list"]);
}
