//! The scenes of all clouds on Azure.

use tests::azure::cloud::REGION;

use super::crash::Azure;
use crate::scenes;

/// Makes what is there before the machine, and costs money.
const SLOW: &str = "NatGateways_CreateOrUpdate";
const ELSEWHERE: &str = "westeurope";
/// Of what is looked for by its mark.
const KINDS: [&str; 1] = ["machine"];

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

#[test]
fn of_two_at_once_one_wins_and_the_other_names_it() {
    scenes::together::of_two_at_once_one_wins::<Azure>(SLOW);
}

#[test]
fn the_first_ctrl_c_ends_what_is_under_way_and_says_what_there_is() {
    scenes::interrupted::once::<Azure>(SLOW);
}

#[test]
fn the_second_ctrl_c_ends_at_once_and_the_next_up_finds_what_was_under_way() {
    scenes::interrupted::twice::<Azure>(SLOW);
}

#[test]
fn down_is_interrupted_as_well_and_takes_the_rest_away_later() {
    scenes::interrupted::down::<Azure>();
}

#[test]
fn waiting_for_the_machine_may_be_ended_and_taken_up_again() {
    scenes::interrupted::waiting::<Azure>();
}

#[test]
fn a_deployment_whose_record_is_lost_is_found_in_any_region() {
    scenes::orphans::of_a_lost_record::<Azure>(ELSEWHERE, &KINDS);
}

#[test]
fn each_command_gives_one_value_with_the_fields_that_are_promised() {
    scenes::reports::agree::<Azure>(REGION);
}
