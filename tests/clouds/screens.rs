//! What a person sees: the same commands on every cloud, and the plan of every model.

use tests::process::Outcome;
use tests::redact::snapshot;

use crate::crash::Ground;

/// Exit codes of a plan: one was made, the model's files are not on record, no machine holds it, none may be had.
const ANSWERS: [i32; 4] = [0, 2, 4, 5];

/// A deployment's life, screen by screen.
fn screens<G: Ground>() {
    let ground = G::start();
    let show = |name: &str, outcome: Outcome| {
        snapshot(&ground.home().home, &format!("{}-{name}", G::CLOUD), &outcome);
    };
    show("plan", ground.run(&["plan"]).exits(0));
    show("up", ground.run(&["up", "--yes", "--no-wait"]).exits(0));
    show("up-again", ground.run(&["up", "--yes", "--no-wait"]).exits(0));
    show("plan-narrow", ground.run(&["plan", "--allow", "10.1.0.0/16"]).exits(0));
    show("status", ground.run(&["status"]).exits(1));
    show("drift", ground.run(&["drift"]).exits(0));
    show("orphans", ground.run(&["orphans", "--cloud", G::CLOUD]).exits(0));
    show("down", ground.run(&["down", "--yes"]).exits(0));
    show("status-without", ground.run(&["status"]).exits(6));
}

/// The plan of every model that dsctl knows.
fn plans<G: Ground>() {
    let ground = G::start();
    let home = &ground.home().home;
    let binaries = ground.home().binaries.display().to_string();
    let models = home.dsctl(&["models", "--json"]).exits(0).json();
    let names: Vec<&str> = models.as_array().into_iter().flatten().filter_map(|model| model["name"].as_str()).collect();
    assert!(names.len() > 20, "{names:?}");
    for model in names {
        let plan = home.dsctl(&["plan", "--cloud", G::CLOUD, "--model", model, "--binaries", &binaries]);
        assert!(ANSWERS.contains(&plan.code), "{}", plan.transcript());
        snapshot(home, &format!("{}-plan-{model}", G::CLOUD), &plan);
    }
    ground.is_untouched("plans");
}

#[cfg(feature = "aws")]
mod aws {
    use super::{plans, screens};
    use crate::aws::crash::Aws;

    #[test]
    fn the_screens_of_a_deployment() {
        screens::<Aws>();
    }

    #[test]
    fn every_model_has_its_plan() {
        plans::<Aws>();
    }
}

#[cfg(feature = "gcp")]
mod gcp {
    use super::{plans, screens};
    use crate::gcp::crash::Gcp;

    #[test]
    fn the_screens_of_a_deployment() {
        screens::<Gcp>();
    }

    #[test]
    fn every_model_has_its_plan() {
        plans::<Gcp>();
    }
}

#[cfg(feature = "azure")]
mod azure {
    use super::{plans, screens};
    use crate::azure::crash::Azure;

    #[test]
    fn the_screens_of_a_deployment() {
        screens::<Azure>();
    }

    #[test]
    fn every_model_has_its_plan() {
        plans::<Azure>();
    }
}
