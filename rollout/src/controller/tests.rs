//! The controller on fakes: what it does in the end, and that no death or failure in between changes it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use engine::store::{DirectoryStore, MemoryStore};
use proptest::prelude::*;
use spec::amount::{Span, Weight};
use spec::id::Variant;
use spec::rollout::{RolloutPhase, Verdict};
use spec::route::RouteTable;

use super::*;
use crate::fake::{FailingStore, FakeClock, FakeTraffic, Lasting, When};
use crate::ledger::Ledger;
use crate::ports::{Observation, Outcome, TrafficError};

mod rules;

/// How a candidate behaves at a weight.
type Behaviour = fn(Variant, Weight) -> Outcome;

const HEALTHY: Behaviour = |_, _| Outcome::Ok;
const FAILING_FROM_30: Behaviour = |variant, weight| match variant {
    Variant::Candidate if weight.basis_points() >= 3_000 => Outcome::UpstreamError,
    Variant::Candidate | Variant::Baseline => Outcome::Ok,
};

fn weight(percent: u16) -> Weight {
    Weight::from_basis_points(percent * 100).unwrap()
}

fn spec() -> RolloutSpec {
    RolloutSpec { bake: Span::seconds(5), ..RolloutSpec::default() }
}

/// Failures lead back a stage, once; no streak of them rolls back. Somebody must let the third stage begin.
fn forgiving() -> RolloutSpec {
    let gates = vec!["error_ratio<5% on_fail=step_back".parse().unwrap()];
    RolloutSpec { gates, max_step_backs: 1, consecutive_failures: 1_000, approve_before: vec![weight(60)], ..spec() }
}

/// What outlives a controller.
struct House {
    store: Arc<dyn Store>,
    traffic: FakeTraffic,
    clock: Arc<FakeClock>,
}

impl House {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        Self { store, traffic: FakeTraffic::new(Weight::NONE), clock: Arc::default() }
    }

    async fn open(&self) -> Controller {
        self.open_on(Arc::clone(&self.store)).await.unwrap()
    }

    async fn open_on(&self, store: Arc<dyn Store>) -> Result<Controller, ControllerError> {
        Controller::open(store, Arc::new(self.traffic.clone()), self.clock.clone()).await
    }

    async fn started(&self) -> Controller {
        self.started_with(spec()).await
    }

    async fn started_with(&self, spec: RolloutSpec) -> Controller {
        let controller = self.open().await;
        controller.start(spec).await.unwrap();
        controller
    }

    /// A second goes by with fifty requests, then a tick.
    async fn second(&self, controller: &Controller, behaviour: Behaviour) -> Option<RolloutReport> {
        self.clock.advance(1);
        self.traffic.serve(50, behaviour);
        controller.tick().await
    }

    async fn seconds(&self, controller: &Controller, count: u32, behaviour: Behaviour) -> RolloutReport {
        for _ in 0..count {
            self.second(controller, behaviour).await;
        }
        controller.report().unwrap()
    }

    async fn until_over(&self, controller: &Controller, behaviour: Behaviour) -> RolloutReport {
        for _ in 0..500 {
            if let Some(report) = self.second(controller, behaviour).await.filter(|report| report.phase.is_over()) {
                return report;
            }
        }
        panic!("not over: {:?}", controller.report());
    }

    fn weight(&self) -> Weight {
        self.traffic.route_table().candidate
    }

    async fn end(&self) -> (RolloutPhase, Weight) {
        let ledger = Ledger::open_last(Arc::clone(&self.store)).await.unwrap().unwrap();
        (ledger.rollout.position.phase, self.weight())
    }

    /// Every weight but 0% that is in force was intended first, in these words and under this generation.
    async fn assert_intended(&self) {
        let Some(ledger) = Ledger::open_last(Arc::clone(&self.store)).await.unwrap() else { return };
        let RouteTable { generation, candidate, .. } = self.traffic.route_table();
        let is_intended = ledger.rollout.events.iter().any(|event| {
            let words = format!("generation {generation}:");
            event.kind == "weight-intended" && event.weight == candidate && event.detail.starts_with(&words)
        });
        assert!(
            generation == 1 || candidate == Weight::NONE || is_intended,
            "{candidate} under {generation}: {:?}",
            ledger.rollout.events
        );
    }
}

fn kinds(controller: &Controller) -> Vec<String> {
    controller.history().into_iter().map(|event| format!("{} {}", event.kind, event.weight)).collect()
}

#[tokio::test]
async fn a_healthy_candidate_goes_up_stage_by_stage_to_all() {
    let house = House::new();
    let controller = house.started().await;
    assert_eq!(house.weight(), weight(10));
    let report = house.until_over(&controller, HEALTHY).await;
    assert_eq!((report.phase, report.weight, report.verdict), (RolloutPhase::Promoted, Weight::ALL, Verdict::Promote));
    assert_eq!(house.weight(), Weight::ALL);
    assert!(report.reason.contains("held 100% for 5s; error_ratio<5%: 0 of "), "{}", report.reason);
    assert!(report.ended_at.is_some() && !controller.is_active());
    let expected = [
        "started 10%",
        "weight-intended 10%",
        "weight-set 10%",
        "weight-intended 30%",
        "weight-set 30%",
        "promoted-stage 30%",
        "weight-intended 60%",
        "weight-set 60%",
        "promoted-stage 60%",
        "weight-intended 100%",
        "weight-set 100%",
        "promoted-stage 100%",
        "promoted 100%",
    ];
    assert_eq!(kinds(&controller), expected);
    assert_eq!(controller.tick().await, None);
}

#[tokio::test]
async fn a_candidate_that_fails_at_thirty_goes_back_to_none_with_the_numbers() {
    let house = House::new();
    let controller = house.started().await;
    let report = house.until_over(&controller, FAILING_FROM_30).await;
    assert_eq!((report.phase, report.stage, report.weight), (RolloutPhase::RolledBack, 1, Weight::NONE));
    assert_eq!((house.weight(), report.verdict), (Weight::NONE, Verdict::RollBack));
    assert!(report.reason.starts_with("error_ratio<5%: "), "{}", report.reason);
    assert!(report.reason.contains("answers failed (100%)"), "{}", report.reason);
    assert!(report.gates[0].samples < 30, "one tick's answers are enough: {:?}", report.gates);
    assert_eq!(kinds(&controller).last().unwrap(), "rolled-back 0%");
}

#[tokio::test]
async fn a_stage_that_fails_is_tried_again_from_the_one_before_and_then_given_up() {
    let house = House::new();
    let controller = house.started_with(forgiving()).await;
    let report = house.until_over(&controller, FAILING_FROM_30).await;
    assert_eq!((report.phase, report.step_backs, house.weight()), (RolloutPhase::RolledBack, 1, Weight::NONE));
    assert!(report.reason.ends_with("it stepped back 1 of 1 times already"), "{}", report.reason);
    let steps: Vec<String> = kinds(&controller).into_iter().filter(|kind| !kind.starts_with("weight-")).collect();
    assert_eq!(
        steps,
        ["started 10%", "promoted-stage 30%", "stepped-back 10%", "promoted-stage 30%", "rolled-back 0%"]
    );
}

#[tokio::test]
async fn a_paused_rollout_steps_back_and_stays_paused_and_late_failures_of_the_stage_left_are_forgiven() {
    let house = House::new();
    let controller = house.started_with(forgiving()).await;
    house.seconds(&controller, 7, HEALTHY).await;
    let generation = house.traffic.route_table().generation;
    assert_eq!(house.weight(), weight(30));
    controller.pause().await.unwrap();
    let report = house.seconds(&controller, 1, FAILING_FROM_30).await;
    assert_eq!((report.phase, report.stage, house.weight()), (RolloutPhase::Paused, 0, weight(10)));
    house.traffic.fail_late(20, generation);
    let report = house.seconds(&controller, 30, FAILING_FROM_30).await;
    assert_eq!((report.phase, report.stage, report.step_backs), (RolloutPhase::Paused, 0, 1), "{}", report.reason);
}

#[tokio::test]
async fn a_dead_candidate_without_traffic_is_rolled_back_by_its_probes() {
    let house = House::new();
    let controller = house.started().await;
    house.traffic.fail_probes(Some("connection refused"));
    for tick in 1..=5 {
        let report = controller.tick().await.unwrap();
        assert_eq!(report.phase == RolloutPhase::RolledBack, tick == 5, "{tick}: {}", report.reason);
    }
    assert_eq!(house.weight(), Weight::NONE);
    assert!(controller.report().unwrap().reason.contains("connection refused"));
}

/// A candidate that takes a probe and never answers it.
struct Stuck(FakeTraffic);

#[async_trait]
impl Traffic for Stuck {
    fn route_table(&self) -> RouteTable {
        self.0.route_table()
    }

    async fn set_weight(&self, candidate: Weight, generation: u64) -> Result<(), TrafficError> {
        self.0.set_weight(candidate, generation).await
    }

    async fn withdraw_candidate(&self) {
        self.0.withdraw_candidate().await;
    }

    fn take_observations(&self) -> Vec<Observation> {
        self.0.take_observations()
    }

    async fn probe_candidate(&self) -> Result<(), TrafficError> {
        std::future::pending().await
    }

    async fn scrape_candidate(&self) -> Result<String, TrafficError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_candidate_is_a_failed_probe_and_keeps_no_command_waiting() {
    let (house, asked) = (House::new(), "scrape:up<1");
    let traffic = Arc::new(Stuck(house.traffic.clone()));
    let controller = Controller::open(house.store.clone(), traffic, house.clock.clone()).await.unwrap();
    controller.start(RolloutSpec { gates: vec![asked.parse().unwrap()], ..spec() }).await.unwrap();
    for _ in 0..4 {
        assert_eq!(controller.tick().await.unwrap().phase, RolloutPhase::Baking);
    }
    let (ticked, aborted) = futures::join!(controller.tick(), async {
        tokio::task::yield_now().await;
        controller.abort().await
    });
    assert_eq!(aborted.unwrap().phase, RolloutPhase::Aborted, "the abort did not wait for the fifth probe");
    assert_eq!(ticked.unwrap().phase, RolloutPhase::Aborted);
    assert_eq!(house.weight(), Weight::NONE);
}

#[tokio::test]
async fn without_data_it_holds_for_ever() {
    let house = House::new();
    let controller = house.open().await;
    let spec = RolloutSpec { gates: vec!["scrape:waiting<10".parse().unwrap()], ..spec() };
    controller.start(spec).await.unwrap();
    let report = house.seconds(&controller, 200, HEALTHY).await;
    assert_eq!((report.phase, report.weight), (RolloutPhase::Baking, weight(10)));
    assert!(
        report.reason.contains("scrape:waiting<10: no data: the candidate can't be looked at"),
        "{}",
        report.reason
    );

    house.traffic.set_page(Some("other 1"));
    let report = house.seconds(&controller, 200, HEALTHY).await;
    assert!(report.reason.contains("no data: the page has no metric waiting"), "{}", report.reason);

    house.traffic.set_page(Some("waiting 3"));
    house.seconds(&controller, 1, HEALTHY).await;
    assert_eq!(house.weight(), weight(30));
    // Without requests the metric alone promotes nothing.
    for _ in 0..200 {
        house.clock.advance(60);
        assert_eq!(controller.tick().await.unwrap().reason, "waits for 0 of 20 answers");
    }
    house.traffic.set_page(Some("waiting 11"));
    let report = house.seconds(&controller, 3, HEALTHY).await;
    assert_eq!((report.phase, house.weight()), (RolloutPhase::RolledBack, Weight::NONE));
}

#[tokio::test]
async fn a_paused_rollout_holds_its_weight_and_is_still_rolled_back() {
    let house = House::new();
    let controller = house.started().await;
    assert_eq!(controller.pause().await.unwrap().phase, RolloutPhase::Paused);
    let report = house.seconds(&controller, 50, HEALTHY).await;
    assert_eq!((report.phase, report.weight), (RolloutPhase::Paused, weight(10)));
    assert!(matches!(controller.pause().await, Err(ControllerError::IllegalMove(_))));
    controller.resume().await.unwrap();
    house.seconds(&controller, 1, HEALTHY).await;
    assert_eq!(house.weight(), weight(30));
    controller.pause().await.unwrap();
    let report = house.seconds(&controller, 1, FAILING_FROM_30).await;
    assert_eq!((report.phase, house.weight()), (RolloutPhase::RolledBack, Weight::NONE));
}

#[tokio::test]
async fn an_abort_goes_to_none_and_another_rollout_may_begin() {
    let house = House::new();
    let controller = house.started().await;
    assert!(matches!(controller.start(spec()).await, Err(ControllerError::Active { .. })));
    let first = controller.abort().await.unwrap();
    assert_eq!((first.phase, first.reason.as_str()), (RolloutPhase::Aborted, "asked for by hand"));
    assert_eq!(house.weight(), Weight::NONE);
    for refused in [controller.abort().await, controller.pause().await, controller.resume().await] {
        assert!(matches!(refused, Err(ControllerError::IllegalMove(_))));
    }
    let second = controller.start(spec()).await.unwrap();
    assert!(second.id > first.id, "{} {}", second.id, first.id);
    let rollouts: BTreeSet<String> = controller.history().into_iter().map(|event| event.rollout).collect();
    assert_eq!(rollouts.len(), 2);
    assert_eq!(house.open().await.history(), controller.history());
}

#[tokio::test]
async fn what_can_not_begin_is_refused_before_anything_happens() {
    let house = House::new();
    let controller = house.open().await;
    for refused in [controller.pause().await, controller.resume().await, controller.abort().await] {
        assert!(matches!(refused, Err(ControllerError::NoRollout)));
    }
    let too_fine = Gate { threshold: 0.000_5, ..spec().gates[1].clone() };
    for bad in [
        RolloutSpec { stages: vec![weight(10)], ..spec() },
        RolloutSpec { gates: vec![too_fine], ..spec() },
        RolloutSpec { bake: Span(Duration::from_micros(1_500)), ..spec() },
    ] {
        let error = controller.start(bad).await.unwrap_err();
        assert!(matches!(error, ControllerError::Invalid(_)), "{error}");
    }
    house.traffic.move_table(Weight::ALL);
    let error = controller.start(spec()).await.unwrap_err();
    assert!(matches!(error, ControllerError::NothingLeft { .. }), "{error}");
    assert_eq!((controller.report(), house.traffic.sets()), (None, 0));
    assert!(house.store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn it_begins_at_what_is_in_force_and_never_goes_down_to_begin() {
    for (found, begins_at) in [(0, 10), (10, 10), (30, 30), (60, 60)] {
        let house = House::new();
        house.traffic.move_table(weight(found));
        assert_eq!(house.started().await.report().unwrap().weight, weight(begins_at), "found {found}%");
        assert_eq!(house.weight(), weight(begins_at));
    }
}

#[tokio::test]
async fn a_weight_between_the_stages_is_refused_with_both() {
    for found in [1, 11, 99] {
        let house = House::new();
        house.traffic.move_table(weight(found));
        let controller = house.open().await;
        let error = controller.start(spec()).await.unwrap_err();
        assert!(matches!(&error, ControllerError::BetweenStages { in_force, .. } if *in_force == weight(found)));
        let text = error.to_string();
        assert!(text.contains(&format!("has {found}% of")) && text.contains("(10%, 30%, 60%, 100%)"), "{text}");
        assert_eq!((controller.report(), house.traffic.sets(), house.weight()), (None, 0, weight(found)));
    }
}

#[tokio::test]
async fn an_outage_of_the_baseline_neither_promotes_nor_rolls_back() {
    let house = House::new();
    let controller = house.started().await;
    for outcome in [Outcome::Ok, Outcome::UpstreamError] {
        for _ in 0..20 {
            house.clock.advance(1);
            house.traffic.fall_back(50, Variant::Candidate, outcome);
            controller.tick().await;
        }
        let report = controller.report().unwrap();
        assert_eq!((report.phase, report.weight), (RolloutPhase::Baking, weight(10)), "{}", report.reason);
        assert_eq!(report.reason, "waits for 0 of 20 answers");
    }
}

#[tokio::test]
async fn what_an_earlier_stage_sent_and_fails_now_rolls_back() {
    let house = House::new();
    let controller = house.started().await;
    let sent_under = house.traffic.route_table().generation;
    house.seconds(&controller, 7, HEALTHY).await;
    assert_eq!(house.weight(), weight(30));
    house.traffic.fail_late(5, sent_under);
    let report = controller.tick().await.unwrap();
    assert_eq!((report.phase, house.weight()), (RolloutPhase::RolledBack, Weight::NONE), "{}", report.reason);
}

#[tokio::test]
async fn a_table_that_moved_is_put_right_under_a_newer_generation() {
    let house = House::new();
    let controller = house.started().await;
    house.traffic.move_table(weight(77));
    house.seconds(&controller, 1, HEALTHY).await;
    assert_eq!(house.weight(), weight(10));
    house.traffic.lose_table(Weight::NONE);
    house.seconds(&controller, 1, HEALTHY).await;
    assert_eq!(house.weight(), weight(10));
    house.seconds(&controller, 7, HEALTHY).await;
    let before = house.traffic.route_table();
    assert_eq!(before.candidate, weight(30));
    house.traffic.lose_table(weight(30));
    house.seconds(&controller, 1, HEALTHY).await;
    let after = house.traffic.route_table().generation;
    assert!(after > before.generation, "under {after} the stage's answers would not be counted");
    assert_eq!(house.until_over(&controller, HEALTHY).await.phase, RolloutPhase::Promoted);
    let restored = kinds(&controller).iter().filter(|kind| *kind == "weight-set 10%").count();
    assert_eq!(restored, 3);
}

#[tokio::test]
async fn a_table_that_moved_before_the_rollback_was_concluded_is_put_right_first() {
    let house = House::new();
    drop(house.started().await);
    // Intent and weight-set are written; the conclusion isn't.
    let dying = Arc::new(FailingStore::new(house.store.clone(), 2, When::Before, Lasting::UntilMended));
    let controller = house.open_on(dying).await.unwrap();
    assert!(matches!(controller.abort().await, Err(ControllerError::Journal(_))));
    assert_eq!(house.weight(), Weight::NONE);
    house.traffic.move_table(weight(50));
    assert_eq!(house.open().await.report().unwrap().phase, RolloutPhase::Aborted);
    assert_eq!(house.end().await, (RolloutPhase::Aborted, Weight::NONE));
}

#[tokio::test]
async fn evidence_is_journalled_now_and_then_and_only_if_it_changed() {
    let house = House::new();
    let controller = house.started().await;
    controller.pause().await.unwrap();
    let before = house.store.list("").await.unwrap().len();
    for _ in 0..100 {
        house.clock.advance(1);
        controller.tick().await;
    }
    assert_eq!(house.store.list("").await.unwrap().len(), before, "nothing was seen");
    house.seconds(&controller, 100, HEALTHY).await;
    assert_eq!(house.store.list("").await.unwrap().len(), before + 20);
}

#[tokio::test]
async fn the_history_goes_back_five_rollouts_and_is_the_same_after_a_restart() {
    let house = House::new();
    let controller = house.open().await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(controller.start(spec()).await.unwrap().id);
        controller.abort().await.unwrap();
    }
    let mut shown: Vec<String> = controller.history().into_iter().map(|event| event.rollout).collect();
    shown.dedup();
    assert_eq!(shown, ids[2..]);
    assert_eq!(house.open().await.history(), controller.history());
}

#[tokio::test]
async fn a_full_disk_holds_a_good_candidate_and_takes_a_bad_one_away_in_memory() {
    let house = House::new();
    let controller = house.started().await;
    house.seconds(&controller, 7, HEALTHY).await;
    assert_eq!(house.weight(), weight(30));
    drop(controller);
    let full = Arc::new(FailingStore::new(house.store.clone(), 0, When::Before, Lasting::UntilMended));
    let controller = house.open_on(full.clone()).await.unwrap();
    let (sets, generation) = (house.traffic.sets(), house.traffic.route_table().generation);
    let says_why = |report: &RolloutReport| {
        let is_said = ["journal can't be used", "no space left"].iter().all(|hint| report.reason.contains(hint));
        assert!(is_said, "{}", report.reason);
    };
    let report = house.seconds(&controller, 20, HEALTHY).await;
    assert_eq!((report.phase, report.verdict, house.weight()), (RolloutPhase::Baking, Verdict::Hold, weight(30)));
    says_why(&report);
    let report = house.seconds(&controller, 2, FAILING_FROM_30).await;
    assert_eq!((report.phase, report.weight, house.weight()), (RolloutPhase::Baking, Weight::NONE, Weight::NONE));
    says_why(&report);
    assert!(report.reason.starts_with("the candidate is at 0% (15 answers of the"), "{}", report.reason);
    assert_eq!((house.traffic.sets(), house.traffic.route_table().generation), (sets, generation));
    full.mend();
    let report = house.seconds(&controller, 1, HEALTHY).await;
    assert_eq!((report.phase, house.weight()), (RolloutPhase::RolledBack, Weight::NONE), "{}", report.reason);
    assert!(house.traffic.route_table().generation > generation, "now it is on disk too");
    assert_eq!(house.traffic.sets(), sets + 1, "nothing was restored on the way");
}

#[tokio::test]
async fn an_abort_on_a_full_disk_takes_the_candidate_away_until_it_is_recorded_or_the_process_dies() {
    for dies in [false, true] {
        let house = House::new();
        drop(house.started().await);
        let full = Arc::new(FailingStore::new(house.store.clone(), 0, When::Before, Lasting::UntilMended));
        let mut controller = house.open_on(full.clone()).await.unwrap();
        assert!(matches!(controller.abort().await, Err(ControllerError::Journal(_))));
        assert_eq!((house.weight(), controller.report().unwrap().weight), (Weight::NONE, Weight::NONE));
        let report = house.seconds(&controller, 5, HEALTHY).await;
        assert_eq!((report.phase, house.weight()), (RolloutPhase::Baking, Weight::NONE));
        full.mend();
        if dies {
            controller = house.open_on(full.clone()).await.unwrap();
            let report = controller.report().unwrap();
            assert_eq!((report.phase, house.weight()), (RolloutPhase::Baking, weight(10)), "judged again");
        } else {
            let report = house.seconds(&controller, 1, HEALTHY).await;
            assert_eq!((report.phase, house.weight()), (RolloutPhase::Aborted, Weight::NONE), "{}", report.reason);
        }
    }
}

#[tokio::test]
async fn a_rollback_that_can_not_be_set_is_tried_until_it_is() {
    let house = House::new();
    let controller = house.started().await;
    house.traffic.fail_set(0, When::Before, Lasting::UntilMended);
    house.traffic.fail_probes(Some("refused"));
    let report = house.seconds(&controller, 10, HEALTHY).await;
    assert_eq!((report.phase, report.weight, house.weight()), (RolloutPhase::Baking, Weight::NONE, weight(10)));
    assert!(report.reason.contains("tried again: the route table could not be kept"), "{}", report.reason);
    assert!(matches!(controller.abort().await, Err(ControllerError::Traffic(_))));
    house.traffic.mend();
    house.seconds(&controller, 1, HEALTHY).await;
    assert_eq!(house.end().await, (RolloutPhase::Aborted, Weight::NONE));
}

#[tokio::test]
async fn a_resumed_controller_knows_what_the_one_before_it_had_seen() {
    let house = House::new();
    let controller = house.started().await;
    controller.pause().await.unwrap();
    house.seconds(&controller, 5, HEALTHY).await;
    let before = controller.report().unwrap();
    drop(controller);
    let controller = house.open().await;
    assert_eq!(controller.report().unwrap(), before);
    assert_eq!(before.gates[0].samples, 25);
    controller.resume().await.unwrap();
    controller.tick().await;
    assert_eq!(house.weight(), weight(30), "the answers before the restart are enough");
}

#[tokio::test]
async fn it_lives_in_a_folder_too_and_a_changed_record_shows() {
    let folder = tempfile::tempdir().unwrap();
    let house = House { store: Arc::new(DirectoryStore::new(folder.path())), ..House::new() };
    let controller = house.started().await;
    house.seconds(&controller, 7, HEALTHY).await;
    let id = controller.report().unwrap().id;
    assert_eq!(house.open().await.report().unwrap().weight, weight(30));
    std::fs::remove_file(folder.path().join(format!("rollouts/{id}/000002.json"))).unwrap();
    let error = house.open_on(house.store.clone()).await.unwrap_err();
    assert!(error.to_string().contains(&format!("rollouts/{id}/000003.json")), "{error}");
}

/// Where a run is disturbed.
#[derive(Debug, Clone, Copy)]
enum Disturbed {
    Store,
    Traffic,
}

/// A rollout that is run to its end, again and again.
struct Course {
    spec: RolloutSpec,
    behaviour: Behaviour,
    end: (RolloutPhase, Weight),
}

/// Runs a rollout to its end with one act disturbed; the controller dies of it and is opened again, or goes on.
/// False if the run was over before it came to that.
async fn run_disturbed(at: usize, what: Disturbed, when: When, lasting: Lasting, course: &Course) -> (House, bool) {
    let house = House::new();
    let store = Arc::new(FailingStore::new(house.store.clone(), at, when, lasting));
    match what {
        Disturbed::Store => {}
        Disturbed::Traffic => {
            store.mend();
            house.traffic.fail_set(at, when, lasting);
        }
    }
    let mut controller = house.open_on(store.clone()).await.unwrap();
    let mut is_disturbed = false;
    for _ in 0..500 {
        if controller.report().is_none() {
            is_disturbed |= controller.start(course.spec.clone()).await.is_err();
        }
        house.second(&controller, course.behaviour).await;
        is_disturbed |= store.has_failed() || house.traffic.has_failed();
        if is_disturbed && lasting == Lasting::UntilMended {
            store.mend();
            house.traffic.mend();
            controller = house.open_on(store.clone()).await.unwrap();
        }
        house.assert_intended().await;
        if controller.report().is_some_and(|report| report.phase.is_over()) {
            return (house, is_disturbed);
        }
    }
    panic!("not over after {what:?} failed {when:?} act {at}: {:?}", controller.report());
}

#[tokio::test]
async fn no_death_or_failure_at_any_act_changes_the_end() {
    let (promoted, rolled_back) = ((RolloutPhase::Promoted, Weight::ALL), (RolloutPhase::RolledBack, Weight::NONE));
    for course in [
        Course { spec: spec(), behaviour: HEALTHY, end: promoted },
        Course { spec: spec(), behaviour: FAILING_FROM_30, end: rolled_back },
        Course { spec: forgiving(), behaviour: FAILING_FROM_30, end: rolled_back },
    ] {
        for what in [Disturbed::Store, Disturbed::Traffic] {
            for (when, lasting) in [
                (When::Before, Lasting::UntilMended),
                (When::After, Lasting::UntilMended),
                (When::Before, Lasting::Once),
                (When::After, Lasting::Once),
            ] {
                let mut acts = 0;
                loop {
                    let (house, was_disturbed) = run_disturbed(acts, what, when, lasting, &course).await;
                    assert_eq!(house.end().await, course.end, "{what:?} failed {when:?} act {acts}, {lasting:?}");
                    if !was_disturbed {
                        break;
                    }
                    acts += 1;
                }
                let least = match what {
                    Disturbed::Store => 10,
                    Disturbed::Traffic => 3,
                };
                assert!(acts >= least, "only {acts} acts of {what:?} were disturbed");
            }
        }
    }
}

/// Anything that may happen to a rollout.
#[derive(Debug, Clone)]
enum Happening {
    Answers(usize, Outcome),
    Seconds(i64),
    Tick,
    Pause,
    Resume,
    Approve,
    Abort,
    ProbesFail(bool),
    Restart,
    WriteFails(When),
    SetFails(When),
    TableMoves(u16),
}

fn anything() -> impl Strategy<Value = Happening> {
    let when = prop::sample::select(vec![When::Before, When::After]);
    let outcome = prop::sample::select(vec![
        Outcome::Ok,
        Outcome::Ok,
        Outcome::Ok,
        Outcome::ClientAbort,
        Outcome::ClientError,
        Outcome::Truncated,
    ]);
    prop_oneof![
        6 => (0usize..400, outcome).prop_map(|(count, outcome)| Happening::Answers(count, outcome)),
        6 => (0i64..8).prop_map(Happening::Seconds),
        8 => Just(Happening::Tick),
        1 => Just(Happening::Pause),
        2 => Just(Happening::Resume),
        2 => Just(Happening::Approve),
        1 => prop::bool::weighted(0.1).prop_map(|abort| if abort { Happening::Abort } else { Happening::Tick }),
        1 => prop::bool::weighted(0.2).prop_map(Happening::ProbesFail),
        2 => Just(Happening::Restart),
        1 => when.clone().prop_map(Happening::WriteFails),
        1 => when.prop_map(Happening::SetFails),
        1 => (0u16..=100).prop_map(Happening::TableMoves),
    ]
}

/// What a rollout may have by now, kept beside the controller and without a look into it.
struct Earned {
    weight: Weight,
    answers: u64,
    is_paused: bool,
    is_approved: bool,
    /// What the weight that is intended now was earned with: it is there still if that is taken back before the stage has begun.
    spent: Option<(u64, bool)>,
    step_backs: u32,
}

struct Play {
    house: House,
    controller: Controller,
    store: Arc<FailingStore>,
    model: Earned,
}

impl Play {
    async fn begin(spec: RolloutSpec) -> Self {
        let house = House::new();
        let controller = house.started_with(spec).await;
        let store = Arc::new(FailingStore::new(house.store.clone(), usize::MAX, When::Before, Lasting::Once));
        let model =
            Earned { weight: weight(10), answers: 0, is_paused: false, is_approved: false, spent: None, step_backs: 0 };
        Self { house, controller, store, model }
    }

    async fn happens(&mut self, happening: &Happening) {
        let Self { house, controller, model, .. } = self;
        match happening {
            Happening::Answers(count, outcome) => {
                let before = model.answers;
                let candidates = std::cell::Cell::new(before);
                house.traffic.serve(*count, |variant, _| {
                    let counts = variant == Variant::Candidate && outcome.is_counted();
                    candidates.set(candidates.get() + u64::from(counts));
                    *outcome
                });
                model.answers = candidates.get();
            }
            Happening::Seconds(seconds) => house.clock.advance(*seconds),
            Happening::Tick => drop(controller.tick().await),
            Happening::Pause => model.is_paused |= controller.pause().await.is_ok(),
            Happening::Resume => {
                // One whose record could not be written may be there all the same.
                let _resumed_or_maybe = controller.resume().await;
                model.is_paused = false;
            }
            Happening::Approve => {
                model.is_approved |= controller.report().is_some_and(|report| report.awaits_approval.is_some());
                let _approved_or_maybe = controller.approve().await;
            }
            Happening::Abort => drop(controller.abort().await),
            Happening::ProbesFail(fail) => house.traffic.fail_probes(fail.then_some("refused")),
            Happening::Restart => *controller = house.open_on(self.store.clone()).await.unwrap(),
            Happening::WriteFails(when) => {
                self.store = Arc::new(FailingStore::new(house.store.clone(), 0, *when, Lasting::Once));
                *controller = house.open_on(self.store.clone()).await.unwrap();
            }
            Happening::SetFails(when) => house.traffic.fail_set(0, *when, Lasting::Once),
            // After its end, the table is not the rollout's any more.
            Happening::TableMoves(_) if !controller.is_active() => {}
            Happening::TableMoves(percent) => {
                house.traffic.move_table(weight(*percent));
                controller.tick().await;
            }
        }
    }

    /// No weight is higher than what was earned, or it is the next stage and there were answers to earn it with.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let (in_force, model) = (self.house.weight(), &mut self.model);
        let report = self.controller.report().unwrap();
        if report.phase.is_over() {
            let expected = if report.phase == RolloutPhase::Promoted { Weight::ALL } else { Weight::NONE };
            prop_assert_eq!(in_force, expected);
        }
        if Weight::NONE < report.weight && report.weight < model.weight {
            // What goes back a stage must earn its way anew, from the moment that this is intended; a weight that was intended and
            // taken back has cost nothing.
            let (answers, is_approved) = match model.spent.filter(|_| report.step_backs == model.step_backs) {
                Some((answers, is_approved)) => (answers + model.answers, is_approved),
                None => (0, false),
            };
            *model = Earned { weight: report.weight, answers, is_approved, spent: None, ..*model };
        }
        model.step_backs = report.step_backs;
        if report.spec.stages.get(report.stage) == Some(&model.weight) {
            model.spent = None;
        }
        if report.weight > model.weight {
            let stages = spec().stages;
            let next = stages.iter().find(|stage| **stage > model.weight).copied();
            prop_assert_eq!(Some(report.weight), next);
            prop_assert!(model.answers >= 20, "{} answers at {}", model.answers, model.weight);
            prop_assert!(!model.is_paused, "promoted while paused");
            prop_assert!(model.is_approved || !report.spec.approve_before.contains(&report.weight));
            model.spent = Some((model.answers, model.is_approved));
            (model.weight, model.answers) = (report.weight, 0);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leads_to_a_higher_weight_without_evidence(
        happenings in prop::collection::vec(anything(), 1..80), is_forgiving in prop::bool::ANY,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut play = Play::begin(if is_forgiving { forgiving() } else { spec() }).await;
            for happening in &happenings {
                play.happens(happening).await;
                play.check()?;
            }
            // Whatever happened, it can be ended: at nothing, unless it was promoted before.
            play.house.traffic.mend();
            play.store.mend();
            play.controller.tick().await;
            let _over_already = play.controller.abort().await;
            play.controller.tick().await;
            let end = play.house.end().await;
            let expected = if end.0 == RolloutPhase::Promoted { Weight::ALL } else { Weight::NONE };
            prop_assert!(end.0.is_over());
            prop_assert_eq!(end.1, expected);
            Ok(())
        })?;
    }
}
