//! Up, plan, drift, down: and what is in the account then.

use tests::gcp::cloud::Cloud;

#[test]
fn a_deployment_comes_private_and_encrypted_and_goes_without_a_trace() {
    let cloud = Cloud::start();
    let home = cloud.home();

    home.dsctl(&["plan"]).exits(0).says("to create").says("us-central1");
    cloud.is_untouched("a plan");
    assert_eq!(home.state(), None, "a plan left a state");
    home.up(&[]).exits(0).says("+ machine.main").says("endpoint  http://10.77.");
    cloud.agrees_with(&home, "after up");

    cloud.proxy.clear();
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    home.dsctl(&["status"]).exits(1).says("not ready").says("nothing yet");
    home.dsctl(&["orphans", "--detailed-exitcode"]).exits(0).says("machine");
    cloud.is_untouched("a second up without a change, and looks");

    home.dsctl(&["down", "--yes"]).exits(0).says("it no longer costs $");
    cloud.is_empty("after down");
}
