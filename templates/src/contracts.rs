//! What the starters promise: they are valid, with what they offer too, and a first boot carries no secret.

use std::path::Path;

use spec::deployment::{Cloud, Deployment};
use spec::rollout::RolloutSpec;
use spec::yaml;

fn content(name: &str) -> &'static str {
    crate::find(name).unwrap().content
}

#[test]
fn the_starters_are_what_their_keys_are_read_as() {
    let deployment = Deployment::parse(content("local"), "dsctl.yaml").unwrap();
    assert_eq!(deployment.model.as_deref(), Some("smollm2-135m"));
    let rollout: RolloutSpec = yaml::parse(content("rollout"), "rollout.yaml").unwrap();
    rollout.validate().unwrap();
    assert_eq!(rollout, RolloutSpec::default(), "the starter shows the defaults");
}

#[test]
fn the_starter_of_each_cloud_is_valid_with_all_that_it_offers() {
    for (name, cloud) in [("aws", Cloud::Aws), ("gcp", Cloud::Gcp), ("azure", Cloud::Azure)] {
        let plain = Deployment::parse(content(name), name).unwrap();
        assert_eq!((plain.cloud, plain.model.as_deref()), (Some(cloud), Some("70b-int8")));
        let text: Vec<String> = content(name).lines().map(opened).collect();
        let all = Deployment::parse(&text.join("\n"), name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(all.machine.image.is_some() && all.network.tls.is_some() && all.budget.egress_gb.is_some(), "{all:?}");
        assert!(all.gateway.certificate.is_some() && all.guards.is_some(), "{all:?}");
        assert_eq!(all.encryption_key.is_some(), cloud == Cloud::Gcp, "{name}: it is refused elsewhere");
        assert!(all.state.is_some() && all.region.is_some() && all.baseline.is_some() && !all.compliance.is_empty());
    }
}

/// An offer is a key behind a mark; prose begins with a capital.
fn opened(line: &str) -> String {
    let rest = line
        .trim_start()
        .strip_prefix("# ")
        .filter(|rest| rest.trim_start().starts_with(|first: char| first.is_ascii_lowercase()) && rest.contains(':'));
    rest.map_or_else(|| line.to_owned(), |rest| line.replace(&format!("# {rest}"), rest))
}

/// What reads the metadata of a machine, and what lies on a command line, must not see a secret.
#[test]
fn a_first_boot_is_short_checks_what_it_fetched_and_carries_no_secret() {
    for (cloud, script) in [("aws", crate::AWS_BOOT), ("gcp", crate::GCP_BOOT), ("azure", crate::AZURE_BOOT)] {
        assert!(script.starts_with("#cloud-config\n") && script.lines().count() <= 60, "{cloud}");
        yaml::parse::<serde::de::IgnoredAny>(script, cloud).unwrap();
        let (fetch, check) =
            (script.find("fetching dsctl").unwrap(), script.find("sha256sum --check --quiet").unwrap());
        assert!(fetch < check && check < script.find("install -m").unwrap(), "{cloud}: what runs was not checked");
        assert!(!script.to_lowercase().contains("api_key"), "{cloud}");
    }
    assert!(!crate::GCP_BOOT.contains("--header \"Authorization"), "a token on a command line");
}

/// What is commented out is an offer: with its marks taken off it must be valid too.
#[test]
fn what_is_commented_out_in_the_starters_is_valid() {
    let text = content("local");
    let offers = ["  # threads:", "# baseline: local:", "# baseline:\n#   url:", "# weights:"];
    for offer in offers {
        assert!(text.contains(offer), "{offer} is gone");
    }
    let opened = |from: &str| -> String {
        let block = &text[text.find(from).unwrap()..];
        let lines = block.lines().take_while(|line| line.trim_start().starts_with('#'));
        let body: Vec<&str> = lines.map(|line| line.trim_start_matches("# ").trim_start_matches('#')).collect();
        let first = body[0].to_owned();
        let rest = body[1..].iter().take_while(|line| line.starts_with(' ')).copied();
        std::iter::once(first.as_str()).chain(rest).collect::<Vec<_>>().join("\n")
    };
    for (offer, wanted) in
        [("# baseline: local:", "Local"), ("# baseline:\n", "key_env: Some"), ("# weights:", "sources")]
    {
        let deployment = Deployment::parse(&opened(offer), "dsctl.yaml").unwrap();
        assert!(format!("{deployment:?}").contains(wanted), "{offer}: {deployment:?}");
    }
    Deployment::parse(&text.replace("  # threads:", "  threads:"), "dsctl.yaml").unwrap();
    let rollout = content("rollout").replace("  # - scrape:", "  - scrape:");
    assert_eq!(yaml::parse::<RolloutSpec>(&rollout, "rollout.yaml").unwrap().gates.len(), 3);
}

#[test]
fn the_examples_are_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut deployments = 0;
    for folder in std::fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        let read = |name: &str| std::fs::read_to_string(folder.join(name));
        let place = folder.display();
        let deployment = Deployment::parse(&read("dsctl.yaml").unwrap(), "dsctl.yaml");
        deployment.unwrap_or_else(|error| panic!("{place}: {error}"));
        if let Ok(rollout) = read("rollout.yaml") {
            let rollout: RolloutSpec =
                yaml::parse(&rollout, "rollout.yaml").unwrap_or_else(|error| panic!("{place}: {error}"));
            rollout.validate().unwrap_or_else(|error| panic!("{place}: {error}"));
        }
        assert!(read("README.md").unwrap().contains("```console"), "{place}: no console block");
        deployments += 1;
    }
    assert!(deployments >= 3, "{deployments} examples");
}
