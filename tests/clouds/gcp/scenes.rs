//! The scenes of all clouds on Google's.

use tests::gcp::REGION;

use super::crash::Gcp;
use crate::scenes;

/// Makes what is there before the machine, and costs money.
const SLOW: &str = "compute.routers.insert";
const ELSEWHERE: &str = "europe-west4";
/// Of what is looked for by its mark.
const KINDS: [&str; 7] = ["machine", "network", "subnet", "router", "firewall", "service-account", "bucket"];

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

#[test]
fn of_two_at_once_one_wins_and_the_other_names_it() {
    scenes::together::of_two_at_once_one_wins::<Gcp>(SLOW);
}

#[test]
fn the_first_ctrl_c_ends_what_is_under_way_and_says_what_there_is() {
    scenes::interrupted::once::<Gcp>(SLOW);
}

#[test]
fn the_second_ctrl_c_ends_at_once_and_the_next_up_finds_what_was_under_way() {
    scenes::interrupted::twice::<Gcp>(SLOW);
}

#[test]
fn down_is_interrupted_as_well_and_takes_the_rest_away_later() {
    scenes::interrupted::down::<Gcp>();
}

#[test]
fn waiting_for_the_machine_may_be_ended_and_taken_up_again() {
    scenes::interrupted::waiting::<Gcp>();
}

#[test]
fn a_deployment_whose_record_is_lost_is_found_in_any_region() {
    scenes::orphans::of_a_lost_record::<Gcp>(ELSEWHERE, &KINDS);
}

#[test]
fn each_command_gives_one_value_with_the_fields_that_are_promised() {
    scenes::reports::agree::<Gcp>(REGION);
}
