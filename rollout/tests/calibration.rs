//! Calibration at a size for every build: the example `calibration` is the same at full size.

#[path = "../examples/calibration/method.rs"]
mod method;
#[path = "../examples/calibration/simulate.rs"]
mod simulate;
#[path = "../examples/calibration/traffic.rs"]
mod traffic;

use simulate::simulate;
use traffic::Scene;

const RUNS: usize = 60;
/// The methods of this crate come first.
const OURS: usize = 4;
/// Gates beside the baseline, as `decide()` judges them.
const BESIDE: usize = 1;

#[test]
fn healthy_candidates_are_rolled_back_at_most_as_often_as_alpha_says() {
    let scenes = [
        Scene::healthy("rare errors", 0.001, 30),
        Scene::healthy("some errors", 0.005, 30),
        Scene::healthy("some errors, more traffic", 0.005, 100),
        Scene::healthy("many errors", 0.02, 30),
        Scene::healthy("drifting", 0.005, 100).drifting(),
    ];
    for (seed, scene) in scenes.iter().enumerate() {
        for (at, outcomes) in simulate(scene, RUNS, seed as u64).iter().take(OURS).enumerate() {
            // Two standard deviations over the one in a hundred that is allowed.
            assert!(outcomes.share() <= method::ALPHA + 0.02, "{}: method {at}: {}", scene.name, outcomes.share());
        }
    }
}

/// The hardest case of those that may not be rolled back, and the chance alpha is for the two gates together.
#[test]
fn a_candidate_exactly_at_the_bounds_is_rolled_back_at_most_as_often_as_alpha_says() {
    let outcomes = &simulate(&Scene::at_the_bounds("at the bounds", 60), 100, 5)[BESIDE];
    assert!(outcomes.share() <= method::ALPHA + 0.02, "{}", outcomes.share());
}

#[test]
fn ill_candidates_are_caught_in_time() {
    for (scene, method, most) in [
        (Scene::ill("all fail", 1.0, 1.0, 10), 0, 10),
        (Scene::ill("a fifth fails", 0.2, 1.0, 10), 0, 60),
        (Scene::ill("a fifth fails", 0.2, 1.0, 10), BESIDE, 60),
        (Scene::ill("a fifth fails", 0.2, 1.0, 10), 2, 60),
        (Scene::ill("5% fail", 0.05, 1.0, 100), 0, 400),
        (Scene::ill("5% fail", 0.05, 1.0, 100), BESIDE, 400),
        (Scene::ill("half slower", 0.005, 1.5, 100), BESIDE, 600),
        (Scene::ill("half slower", 0.005, 1.5, 100), 3, 600),
    ] {
        let outcomes = &simulate(&scene, 40, 9)[method];
        let median = outcomes.median_answers().unwrap_or(u64::MAX);
        assert!(outcomes.share() >= 0.95 && median <= most, "{}: {} {median}", scene.name, outcomes.share());
    }
}

/// Why the statistics are there: the same healthy candidate, the same answers.
#[test]
fn a_fixed_threshold_rolls_healthy_candidates_back() {
    let outcomes = simulate(&Scene::healthy("some errors", 0.005, 30), RUNS, 1);
    assert!(outcomes[0].share() <= 0.03 && outcomes[OURS].share() >= 0.5, "{}", outcomes[OURS].share());
}
