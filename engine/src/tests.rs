//! The engine as a whole on the fake cloud: every death, every fault, and afterwards what is alive is what is recorded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use spec::id::DeploymentName;

use crate::apply::{Engine, EngineError, Settings, Step};
use crate::fake::{DyingStore, FakeProvider, Fault};
use crate::graph::{Address, Candidate, Desired, Graph};
use crate::plan::{Action, Plan};
use crate::provider::{Known, Provider, Token};
use crate::store::{MemoryStore, Store};

/// Longer than anything stays unseen here.
const SETTINGS: Settings = Settings { parallelism: 3, visibility: Duration::from_secs(5), attempts: 6 };

/// A day: longer than any test's clock goes.
const FOREVER: Duration = Duration::from_secs(86_400);

fn name() -> DeploymentName {
    "default".parse().unwrap()
}

fn address(name: &str) -> Address {
    Address::new("thing", name)
}

fn desired(name: &str, depends_on: &[&str], inputs: Value) -> Desired {
    Desired {
        inputs,
        depends_on: depends_on.iter().map(|on| address(on)).collect(),
        ..crate::graph::tests::desired(name, &[])
    }
}

fn graph() -> Graph {
    let b = desired("b", &["a"], json!({"name": "b", "size": 2}));
    Graph::new([desired("a", &[], json!({})), b, desired("c", &["b"], json!({}))]).unwrap()
}

/// One thing that may be made in any of the zones.
fn zoned(zones: &[&str], size: u32) -> Graph {
    let candidate = |zone: &&str| Candidate {
        label: format!("size {size} in {zone}"),
        monthly_usd: Some(10.0),
        inputs: [("zone".to_owned(), json!(zone))].into_iter().collect(),
    };
    let machine = Desired {
        candidates: zones.iter().map(candidate).collect(),
        ..desired("machine", &["net"], json!({"size": size}))
    };
    Graph::new([desired("net", &[], json!({})), machine]).unwrap()
}

async fn open(store: Arc<dyn Store>, provider: &FakeProvider) -> Result<Engine<FakeProvider>, EngineError> {
    Engine::open_with(store, &name(), provider.clone(), SETTINGS).await
}

/// As `dsctl up` does: open, plan, apply, and remove what was replaced.
async fn up(store: Arc<dyn Store>, provider: &FakeProvider, graph: &Graph) -> Result<Plan, EngineError> {
    let mut engine = open(store, provider).await?;
    let plan = engine.plan(graph).await?;
    engine.apply(&plan, graph, &mut |_| {}).await?;
    engine.retire(&mut |_| {}).await?;
    Ok(plan)
}

async fn down(store: Arc<dyn Store>, provider: &FakeProvider) -> Result<(), EngineError> {
    let mut engine = open(store, provider).await?;
    let plan = engine.plan_destroy();
    engine.apply(&plan, &Graph::default(), &mut |_| {}).await
}

#[tokio::test]
async fn a_second_apply_changes_nothing_and_calls_nothing() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    up(store.clone(), &provider, &graph()).await.unwrap();
    let (acts, state) = (provider.acts(), store.get("state.json").await.unwrap());
    assert!(up(store.clone(), &provider, &graph()).await.unwrap().is_empty());
    assert_eq!(provider.acts(), acts);
    assert_eq!(store.get("state.json").await.unwrap(), state, "nothing was written");
}

#[tokio::test]
async fn a_plan_of_yesterday_is_refused() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    let mut engine = open(store.clone(), &provider).await.unwrap();
    let plan = engine.plan(&graph()).await.unwrap();
    engine.apply(&plan, &graph(), &mut |_| {}).await.unwrap();
    let error = engine.apply(&plan, &graph(), &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, EngineError::Stale), "{error}");
}

/// A process that died with the lease in its hands, and nothing begun, must not cost the next one a second try.
#[tokio::test]
async fn a_fence_makes_no_plan_stale() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    let looking = Engine::look(store.clone(), &name(), provider.clone(), SETTINGS).await.unwrap();
    let plan = looking.plan(&graph()).await.unwrap();
    let mut engine = open(store, &provider).await.unwrap();
    engine.fence("a dead holder").await.unwrap();
    engine.apply(&plan, &graph(), &mut |_| {}).await.unwrap();
    assert_eq!(provider.alive().len(), 3);
}

#[tokio::test]
async fn what_vanished_is_made_again() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    up(store.clone(), &provider, &graph()).await.unwrap();
    provider.lose(&address("c"));
    let plan = up(store, &provider, &graph()).await.unwrap();
    assert_eq!(plan.count(Action::Create), 1);
    assert_eq!(provider.alive().len(), 3);
}

#[tokio::test]
async fn calls_run_side_by_side_up_to_the_bound() {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let wide = Graph::new(names.map(|name| desired(name, &[], json!({})))).unwrap();
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    up(store.clone(), &provider, &wide).await.unwrap();
    assert_eq!(provider.most_in_flight(), SETTINGS.parallelism);
    down(store, &provider).await.unwrap();
    assert!(provider.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn candidates_are_tried_in_order_and_each_refusal_is_told() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    provider.fill_zone("a");
    provider.fill_zone("b");
    let graph = zoned(&["a", "b", "c"], 1);
    let mut engine = open(store.clone(), &provider).await.unwrap();
    let plan = engine.plan(&graph).await.unwrap();
    let mut told = Vec::new();
    let mut watch = |step: Step<'_>| {
        if let Step::NextCandidate(_, next) = step {
            told.push(format!("{} -> {}: {}", next.from, next.to, next.why));
        }
    };
    engine.apply(&plan, &graph, &mut watch).await.unwrap();
    let wanted = ["size 1 in a -> size 1 in b: the zone is full", "size 1 in b -> size 1 in c: the zone is full"];
    assert_eq!(told, wanted);
    let machine = &engine.state().resources[&address("machine")];
    assert_eq!((&machine.inputs["zone"], machine.monthly_usd), (&json!("c"), Some(10.0)));
    assert!(engine.plan(&graph).await.unwrap().is_empty(), "a machine in the third zone is as wanted");
    provider.fill_zone("c");
    let full = zoned(&["a", "b", "c"], 2);
    let error = up(store, &provider, &full).await.unwrap_err();
    assert!(matches!(&error, EngineError::NoCapacity { attempts, .. } if attempts.len() == 3), "{error}");
    assert_eq!(provider.alive().len(), 2, "the serving machine was not touched");
}

#[tokio::test]
async fn a_replacement_leaves_the_old_one_until_it_is_retired() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    up(store.clone(), &provider, &zoned(&["a"], 1)).await.unwrap();
    let before = provider.alive_ids();
    let larger = zoned(&["a"], 2);
    let mut engine = open(store.clone(), &provider).await.unwrap();
    let plan = engine.plan(&larger).await.unwrap();
    assert_eq!((plan.count(Action::Replace), plan.count(Action::Delete)), (1, 0));
    engine.apply(&plan, &larger, &mut |_| {}).await.unwrap();
    assert!(before.is_subset(&provider.alive_ids()), "the old machine still serves");
    // The process ends here; the next one knows what is left to be removed.
    let mut engine = open(store, &provider).await.unwrap();
    assert_eq!(engine.plan(&larger).await.unwrap().retiring.len(), 1);
    engine.retire(&mut |_| {}).await.unwrap();
    assert!(engine.plan(&larger).await.unwrap().is_empty());
    assert_eq!(provider.alive().len(), 2);
}

#[tokio::test]
async fn what_can_not_change_is_refused_and_what_counts_only_at_the_start_is_let_be() {
    let of = |inputs| Graph::new([desired("a", &[], inputs)]).unwrap();
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    up(store.clone(), &provider, &of(json!({"fixed": 1, "boot": 1}))).await.unwrap();
    let engine = open(store, &provider).await.unwrap();
    assert!(engine.plan(&of(json!({"fixed": 1, "boot": 2}))).await.unwrap().is_empty());
    let error = engine.plan(&of(json!({"fixed": 2, "boot": 1}))).await.unwrap_err();
    assert_eq!(error.to_string(), "thing.a: fixed can't change");
}

#[tokio::test(start_paused = true)]
async fn what_is_throttled_or_lost_is_called_again_and_never_made_twice() {
    for fault in [Fault::Throttled, Fault::LostBefore, Fault::LostAfter] {
        for act in 0..3 {
            let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
            provider.hide_at_first(Duration::from_secs(3));
            provider.fail_act(act, fault);
            up(store.clone(), &provider, &graph()).await.unwrap();
            assert_eq!(provider.alive().len(), 3, "{fault:?} at {act}");
            check_recovery(store, provider, &graph()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_made_something_which_shows_late_makes_no_second_one() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    provider.honour_tokens();
    provider.hide_at_first(FOREVER);
    // It dies after the machine is made and before anything is recorded of it: two writes for the net, state, intent.
    let dying = Arc::new(DyingStore::new(store.clone(), 4));
    up(dying, &provider, &zoned(&["a"], 1)).await.unwrap_err();
    up(store, &provider, &zoned(&["a"], 1)).await.unwrap();
    assert_eq!(provider.alive().len(), 2, "{:?}", provider.alive());
}

#[tokio::test]
async fn after_a_stop_nothing_more_is_begun() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    let mut engine = open(store.clone(), &provider).await.unwrap();
    let stop = engine.stop_token();
    let plan = engine.plan(&graph()).await.unwrap();
    let error = engine.apply(&plan, &graph(), &mut |_| stop.cancel()).await.unwrap_err();
    assert!(matches!(error, EngineError::Interrupted), "{error}");
    assert_eq!((provider.acts(), engine.state().resources.len()), (1, 1), "what was under way is recorded");
    check_recovery(store, provider, &graph()).await;
}

#[tokio::test]
async fn what_is_forgotten_lives_on_and_nobody_removes_it() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    up(store.clone(), &provider, &graph()).await.unwrap();
    let mut engine = open(store.clone(), &provider).await.unwrap();
    assert!(engine.unknown().await.unwrap().is_empty());
    assert!(engine.forget(&address("c")).await.unwrap());
    assert!(!engine.forget(&address("c")).await.unwrap());
    let mut engine = open(store, &provider).await.unwrap();
    assert!(!engine.state().resources.contains_key(&address("c")), "it stays forgotten");
    assert!(engine.unknown().await.unwrap().is_empty(), "who forgot it knows of it");
    assert_eq!(engine.remove_unknown().await.unwrap(), 0);
    assert_eq!(provider.alive().len(), 3);
    let plan = engine.plan_destroy();
    engine.apply(&plan, &Graph::default(), &mut |_| ()).await.unwrap();
    assert_eq!((engine.remove_unknown().await.unwrap(), provider.alive().len()), (0, 1));
}

/// The process dies at every write to the store, and every call is refused once; then one plain `up` must leave exactly
/// what is wanted, and one plain `down` nothing.
#[tokio::test(start_paused = true)]
async fn a_death_at_any_point_leaves_no_orphan_and_no_duplicate() {
    let mut deaths = 0;
    for survived in 0.. {
        let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
        let dying: Arc<dyn Store> = Arc::new(DyingStore::new(store.clone(), survived));
        let finished = up(dying, &provider, &graph()).await.is_ok();
        check_recovery(store, provider, &graph()).await;
        if finished {
            break;
        }
        deaths += 1;
    }
    assert!(deaths >= 9, "intent, outcome and state of three resources are nine writes; died at {deaths}");
    for act in 0..3 {
        let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
        provider.fail_act(act, Fault::Refused);
        up(store.clone(), &provider, &graph()).await.unwrap_err();
        check_recovery(store, provider, &graph()).await;
    }
}

/// What is alive is what the state says, each once; a second `up` does nothing; `down` interrupted anywhere ends empty.
async fn check_recovery(store: Arc<MemoryStore>, provider: FakeProvider, graph: &Graph) {
    up(store.clone(), &provider, graph).await.unwrap();
    let engine = open(store.clone(), &provider).await.unwrap();
    let recorded: BTreeSet<String> = engine.state().resources.values().map(|it| it.remote_id.0.clone()).collect();
    assert_eq!(provider.alive_ids(), recorded, "no orphan, no duplicate");
    assert!(engine.state().replaced.is_empty());
    let mut alive = provider.alive();
    alive.sort();
    assert_eq!(alive, graph.iter().map(|want| want.address.clone()).collect::<Vec<_>>());
    let acts = provider.acts();
    assert!(up(store.clone(), &provider, graph).await.unwrap().is_empty(), "plan after apply is empty");
    assert_eq!(provider.acts(), acts);
    for survived in 0.. {
        let dying: Arc<dyn Store> = Arc::new(DyingStore::new(store.clone(), survived));
        if down(dying, &provider).await.is_ok() {
            break;
        }
    }
    down(store, &provider).await.unwrap();
    assert!(provider.alive().is_empty());
}

/// A graph whose thing `i` stands on some of those before it; edges come as bits.
fn random_graph(edges: &[u8], size: u32) -> Graph {
    let names: Vec<String> = (0..edges.len()).map(|at| format!("n{at}")).collect();
    let things = edges.iter().enumerate().map(|(at, bits)| {
        let on: Vec<&str> = (0..at).filter(|on| bits >> on & 1 == 1).map(|on| names[on].as_str()).collect();
        desired(&names[at], &on, json!({"size": if at % 3 == 0 { size } else { 1 }, "zone": "a"}))
    });
    Graph::new(things).unwrap()
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![Just(Fault::Throttled), Just(Fault::LostBefore), Just(Fault::LostAfter), Just(Fault::Refused)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Random graph x random faults x a death at a random write, in an `up` and in a change of it.
    #[test]
    fn nothing_is_lost_whatever_happens(
        edges in prop::collection::vec(any::<u8>(), 1..7),
        faults in prop::collection::btree_map(0_usize..12, fault(), 0..4),
        survived in 0_usize..30,
        later in 0_usize..30,
        unseen in 0_u64..4,
        honours in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
            provider.hide_at_first(Duration::from_secs(unseen));
            if honours {
                provider.honour_tokens();
            }
            for (act, fault) in faults {
                provider.fail_act(act, fault);
            }
            // How these two end is not the question; what they leave is.
            let dying = Arc::new(DyingStore::new(store.clone(), survived));
            let _ = up(dying, &provider, &random_graph(&edges, 1)).await;
            let dying = Arc::new(DyingStore::new(store.clone(), later));
            let _ = up(dying, &provider, &random_graph(&edges, 2)).await;
            // A scripted refusal may still be due.
            let mut last = up(store.clone(), &provider, &random_graph(&edges, 2)).await;
            for _ in 0..4 {
                if last.is_err() {
                    last = up(store.clone(), &provider, &random_graph(&edges, 2)).await;
                }
            }
            last.unwrap();
            check_recovery(store, provider, &random_graph(&edges, 2)).await;
        });
    }
}

#[tokio::test]
async fn a_saved_plan_is_done_exactly_or_not_at_all() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    let mut engine = open(store.clone(), &provider).await.unwrap();
    let plan = engine.plan(&graph()).await.unwrap();
    let saved = crate::saved::SavedPlan::new(jiff::Timestamp::now(), "0.1.0", Value::Null, graph(), plan);
    let bytes = saved.to_bytes().unwrap();
    let saved = crate::saved::SavedPlan::parse(&bytes).unwrap();
    let plan = engine.check_saved(&saved).await.unwrap();
    engine.apply(&plan, &saved.graph, &mut |_| {}).await.unwrap();
    let error = engine.check_saved(&saved).await.unwrap_err();
    assert!(matches!(error, EngineError::Stale), "it was done already: {error}");
    let plan = engine.plan(&graph()).await.unwrap();
    let saved = crate::saved::SavedPlan::new(jiff::Timestamp::now(), "0.1.0", Value::Null, graph(), plan);
    provider.lose(&address("c"));
    let error = engine.check_saved(&saved).await.unwrap_err();
    assert!(matches!(error, EngineError::Stale), "something vanished meanwhile: {error}");
}

#[tokio::test]
async fn drift_says_what_is_gone_changed_and_unknown_and_writes_nothing() {
    use crate::drift::Drift;
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    up(store.clone(), &provider, &graph()).await.unwrap();
    let (keys, acts) = (store.list("").await.unwrap(), provider.acts());
    let engine = open(store.clone(), &provider).await.unwrap();
    assert_eq!(engine.drift().await.unwrap(), []);
    provider.tamper(&address("b"), json!({"name": "b", "size": 3}));
    provider.lose(&address("c"));
    let found = engine.drift().await.unwrap();
    assert!(matches!(&found[0], Drift::Changed { address: at, keys, .. } if *at == address("b") && keys == &["size"]));
    assert_eq!(found[1], Drift::Gone { address: address("c") });
    assert_eq!((store.list("").await.unwrap(), provider.acts()), (keys, acts));
}

#[tokio::test]
async fn a_paused_holder_that_wakes_after_its_expiry_calls_nothing() {
    use crate::lease::{HeldLease, Holder};
    let at = |seconds| jiff::Timestamp::from_second(seconds).unwrap();
    let holder = |pid| Holder { command: "dsctl up".to_owned(), host: "here".to_owned(), pid, started: 1 };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let provider = FakeProvider::default();
    let first = HeldLease::acquire(store.clone(), holder(1), at(100), |_| false).await.unwrap();
    assert_eq!(first.taken_from(), None);
    let mut sleeper = open(store.clone(), &provider).await.unwrap();
    let plan = sleeper.plan(&graph()).await.unwrap();
    // It sleeps here, longer than its lease lives; another takes over and has done nothing yet.
    let second = HeldLease::acquire(store.clone(), holder(2), at(200), |_| false).await.unwrap();
    assert_eq!(second.taken_from(), Some(&holder(1)));
    let mut next = open(store.clone(), &provider).await.unwrap();
    next.fence("the sleeper").await.unwrap();
    sleeper.apply(&plan, &graph(), &mut |_| {}).await.unwrap_err();
    assert_eq!(provider.acts(), 0, "it was stopped before its first call");
    let plan = next.plan(&graph()).await.unwrap();
    next.apply(&plan, &graph(), &mut |_| {}).await.unwrap();
    second.release().await.unwrap();
    let third = HeldLease::acquire(store, holder(3), at(201), |_| false).await.unwrap();
    assert_eq!(third.taken_from(), None, "what was given back needs no fence");
}

#[tokio::test]
async fn a_look_settles_nothing() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    // The lineage and one intent.
    let dying = Arc::new(DyingStore::new(store.clone(), 2));
    up(dying, &provider, &graph()).await.unwrap_err();
    let keys = store.list("").await.unwrap();
    let engine = Engine::look(store.clone(), &name(), provider.clone(), Settings::default()).await.unwrap();
    let drift = engine.drift().await.unwrap();
    assert!(matches!(drift[..], [crate::drift::Drift::Unknown(_)]), "{drift:?}");
    assert_eq!(store.list("").await.unwrap(), keys);
}

#[tokio::test]
async fn an_unlocked_holder_is_out() {
    use crate::lease::{HeldLease, Holder, LeaseError, holder, unlock};
    let now = jiff::Timestamp::from_second(100).unwrap();
    let who = Holder { command: "dsctl up".to_owned(), host: "there".to_owned(), pid: 1, started: 1 };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    assert!(holder(&*store, now).await.unwrap().is_none());
    let mut held = HeldLease::acquire(store.clone(), who.clone(), now, |_| false).await.unwrap();
    assert_eq!(holder(&*store, now).await.unwrap().unwrap().0, who);
    unlock(&*store).await.unwrap();
    assert!(holder(&*store, now).await.unwrap().is_none());
    assert!(matches!(held.heartbeat(now).await, Err(LeaseError::Lost)));
}

#[tokio::test]
async fn a_plan_made_before_there_is_any_state_holds_for_the_next_process() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    let plan = open(store.clone(), &provider).await.unwrap().plan(&graph()).await.unwrap();
    let mut next = open(store, &provider).await.unwrap();
    next.apply(&plan, &graph(), &mut |_| {}).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_candidate_in_between_does_not_use_up_a_token() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    provider.honour_tokens();
    provider.hide_at_first(FOREVER);
    provider.fill_zone("a");
    // It dies after the machine is made in the second zone and before that is recorded.
    let graph = zoned(&["a", "b"], 1);
    let writes_before = 1 + 3 + 1 + 1 + 1;
    let dying = Arc::new(DyingStore::new(store.clone(), writes_before));
    up(dying, &provider, &graph).await.unwrap_err();
    assert_eq!(provider.alive().len(), 2, "the machine is there, and nobody recorded it");
    up(store, &provider, &graph).await.unwrap();
    assert_eq!(provider.alive().len(), 2, "{:?}", provider.alive());
}

#[tokio::test]
async fn what_was_replaced_goes_before_what_it_stood_on() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    let of = |size: u32| {
        let sized = |name: &str, on: &[&str]| desired(name, on, json!({"size": size}));
        Graph::new([sized("a", &[]), sized("b", &["a"]), sized("c", &["b"])]).unwrap()
    };
    up(store.clone(), &provider, &of(1)).await.unwrap();
    let mut engine = open(store, &provider).await.unwrap();
    let plan = engine.plan(&of(2)).await.unwrap();
    engine.apply(&plan, &of(2), &mut |_| {}).await.unwrap();
    let mut gone = Vec::new();
    let mut watch = |step: Step<'_>| {
        if let Step::Done(change) = step {
            gone.push(change.address.clone());
        }
    };
    engine.retire(&mut watch).await.unwrap();
    assert_eq!(gone, [address("c"), address("b"), address("a")]);
}

#[tokio::test]
async fn what_stands_on_something_gone_is_looked_at_without_it() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    let graph = Graph::new([desired("a", &[], json!({})), desired("b", &["a"], json!({}))]).unwrap();
    up(store.clone(), &provider, &graph).await.unwrap();
    let engine = open(store, &provider).await.unwrap();
    let address = Address::new("thing", "a");
    let known = Known::of(engine.state());
    assert!(known.id(&address).is_some());
    assert!(known.without(&[&address].into()).id(&address).is_none());
}

#[tokio::test]
async fn what_nobody_knows_of_is_removed_if_it_is_ours() {
    let (store, provider) = (Arc::new(MemoryStore::default()), FakeProvider::default());
    let mut engine = open(store, &provider).await.unwrap();
    let stray = desired("stray", &[], json!({}));
    let ours = Known::of(engine.state());
    provider.create(&stray, &Token("t".to_owned()), &ours).await.unwrap();
    provider.create(&desired("foreign", &[], json!({})), &Token("u".to_owned()), &Known::empty("other")).await.unwrap();
    assert_eq!(engine.unknown().await.unwrap()[0].address, Some(address("stray")));
    assert_eq!(engine.remove_unknown().await.unwrap(), 1);
    assert_eq!(provider.alive().len(), 1, "another state's is left alone");
}
