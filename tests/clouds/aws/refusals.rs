//! What can't be or may not be on AWS: an exit code a script can act on, a sentence, the next command; and nothing made.

use tests::aws::cloud::{Cloud, REGION};
use tests::aws::overlay::{spot_prices, zone_offerings};
use tests::cloud_home::CloudHome;
use tests::process::{Outcome, run};
use tests::proxy::{Fault, Rule};

/// Running On-Demand G and VT instances; the same on the spot market.
const ON_DEMAND_G: &str = "L-DB2E81BA";
const SPOT_G: &str = "L-3819A6DF";

/// Says each text, names a next command, and was told to the cloud in no call that changes something.
#[track_caller]
fn refused(cloud: &Cloud, outcome: Outcome, code: i32, texts: &[&str]) {
    let outcome = texts.iter().fold(outcome.exits(code), |outcome, text| outcome.says(text));
    assert!(outcome.stderr.contains("next: "), "no next command\n{}", outcome.transcript());
    cloud.is_untouched(&outcome.line);
}

fn up(home: &CloudHome, more: &[&str]) -> Outcome {
    home.up(more)
}

#[test]
fn whoever_has_no_credentials_or_may_not_look_is_told_so() {
    let cloud = Cloud::start();
    let home = cloud.home().variable("AWS_ACCESS_KEY_ID", "").variable("AWS_SECRET_ACCESS_KEY", "");
    refused(&cloud, up(&home, &[]), 3, &["credentials", "next: aws configure"]);
    let asked = home.dsctl(&["up", "--yes", "--json"]);
    assert_eq!(asked.exits(3).json()["error"]["kind"], "credentials");
    cloud.is_empty(REGION, "without credentials");

    let home = cloud.home();
    cloud.proxy.arm([Rule::nth("GetCallerIdentity", 1, Fault::Denied)]);
    refused(&cloud, up(&home, &[]), 3, &["who is asking", "AccessDenied", "next: aws sts get-caller-identity"]);
    // Whoever may not see limits and zones goes by what is on record, and is told so.
    cloud.proxy.clear();
    let denied = ["DescribeInstanceTypeOfferings", "GetProducts"];
    cloud.proxy.arm(denied.map(|operation| Rule::nth(operation, 1, Fault::Denied)));
    let plan = home.dsctl(&["plan"]).exits(0).says("23 to create");
    plan.says("Note: zones could not be asked, the catalogue's stand").says("Note: prices could not be asked");
    cloud.is_untouched("a plan by the catalogue");
}

#[test]
fn a_region_may_be_a_pattern_and_packs_hold_it_to_the_eu() {
    let cloud = Cloud::start();
    let home = cloud.home();
    // moto has no G6e there.
    cloud.proxy.answer_with(
        "DescribeInstanceTypeOfferings",
        zone_offerings(&[("g6e.12xlarge", "eu-north-1a"), ("g6e.12xlarge", "eu-north-1b")]),
    );
    let report = home.dsctl(&["plan", "--region", "eu-*", "--json"]).exits(0).json();
    assert_eq!(report["cloud"]["region"], "eu-north-1", "the cheapest of Europe: {report}");
    let first = report["cloud"]["candidates"][0].as_str().unwrap();
    assert!(first.contains("g6e.12xlarge") && first.contains("eu-north-1a"), "{first}");
    let report = home.dsctl(&["plan", "--compliance", "gdpr", "--json"]).exits(0).json();
    assert_eq!(report["cloud"]["region"], "eu-north-1", "gdpr alone leads there too: {report}");

    let london = up(&home, &["--compliance", "gdpr", "--region", "us-*"]);
    refused(&cloud, london, 5, &["gdpr", "region", "us-east-1", "outside the EU", "eu-central-1"]);
    refused(&cloud, up(&home, &["--region", "mars-*"]), 2, &["mars-*", "us-east-1"]);
}

#[test]
fn packs_name_all_that_they_forbid_at_once() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let region = ["--region", REGION];
    let gdpr = up(&home, &[&region[..], &["--compliance", "gdpr"]].concat());
    refused(&cloud, gdpr, 5, &["gdpr: region: us-east-1 lies outside the EU"]);

    let wish = ["--compliance", "hipaa,gdpr", "--public", "--allow", "0.0.0.0/0", "--max-hourly", "1"];
    let all = up(&home, &[&region[..], &wish].concat());
    let expected = [
        "gdpr: region: us-east-1 lies outside the EU",
        "hipaa: network.public",
        "hipaa: network.allow",
        "gdpr: network.allow",
        "max-hourly: budget.max_hourly",
    ];
    refused(&cloud, all, 5, &expected);
    let asked = home.dsctl(&[&["up", "--yes", "--json"], &region[..], &wish].concat());
    assert_eq!(asked.exits(5).json()["error"]["kind"], "policy-refused");
}

#[test]
fn a_budget_names_what_it_would_have_to_be() {
    let cloud = Cloud::start();
    let home = cloud.home();
    // The whole of it: machine, disk, NAT, address, answers.
    let month = ["max-monthly", "the cheapest comes to $", "above $100", "machine $2455.0776", "nat gateway $"];
    refused(&cloud, up(&home, &["--max-monthly", "100"]), 5, &month);
    let hour = ["max-hourly", "g7e.2xlarge in us-east-1, on-demand, at $3.36312/h", "raise it to 3.36312"];
    refused(&cloud, up(&home, &["--max-hourly", "1"]), 5, &hour);
    let both = up(&home, &["--max-hourly", "1", "--max-monthly", "100"]);
    refused(&cloud, both, 5, &["max-hourly", "max-monthly"]);
    // What the cloud says now counts, not what is on record.
    cloud.overlay.set_price("g7e.2xlarge", REGION, "5.0000000000");
    home.dsctl(&["plan", "--max-hourly", "4"]).exits(0).says("g7e.4xlarge");
    home.dsctl(&["plan", "--max-hourly", "3.5"]).exits(5).says("max-hourly");
    cloud.is_untouched("plans under a budget");
}

#[test]
fn a_quota_is_named_by_its_code_with_the_command_that_asks_for_more() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.overlay.set_quota(ON_DEMAND_G, 0.0);
    let request = format!(
        "next: aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {ON_DEMAND_G} \
         --desired-value 8 --region {REGION}"
    );
    let wish = ["--machine-type", "g7e.2xlarge"];
    let texts = [ON_DEMAND_G, "Running On-Demand G and VT instances", "8 vCPUs", "limit is 0", request.as_str()];
    refused(&cloud, up(&home, &wish), 4, &texts);

    cloud.overlay.set_quota(SPOT_G, 0.0);
    cloud.proxy.answer_with("DescribeSpotPriceHistory", spot_prices(&[("g6e.12xlarge", "us-east-1a", "3.5")]));
    let wish = ["--spot", "--machine-type", "g6e.12xlarge", "--max-hourly", "4"];
    let texts = [SPOT_G, "48 vCPUs", "--quota-code L-3819A6DF --desired-value 48"];
    refused(&cloud, up(&home, &wish), 4, &texts);

    // Room for the small one only: the large ones are left out, and it is said.
    cloud.overlay.set_quota(ON_DEMAND_G, 8.0);
    home.dsctl(&["plan"]).exits(0).says("g7e.2xlarge").says("not tried: g7e.4xlarge takes 16 vCPUs").says(ON_DEMAND_G);
    home.up(&[]).exits(0);
    // Its own machine is no reason against itself.
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
}

#[test]
fn a_wish_that_cannot_be_is_refused_by_its_field() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let near = ["machine.type", "g7e.2xlage", "did you mean g7e.2xlarge?"];
    refused(&cloud, up(&home, &["--machine-type", "g7e.2xlage"]), 2, &near);
    refused(&cloud, up(&home, &["--machine-type", "g6e.xlarge"]), 2, &["machine.type", "does not hold 70b-int8"]);
    refused(&cloud, up(&home, &["--zone", "us-east-1x"]), 2, &["machine.zones", "us-east-1x", "us-east-1a"]);
    refused(&cloud, up(&home, &["--disk", "10"]), 2, &["machine.disk_gib"]);
    refused(&cloud, up(&home, &["--public"]), 2, &["network", "allow"]);
    refused(&cloud, up(&home, &["--egress", "endpoints"]), 2, &["network.egress", "weights.sources"]);
    refused(&cloud, up(&home, &["--port", "0"]), 2, &["gateway.port"]);
    refused(&cloud, up(&home, &["--network", "10.0.0.0/29"]), 2, &["network.range"]);
    refused(&cloud, up(&home, &["--baseline", "local:70b-int8"]), 2, &["baseline"]);
}

#[test]
fn what_is_missing_is_named_before_anything_is_made() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let image = up(&home, &["--image", "ami-0123456789abcdef0"]);
    let code = image.code;
    assert!([2, 4].contains(&code), "{}", image.transcript());
    refused(&cloud, image, code, &["ami-0123456789abcdef0", REGION]);
    cloud.overlay.set_image(None);
    refused(&cloud, up(&home, &[]), 4, &["the newest image in us-east-1", "--image ami-"]);
    cloud.overlay.reset();

    std::fs::remove_file(home.binaries.join("dsgate")).unwrap();
    let folder = home.binaries.display().to_string();
    refused(&cloud, up(&home, &[]), 2, &["dsgate is not in", &folder, "--binaries DIR"]);
    let asked = run(&mut home.command(&["up"]));
    refused(&cloud, asked, 2, &["no terminal"]);
    assert_eq!(home.state(), None, "a state was written");
    home.dsctl(&["down", "--yes"]).exits(6);
}
