//! What can't be or may not be on Google Cloud: an exit code a script can act on, a sentence, the next command; and nothing made.

use tests::gcp::cloud::Cloud;
use tests::process::Outcome;

/// Says each text, names a next command, and was told to the cloud in no call that changes something.
#[track_caller]
fn refused(cloud: &Cloud, outcome: Outcome, code: i32, texts: &[&str]) {
    let outcome = texts.iter().fold(outcome.exits(code), |outcome, text| outcome.says(text));
    assert!(outcome.stderr.contains("next: "), "no next command\n{}", outcome.transcript());
    cloud.is_untouched(&outcome.line);
}

#[test]
fn whoever_has_no_credentials_or_no_project_is_told_so() {
    let cloud = Cloud::start();
    let home = cloud.home().variable("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json");
    refused(&cloud, home.up(&[]), 3, &["/nonexistent/key.json", "next: gcloud auth application-default login"]);
    let asked = home.dsctl(&["up", "--yes", "--json"]);
    assert_eq!(asked.exits(3).json()["error"]["kind"], "credentials");
    let home = cloud.home().variable("GOOGLE_CLOUD_PROJECT", "");
    refused(&cloud, home.up(&[]), 3, &["GOOGLE_CLOUD_PROJECT", "next: gcloud config set project PROJECT"]);
    let home = cloud.home().variable("GOOGLE_CLOUD_PROJECT", "no-such-project");
    refused(&cloud, home.up(&[]), 3, &["no-such-project"]);
    assert_eq!(home.state(), None, "a state was written");
    cloud.is_empty("without credentials");
}

/// The first call to it says so, with the command that enables it; the rest stays as it is, and the next `up` goes on.
#[test]
fn an_api_that_nobody_enabled_is_named_with_the_command_that_does() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.google.disable_service("compute");
    refused(
        &cloud,
        home.up(&[]),
        3,
        &["compute.googleapis.com", "next: gcloud services enable compute.googleapis.com"],
    );
    assert_eq!(home.state(), None, "a state was written");

    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.google.disable_service("iam");
    let failed = home.up(&[]).exits(3).says("service-account.machine").says("iam.googleapis.com");
    failed.says("next: gcloud services enable iam.googleapis.com").says("`dsctl down` removes them");
    cloud.google.enable_service("iam");
    home.up(&[]).exits(0).says("+ service-account.machine").says("+ machine.main");
    cloud.agrees_with(&home, "when it was enabled");
}

#[test]
fn a_quota_is_named_with_the_command_that_asks_for_more() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let request = |quota: &str, region: &str, wanted: u32| {
        format!(
            "next: gcloud beta quotas preferences create --service=compute.googleapis.com --quota-id={quota}{region} \
             --preferred-value={wanted} --project=dsctl-tests"
        )
    };
    // What every new project has: none at all.
    cloud.google.set_quota("global", "GPUS_ALL_REGIONS", 0.0);
    let all = request("GPUS-ALL-REGIONS-per-project", "", 1);
    refused(&cloud, home.up(&[]), 4, &["GPUS_ALL_REGIONS", "GPUs (all regions)", "limit is 0", &all]);

    cloud.google.set_quota("global", "GPUS_ALL_REGIONS", 64.0);
    cloud.google.set_quota("us-central1", "NVIDIA_L4_GPUS", 4.0);
    let of_region = request("NVIDIA-L4-GPUS-per-project-region", " --dimensions=region=us-central1", 8);
    let wish = ["--machine-type", "g2-standard-96"];
    refused(&cloud, home.up(&wish), 4, &["NVIDIA_L4_GPUS", "8 GPUs", "limit is 4", &of_region]);
    cloud.google.set_quota("us-central1", "PREEMPTIBLE_NVIDIA_L4_GPUS", 0.0);
    let spot = request("PREEMPTIBLE-NVIDIA-L4-GPUS-per-project-region", " --dimensions=region=us-central1", 8);
    refused(&cloud, home.up(&["--spot", wish[0], wish[1]]), 4, &["PREEMPTIBLE_NVIDIA_L4_GPUS", &spot]);

    // Room for one card only: the machines with more are left out, and it is said.
    cloud.google.set_quota("global", "GPUS_ALL_REGIONS", 1.0);
    let plan = home.dsctl(&["plan"]).exits(0).says("1. g4-standard-48");
    plan.says("not tried: g2-standard-96 takes 8 GPUs").says("not tried: g4-standard-96").says("GPUS_ALL_REGIONS");
    home.up(&[]).exits(0);
    // Its own machine is no reason against itself.
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
}

#[test]
fn a_wish_that_cannot_be_is_refused_by_its_field() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let near = ["machine.type", "g4-standard-48s", "did you mean g4-standard-48?"];
    refused(&cloud, home.up(&["--machine-type", "g4-standard-48s"]), 2, &near);
    refused(&cloud, home.up(&["--machine-type", "g2-standard-4"]), 2, &["machine.type", "does not hold 70b-int8"]);
    refused(&cloud, home.up(&["--zone", "us-central1-x"]), 2, &["machine.zones", "us-central1-x", "us-central1-b"]);
    let nowhere = home.up(&["--machine-type", "g2-standard-96", "--zone", "us-central1-f"]);
    refused(&cloud, nowhere, 2, &["machine.zones", "us-central1-f", "us-central1-b"]);
    refused(&cloud, home.up(&["--disk", "10"]), 2, &["machine.disk_gib"]);
    refused(&cloud, home.up(&["--public"]), 2, &["network", "allow"]);
    refused(&cloud, home.up(&["--network", "10.0.0.0/30"]), 2, &["network.range"]);
    refused(&cloud, home.up(&["--region", "mars-*"]), 2, &["mars-*", "us-central1"]);
}

/// Google gives its images new names and lets old ones go.
#[test]
fn an_image_that_is_not_there_is_named_before_anything_is_made() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let missing = "projects/my-project/global/images/no-such-image";
    let outcome = home.up(&["--image", missing]);
    let code = outcome.code;
    assert!([2, 4].contains(&code), "{}", outcome.transcript());
    refused(&cloud, outcome, code, &[missing, "--image projects/"]);
    // The next of the list, when one is gone, each with a driver in it; and when all are, the way to name one.
    cloud.google.withdraw_image_family("common-cu129-ubuntu-2404-nvidia-580");
    home.dsctl(&["plan"]).exits(0).says("common-cu129-ubuntu-2204-nvidia-580");
    cloud.google.withdraw_image_family("common-cu129-ubuntu-2204-nvidia-580");
    cloud.google.withdraw_image_family("common-cu128-ubuntu-2204-nvidia-570");
    home.dsctl(&["plan"]).exits(0).says("pytorch-2-9-cu129-ubuntu-2204-nvidia-580");
    cloud.google.withdraw_image_family("pytorch-2-9-cu129-ubuntu-2204-nvidia-580");
    refused(&cloud, home.up(&[]), 4, &["has none of the families", "--image projects/"]);
    // Whoever names one gets it, by its family too.
    let family = "projects/deeplearning-platform-release/global/images/family/pytorch-2-7-cu128-ubuntu-2204-nvidia-570";
    home.dsctl(&["plan", "--image", family]).exits(0).says("pytorch-2-7-cu128-ubuntu-2204-nvidia-570-v");
    assert_eq!(home.state(), None, "a state was written");
}

#[test]
fn a_key_that_cannot_encrypt_is_named_before_anything_is_made() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let key = |place: &str| format!("projects/keys/locations/{place}/keyRings/ring/cryptoKeys/one");
    let form = ["encryption_key", "is no key of Cloud KMS", "next: gcloud kms keys list"];
    refused(&cloud, home.up(&["--encryption-key", "one"]), 2, &form);
    for place in ["europe-west4", "us", "global"] {
        let lies = format!("lies in {place}, the deployment in us-central1");
        let texts = ["encryption_key", lies.as_str(), "next: the same command with a key in us-central1"];
        refused(&cloud, home.up(&["--encryption-key", &key(place)]), 2, &texts);
    }
    assert_eq!(home.state(), None, "a state was written");
}

/// dsctl gives nobody a right to a key; who has it is told the command, once for each service, and then it goes on.
#[test]
fn a_service_that_may_not_use_the_key_is_named_with_the_command_that_lets_it() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let key = "projects/keys/locations/us-central1/keyRings/ring/cryptoKeys/one";
    let wish = ["--encryption-key", key];
    cloud.google.lock_out("storage");
    cloud.google.lock_out("compute");
    let failed = home.up(&wish).exits(3).says("bucket.main").says("Permission denied on Cloud KMS key");
    failed.says(&format!("next: gcloud storage service-agent --project=dsctl-tests --authorize-cmek={key}"));
    cloud.google.let_in("storage");
    let failed = home.up(&wish).exits(3).says("machine.main").says("cloudkms.cryptoKeyVersions.useToEncrypt");
    failed.says(&format!("next: gcloud kms keys add-iam-policy-binding {key} --role=roles/cloudkms."));
    cloud.google.let_in("compute");
    home.up(&wish).exits(0).says("+ machine.main");
    cloud.agrees_with(&home, "when both were let in");
    // A bucket that is there is told so as well, and keeps what it has.
    cloud.google.lock_out("storage");
    let other = key.replace("/one", "/two");
    let failed = home.up(&["--encryption-key", &other]).exits(3).says("bucket.main");
    failed.says(&format!("--authorize-cmek={other}"));
    assert_eq!(cloud.bodies("buckets")[0]["encryption"]["defaultKmsKeyName"], key);
}
