//! Rules that people make: approvals, lockouts, the longest time of a stage, undoing.

use super::*;

fn approved_before(percent: u16) -> RolloutSpec {
    RolloutSpec { approve_before: vec![weight(percent)], ..spec() }
}

#[tokio::test]
async fn a_stage_that_needs_approval_waits_for_it_and_for_nothing_less_than_its_gates() {
    let house = House::new();
    let controller = house.started_with(approved_before(30)).await;
    let report = house.seconds(&controller, 20, HEALTHY).await;
    assert_eq!((report.awaits_approval, house.weight()), (Some(weight(30)), weight(10)));
    assert_eq!(report.reason, "waits for somebody's approval of 30% (dsctl rollout approve)");
    let report = controller.approve().await.unwrap();
    assert_eq!((report.awaits_approval, report.weight), (None, weight(10)), "the evidence is asked too");
    let again = controller.approve().await.unwrap_err();
    assert!(matches!(again, ControllerError::NothingToApprove { approved: Some(_) }), "{again}");
    // Said once it is known after a restart too.
    drop(controller);
    let controller = house.open().await;
    house.seconds(&controller, 1, HEALTHY).await;
    assert_eq!(house.weight(), weight(30));
    let none = controller.approve().await.unwrap_err();
    assert!(matches!(none, ControllerError::NothingToApprove { approved: None }), "{none}");
    assert_eq!(house.until_over(&controller, HEALTHY).await.phase, RolloutPhase::Promoted);
}

#[tokio::test]
async fn what_waits_for_approval_is_still_rolled_back() {
    let house = House::new();
    let controller = house.started_with(approved_before(60)).await;
    house.seconds(&controller, 30, HEALTHY).await;
    assert_eq!(house.weight(), weight(30));
    let report = house.seconds(&controller, 1, FAILING_FROM_30).await;
    assert_eq!((report.phase, report.awaits_approval, house.weight()), (RolloutPhase::RolledBack, None, Weight::NONE));
}

#[tokio::test]
async fn nothing_goes_up_in_a_lockout_and_everything_may_go_down() {
    let house = House::new();
    // The clock of these tests begins within it.
    let at = jiff::tz::TimeZone::UTC.to_datetime(house.clock.now());
    let tomorrow = at.date().tomorrow().unwrap();
    let lockout = format!("{} 00:00-{tomorrow} 00:00 UTC", at.date());
    let locked = RolloutSpec { lockout: vec![lockout.parse().unwrap()], ..spec() };
    let controller = house.open().await;
    let refused = controller.start(locked.clone()).await.unwrap_err();
    assert!(refused.to_string().contains(&lockout), "{refused}");
    assert_eq!((controller.report(), house.weight()), (None, Weight::NONE));
    house.clock.advance(-86_400);
    let report = controller.start(locked).await.unwrap();
    house.clock.advance(86_400);
    assert_eq!(report.weight, weight(10));
    let report = house.seconds(&controller, 20, HEALTHY).await;
    assert_eq!((report.reason, house.weight()), (format!("waits for the end of the lockout {lockout}"), weight(10)));
    let report = house.seconds(&controller, 5, |_, _| Outcome::UpstreamError).await;
    assert_eq!((report.phase, house.weight()), (RolloutPhase::RolledBack, Weight::NONE));
}

#[tokio::test]
async fn a_stage_that_is_not_passed_in_its_time_is_paused_until_somebody_resumes_it() {
    let house = House::new();
    let controller = house.started_with(RolloutSpec { max_bake: Some(Span::seconds(60)), ..spec() }).await;
    for phase in [RolloutPhase::Paused, RolloutPhase::Paused] {
        house.clock.advance(59);
        assert_eq!(controller.tick().await.unwrap().phase, RolloutPhase::Baking);
        house.clock.advance(1);
        let report = controller.tick().await.unwrap();
        assert_eq!(report.phase, phase);
        assert_eq!(kinds(&controller).last().unwrap(), "baked-too-long 10%");
        let report = house.seconds(&controller, 1, HEALTHY).await;
        assert!(report.reason.starts_with("paused, and not passed within 1m"), "{}", report.reason);
        controller.resume().await.unwrap();
    }
    house.seconds(&controller, 4, HEALTHY).await;
    assert_eq!(house.weight(), weight(30));
}

#[tokio::test]
async fn what_was_promoted_is_undone_at_once_and_what_was_taken_back_begins_anew() {
    let house = House::new();
    let controller = house.started().await;
    assert!(matches!(controller.undo().await, Err(ControllerError::Active { .. })));
    let promoted = house.until_over(&controller, HEALTHY).await;
    let undone = controller.undo().await.unwrap();
    assert_eq!((undone.phase, house.weight()), (RolloutPhase::Aborted, Weight::NONE));
    assert_eq!(undone.reason, format!("undoes rollout {}", promoted.id));
    let again = controller.undo().await.unwrap();
    assert_eq!((again.phase, again.stage, house.weight()), (RolloutPhase::Baking, 0, weight(10)));
    assert_eq!(again.spec, promoted.spec);
    assert_eq!(house.until_over(&controller, HEALTHY).await.phase, RolloutPhase::Promoted);
    assert!(matches!(House::new().open().await.undo().await, Err(ControllerError::NoRollout)));
}

#[tokio::test]
async fn an_undo_that_dies_anywhere_ends_at_none_or_never_began() {
    for at in 0..8 {
        for when in [When::Before, When::After] {
            let house = House::new();
            let controller = house.started().await;
            house.until_over(&controller, HEALTHY).await;
            let dying = Arc::new(FailingStore::new(house.store.clone(), at, when, Lasting::UntilMended));
            let _died_or_done = house.open_on(dying).await.unwrap().undo().await;
            let controller = house.open().await;
            if controller.report().unwrap().phase == RolloutPhase::Promoted {
                assert_eq!((house.weight(), at, when), (Weight::ALL, 0, When::Before));
                controller.undo().await.unwrap();
            }
            controller.tick().await;
            assert_eq!(house.end().await, (RolloutPhase::Aborted, Weight::NONE), "{when:?} act {at}");
        }
    }
}
