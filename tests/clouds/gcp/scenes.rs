//! The scenes of all clouds on Google's.

use super::crash::Gcp;
use crate::scenes;

#[test]
fn a_full_zone_leads_to_the_next() {
    scenes::failover::<Gcp>();
}

#[test]
fn when_nothing_can_be_had_each_attempt_is_told_and_the_next_up_goes_on() {
    scenes::no_room::<Gcp>();
}

#[test]
fn a_limit_of_the_project_is_no_lack_of_capacity() {
    scenes::limit::<Gcp>();
}

#[test]
fn a_saved_plan_is_done_as_it_is_or_not_at_all() {
    scenes::saved_plan::<Gcp>();
}

#[test]
fn what_may_not_be_is_refused_before_anything_is_made() {
    scenes::refusals::<Gcp>("us-central1");
}
