//! The scenes of all clouds on Azure.

use super::crash::Azure;
use crate::scenes;

#[test]
fn a_full_zone_leads_to_the_next() {
    scenes::failover::<Azure>();
}

#[test]
fn when_nothing_can_be_had_each_attempt_is_told_and_the_next_up_goes_on() {
    scenes::no_room::<Azure>();
}

#[test]
fn a_limit_of_the_subscription_is_no_lack_of_capacity() {
    scenes::limit::<Azure>();
}

#[test]
fn a_saved_plan_is_done_as_it_is_or_not_at_all() {
    scenes::saved_plan::<Azure>();
}

#[test]
fn what_may_not_be_is_refused_before_anything_is_made() {
    scenes::refusals::<Azure>("eastus");
}

#[test]
fn a_deployment_comes_and_goes_without_a_trace() {
    scenes::life::<Azure>();
}
