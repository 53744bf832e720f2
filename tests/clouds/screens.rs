//! What a person sees: the same commands on every cloud, and the plan of every model.

use tests::process::Outcome;
use tests::redact::snapshot;

use crate::crash::Stage;

/// Exit codes of a plan: one was made, the model's files are not on record, no machine holds it, none may be had.
const ANSWERS: [i32; 4] = [0, 2, 4, 5];

/// A deployment's life, screen by screen.
fn screens<S: Stage>() {
    let stage = S::start();
    let show = |name: &str, outcome: Outcome| {
        snapshot(&stage.home().home, &format!("{}-{name}", S::CLOUD), &outcome);
    };
    show("plan", stage.run(&["plan"]).exits(0));
    show("up", stage.run(&["up", "--yes", "--no-wait"]).exits(0));
    show("up-again", stage.run(&["up", "--yes", "--no-wait"]).exits(0));
    show("plan-narrow", stage.run(&["plan", "--allow", "10.1.0.0/16"]).exits(0));
    show("status", stage.run(&["status"]).exits(1));
    show("drift", stage.run(&["drift"]).exits(0));
    show("orphans", stage.run(&["orphans", "--cloud", S::CLOUD]).exits(0));
    show("down", stage.run(&["down", "--yes"]).exits(0));
    show("status-without", stage.run(&["status"]).exits(6));
}

/// The plan of every model that dsctl knows.
fn plans<S: Stage>() {
    let stage = S::start();
    let home = &stage.home().home;
    let binaries = stage.home().binaries.display().to_string();
    let models = home.dsctl(&["models", "--json"]).exits(0).json();
    let names: Vec<&str> = models.as_array().into_iter().flatten().filter_map(|model| model["name"].as_str()).collect();
    assert!(names.len() > 20, "{names:?}");
    for model in names {
        let plan = home.dsctl(&["plan", "--cloud", S::CLOUD, "--model", model, "--binaries", &binaries]);
        assert!(ANSWERS.contains(&plan.code), "{}", plan.transcript());
        snapshot(home, &format!("{}-plan-{model}", S::CLOUD), &plan);
    }
    stage.is_untouched("plans");
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
