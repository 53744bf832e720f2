//! What all traffic must do, the fake as well as a gateway's data plane: the controller's recovery relies on it.

use spec::amount::Weight;
use spec::id::Variant;

use crate::ports::{Traffic, TrafficError};

/// Asserts the contract of [`Traffic`] on a fresh one with two healthy variants. `attempt` sends one request through
/// the data plane and returns when it was answered and seen.
pub async fn traffic_conforms(traffic: &dyn Traffic, attempt: impl AsyncFn()) {
    a_weight_is_in_force_when_it_is_set(traffic).await;
    asking_again_changes_nothing(traffic).await;
    what_is_older_or_different_is_stale(traffic).await;
    generations_may_be_skipped(traffic).await;
    what_is_withdrawn_can_be_set_after_all(traffic).await;
    each_attempt_is_given_once(traffic, &attempt).await;
    traffic.probe_candidate().await.expect("a healthy candidate is ready");
}

fn weight(points: u16) -> Weight {
    Weight::from_basis_points(points).expect("at most 10,000")
}

async fn a_weight_is_in_force_when_it_is_set(traffic: &dyn Traffic) {
    let next = traffic.route_table().generation + 1;
    let salt = traffic.route_table().salt;
    traffic.set_weight(weight(1_000), next).await.expect("set");
    let table = traffic.route_table();
    assert_eq!((table.candidate, table.generation), (weight(1_000), next));
    assert_eq!(table.salt, salt, "a change of weight moves nobody who need not move");
}

async fn asking_again_changes_nothing(traffic: &dyn Traffic) {
    let before = traffic.route_table();
    traffic.set_weight(before.candidate, before.generation).await.expect("the same change again");
    assert_eq!(traffic.route_table(), before);
}

async fn what_is_older_or_different_is_stale(traffic: &dyn Traffic) {
    let before = traffic.route_table();
    for (points, generation) in
        [(1_000, before.generation - 1), (2_000, before.generation - 1), (2_000, before.generation)]
    {
        let error = traffic.set_weight(weight(points), generation).await.expect_err("stale");
        match error {
            TrafficError::Stale { in_force, given } => assert_eq!((in_force, given), (before.generation, generation)),
            other => panic!("{points} under {generation}: {other}"),
        }
        assert_eq!(traffic.route_table(), before, "what is stale changes nothing");
    }
}

async fn generations_may_be_skipped(traffic: &dyn Traffic) {
    let later = traffic.route_table().generation + 5;
    traffic.set_weight(weight(1_500), later).await.expect("set");
    assert_eq!((traffic.route_table().candidate, traffic.route_table().generation), (weight(1_500), later));
}

async fn what_is_withdrawn_can_be_set_after_all(traffic: &dyn Traffic) {
    let before = traffic.route_table();
    for _ in 0..2 {
        traffic.withdraw_candidate().await;
        let table = traffic.route_table();
        assert_eq!((table.candidate, table.generation, &table.salt), (Weight::NONE, before.generation, &before.salt));
    }
    traffic.set_weight(Weight::NONE, before.generation + 1).await.expect("set");
    assert_eq!(traffic.route_table().generation, before.generation + 1);
}

async fn each_attempt_is_given_once(traffic: &dyn Traffic, attempt: &impl AsyncFn()) {
    for (candidate, variant) in [(Weight::ALL, Variant::Candidate), (Weight::NONE, Variant::Baseline)] {
        let generation = traffic.route_table().generation + 1;
        traffic.set_weight(candidate, generation).await.expect("set");
        traffic.take_observations();
        for _ in 0..3 {
            attempt().await;
        }
        let seen = traffic.take_observations();
        assert_eq!(seen.len(), 3, "one observation an attempt: {seen:?}");
        for observation in seen {
            assert_eq!((observation.variant, observation.generation), (variant, generation));
            assert!(observation.outcome.is_counted() && !observation.outcome.is_failure(), "{observation:?}");
            assert!(!observation.is_fallback, "what the weight sent is no fallback: {observation:?}");
        }
        assert!(traffic.take_observations().is_empty(), "each is given once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeTraffic;
    use crate::ports::Outcome;

    #[tokio::test]
    async fn the_fake_conforms() {
        let traffic = FakeTraffic::new(Weight::NONE);
        traffic_conforms(&traffic, async || traffic.serve(1, |_, _| Outcome::Ok)).await;
    }
}
