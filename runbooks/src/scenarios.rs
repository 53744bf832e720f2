//! What each runbook comes to in each state that it is for, and in those that it is not for.

use spec::host::PhaseState;
use spec::rollout::{RolloutPhase, Verdict};

use crate::fake::{Fake, Remedies, World};
use crate::library::runbooks;
use crate::probe::{StateSeen, WeightsSeen};
use crate::run::{Decision, Mode, Outcome, RemedyOutcome, Report, run};
use crate::runbook::Unit;

/// What the alert saw is nothing that a check here can see: these ask how urgent it is, and leave the act to a person.
const SEEN_BY_THE_ALERT_ALONE: [&str; 16] = [
    "cost-high",
    "data-breach",
    "disk-filling",
    "fail-over",
    "gpu-fault",
    "gpu-load",
    "gpu-throttled",
    "host-clock",
    "host-resources",
    "host-unit-failed",
    "host-went-back",
    "key-leaked",
    "lock-held",
    "monitoring-broken",
    "orphan-found",
    "spot-notice",
];

/// (runbook, state, cause).
type Scenario = (&'static str, World, &'static str);

/// One for every cause of every runbook.
fn scenarios() -> Vec<Scenario> {
    [units(), memory(), traffic(), load(), rollouts(), stores(), machines(), asked_for()].concat()
}

fn healthy() -> World {
    World::healthy()
}

fn unit(unit: Unit, state: StateSeen) -> World {
    healthy().unit(unit, state)
}

fn no_agent(dead: Unit) -> World {
    unit(dead, StateSeen::Dead).unit(Unit::Agent, StateSeen::Dead)
}

fn baking(world: World) -> World {
    world.rollout(RolloutPhase::Baking, Verdict::Hold)
}

fn failing(variant: &'static str) -> World {
    healthy().with(|world| world.attempts.push((variant, "upstream_error", 5.0)))
}

fn truncating() -> World {
    healthy().with(|world| world.attempts.push(("candidate", "truncated", 5.0)))
}

fn waiting(requests: f64) -> World {
    healthy().with(|world| world.waiting = requests)
}

fn units() -> Vec<Scenario> {
    let weights = |state| unit(Unit::Dsserve, StateSeen::Waiting).with(|world| world.weights_phase = state);
    vec![
        ("agent-dead", unit(Unit::Agent, StateSeen::Dead), "agent-gone"),
        ("gateway-down", no_agent(Unit::Dsgate), "agent-gone"),
        ("gateway-down", unit(Unit::Dsgate, StateSeen::Backoff), "gateway-crashing"),
        ("gateway-down", unit(Unit::Dsgate, StateSeen::Waiting), "gateway-starting"),
        ("gateway-down", unit(Unit::Dsgate, StateSeen::Failed), "gateway-stopped"),
        ("daemon-not-ready", no_agent(Unit::Dsserve), "agent-gone"),
        ("daemon-not-ready", weights(PhaseState::Failed), "weights-failed"),
        ("daemon-not-ready", weights(PhaseState::Running), "weights-coming"),
        ("daemon-not-ready", unit(Unit::Dsserve, StateSeen::Backoff), "daemon-crashing"),
        ("daemon-not-ready", unit(Unit::Dsserve, StateSeen::Starting), "daemon-loading"),
        ("daemon-not-ready", unit(Unit::Dsserve, StateSeen::Stopped), "daemon-stopped"),
        ("generation-stuck", stuck(), "stuck"),
        ("config-reload-failed", refusing(), "refused"),
        ("audit-not-written", healthy().with(|world| world.audit_failing = 1.0), "can-not-be-written"),
        ("audit-not-written", healthy().with(|world| world.audit_dropped = 3.0), "was-lost"),
    ]
}

fn memory() -> Vec<Scenario> {
    let says = |said| unit(Unit::Dsserve, StateSeen::Backoff).with(|world| world.daemon_said = said);
    let context = "a sequence of 8192 tokens needs 4 GiB of key-value cache, the weights 2 GiB";
    let model = "the weights need 40 GiB and 20 GiB of memory can be used: use a smaller model or a larger machine";
    vec![
        ("daemon-not-ready", says(context), "context-too-long"),
        ("out-of-memory", says(context), "context-too-long"),
        ("out-of-memory", says("memory allocation of 8 bytes failed"), "context-too-long"),
        ("out-of-memory", says(model), "model-too-large"),
    ]
}

/// What a person comes with, or hears from elsewhere.
fn asked_for() -> Vec<Scenario> {
    let gateway_down = || unit(Unit::Dsgate, StateSeen::Backoff);
    let agent_dead = || unit(Unit::Agent, StateSeen::Dead);
    vec![
        ("fail-over", baking(healthy()), "in-a-rollout"),
        ("fail-over", healthy(), "outside-a-rollout"),
        ("key-leaked", healthy(), "key-out"),
        ("key-leaked", gateway_down(), "key-out-and-gateway-down"),
        ("data-breach", healthy(), "open"),
        ("data-breach", gateway_down(), "closed"),
        ("lock-held", healthy(), "held-while-it-serves"),
        ("lock-held", agent_dead(), "held-and-down"),
        ("orphan-found", healthy(), "beside-a-deployment"),
        ("orphan-found", gateway_down(), "perhaps-this-one"),
        ("spot-notice", healthy(), "about-to-go"),
        ("spot-notice", agent_dead(), "gone"),
    ]
}

/// A daemon that ends for another reason is not given less to work with.
#[tokio::test]
async fn who_says_nothing_of_memory_keeps_its_context() {
    let crashing = || unit(Unit::Dsserve, StateSeen::Backoff).with(|world| world.daemon_said = "address in use");
    let (report, fake) = go("out-of-memory", crashing(), Remedies::Help, Mode::Act).await;
    assert_eq!((report.outcome(), fake.acts()), (Outcome::NotThis, Vec::new()));
    let (report, fake) = go("daemon-not-ready", crashing(), Remedies::Help, Mode::Act).await;
    assert_eq!((report.outcome(), fake.acts()), (Outcome::ByHand, Vec::new()));
}

fn stuck() -> World {
    healthy().with(|world| (world.running, world.tokens_per_second) = (3.0, 0.0))
}

fn refusing() -> World {
    healthy().with(|world| world.config_reloaded = 0.0)
}

fn traffic() -> Vec<Scenario> {
    let throttled = healthy().with(|world| world.answers.push(("baseline", "429", 1.0)));
    let late = healthy().with(|world| world.first_token.extend([("candidate", 30.0)]));
    vec![
        ("error-ratio-high", failing("baseline"), "baseline-fails"),
        ("error-ratio-high", baking(failing("candidate")), "candidate-fails-in-rollout"),
        ("error-ratio-high", failing("candidate"), "candidate-fails"),
        ("streams-truncated", truncating().unit(Unit::Dsserve, StateSeen::Backoff), "daemon-ends"),
        ("streams-truncated", baking(truncating()), "candidate-breaks-off"),
        ("streams-truncated", truncating(), "upstream-breaks-off"),
        ("fallback-in-use", unit(Unit::Dsserve, StateSeen::Backoff), "candidate-down"),
        ("fallback-in-use", failing("candidate"), "candidate-fails"),
        ("fallback-in-use", failing("baseline"), "baseline-fails"),
        ("baseline-throttled", throttled, "quota-used-up"),
        ("budget-burning", baking(failing("candidate")), "rollout-costs-the-budget"),
        ("budget-burning", failing("baseline"), "answers-fail"),
        ("budget-burning", late, "first-tokens-late"),
    ]
}

fn load() -> Vec<Scenario> {
    let late = |variant| healthy().with(|world| world.first_token.extend([(variant, 30.0)]));
    let slow = |variant| healthy().with(|world| world.duration.extend([(variant, 30.0)]));
    let full = || healthy().with(|world| world.cache_usage = 0.99);
    let endless = healthy().with(|world| world.ended.push(("length", 1.0)));
    vec![
        ("first-token-slow", late("baseline"), "baseline-slow"),
        ("first-token-slow", baking(late("candidate")), "too-much-for-the-candidate"),
        ("first-token-slow", late("candidate").with(|world| world.waiting = 1.0), "overloaded"),
        ("first-token-slow", late("candidate"), "long-prompts"),
        ("requests-slow", slow("baseline"), "baseline-slow"),
        ("requests-slow", baking(slow("candidate")), "too-much-for-the-candidate"),
        ("requests-slow", slow("candidate").with(|world| world.waiting = 1.0), "overloaded"),
        ("requests-slow", slow("candidate"), "long-answers"),
        ("queue-growing", baking(waiting(40.0)), "too-much-for-the-candidate"),
        ("queue-growing", waiting(40.0), "overloaded"),
        ("kv-cache-full", baking(full()), "too-much-for-the-candidate"),
        ("kv-cache-full", full(), "cache-too-small"),
        ("answers-end-early", waiting(3.0), "clients-give-up-waiting"),
        ("answers-end-early", endless, "answers-do-not-end"),
    ]
}

fn rollouts() -> Vec<Scenario> {
    let rolled_back = |world: World| world.rollout(RolloutPhase::RolledBack, Verdict::RollBack);
    let idle = || healthy().with(|world| world.attempts.retain(|(variant, ..)| *variant == "baseline"));
    vec![
        ("rollout-rolled-back", rolled_back(healthy()), "gate-failed"),
        ("rollout-rolled-back", rolled_back(no_agent(Unit::Dsserve)), "agent-gone"),
        ("rollout-rolled-back", rolled_back(unit(Unit::Dsserve, StateSeen::Failed)), "daemon-died"),
        ("rollout-held", healthy().rollout(RolloutPhase::Paused, Verdict::Hold), "paused"),
        ("rollout-held", baking(unit(Unit::Dsserve, StateSeen::Starting)), "daemon-not-ready"),
        ("rollout-held", baking(healthy()), "waiting-for-evidence"),
        ("rollout-held", baking(idle()).with(|world| world.attempts.push(("candidate", "ok", 0.0))), "no-traffic"),
        ("routing-off", refusing(), "reload-refused"),
        ("routing-off", baking(healthy()), "rollout-misjudged"),
    ]
}

fn stores() -> Vec<Scenario> {
    let no_space = || healthy().with(|world| world.free_space = 1 << 30);
    let weights = |seen| healthy().with(|world| world.weights = seen);
    vec![
        ("weights-corrupt", weights(WeightsSeen::Damaged("m.gguf has another digest".to_owned())), "damaged"),
        ("weights-corrupt", weights(WeightsSeen::Missing("m.gguf is not in the cache".to_owned())), "missing"),
        ("disk-full", no_space().with(|world| world.weights_phase = PhaseState::Failed), "too-large-for-the-disk"),
        ("disk-full", no_space(), "disk-full"),
        ("disk-filling", healthy().with(|world| world.weights_phase = PhaseState::Running), "weights-coming"),
        ("disk-filling", no_space(), "full"),
        ("disk-filling", healthy(), "filling"),
    ]
}

fn machines() -> Vec<Scenario> {
    let daemon_down = || unit(Unit::Dsserve, StateSeen::Backoff);
    let gateway_down = || unit(Unit::Dsgate, StateSeen::Backoff);
    let agent_dead = || unit(Unit::Agent, StateSeen::Dead);
    let on_its_own = healthy().with(|world| world.attempts.retain(|(variant, ..)| *variant == "candidate"));
    vec![
        ("gpu-fault", healthy(), "serves-on-a-doubtful-gpu"),
        ("gpu-fault", daemon_down(), "gpu-gone"),
        ("gpu-throttled", waiting(3.0), "slow-and-behind"),
        ("gpu-throttled", healthy(), "slow-and-keeping-up"),
        ("gpu-load", waiting(3.0), "more-than-one-machine"),
        ("gpu-load", healthy().with(|world| world.running = 2.0), "busy-and-keeping-up"),
        ("gpu-load", healthy(), "nothing-to-do"),
        ("cost-high", healthy(), "both-are-paid"),
        ("cost-high", on_its_own.with(|world| world.attempts.push(("baseline", "ok", 0.0))), "machine-alone"),
        ("host-down", agent_dead(), "host-gone"),
        ("host-resources", healthy(), "serves-under-pressure"),
        ("host-resources", daemon_down(), "daemon-ended"),
        ("host-clock", agent_dead(), "agent-gone-too"),
        ("host-clock", healthy(), "clock-alone"),
        ("host-unit-failed", gateway_down(), "gateway-failed"),
        ("host-unit-failed", daemon_down(), "daemon-failed"),
        ("host-unit-failed", healthy(), "another-unit"),
        ("host-went-back", daemon_down(), "nobody-served"),
        ("host-went-back", healthy(), "served-as-before"),
        ("monitoring-broken", gateway_down(), "something-else-first"),
        ("monitoring-broken", healthy(), "monitoring-alone"),
    ]
}

async fn go(runbook: &str, world: World, remedies: Remedies, mode: Mode) -> (Report, Fake) {
    let fake = Fake::new(world, remedies);
    let report = run(runbooks().unwrap().find(runbook).unwrap(), &fake, &(), mode).await;
    (report, fake)
}

#[test]
fn every_cause_has_a_scenario() {
    let scenarios = scenarios();
    for runbook in runbooks().unwrap().all() {
        for cause in &runbook.causes {
            let is_there = scenarios.iter().any(|(name, _, found)| *name == runbook.name && *found == cause.name);
            assert!(is_there, "{}: {}", runbook.name, cause.name);
        }
    }
}

#[tokio::test]
async fn each_state_leads_to_its_cause_and_is_healed_or_left_to_a_person() {
    let library = runbooks().unwrap();
    for (runbook, world, cause) in scenarios() {
        let place = format!("{runbook}: {cause}");
        let (report, fake) = go(runbook, world, Remedies::Help, Mode::Act).await;
        let Decision::Cause { name, by_hand, .. } = &report.decision else { panic!("{place}: {report:?}") };
        assert_eq!(name, cause, "{place}: {report:?}");
        let remedy = library.find(runbook).unwrap().cause(cause).unwrap().remedy;
        assert_eq!(fake.acts(), Vec::from_iter(remedy), "{place}");
        assert_eq!(by_hand.is_some(), remedy.is_none(), "{place}");
        let wanted = if remedy.is_some() { Outcome::Healed } else { Outcome::ByHand };
        assert_eq!(report.outcome(), wanted, "{place}: {report:?}");
        assert_eq!(report.call, None, "{place}");
    }
}

#[tokio::test]
async fn a_dry_run_finds_the_same_and_changes_nothing() {
    for (runbook, world, cause) in scenarios() {
        let (report, fake) = go(runbook, world, Remedies::Help, Mode::DryRun).await;
        assert!(matches!(&report.decision, Decision::Cause { name, .. } if name == cause), "{runbook}: {report:?}");
        assert!(matches!(report.outcome(), Outcome::WouldHeal | Outcome::ByHand), "{runbook}: {report:?}");
        assert_eq!(fake.acts(), [], "{runbook}");
    }
}

#[tokio::test]
async fn where_nothing_is_the_matter_each_says_so_and_changes_nothing() {
    for runbook in runbooks().unwrap().all() {
        let (report, fake) = go(&runbook.name, World::healthy(), Remedies::Help, Mode::Act).await;
        let is_blind = SEEN_BY_THE_ALERT_ALONE.contains(&runbook.name.as_str());
        let wanted = if is_blind { Outcome::ByHand } else { Outcome::NotThis };
        assert_eq!(report.outcome(), wanted, "{report:?}");
        assert_eq!(fake.acts(), [], "{}", runbook.name);
    }
}

#[derive(Default)]
struct Notes(std::sync::Mutex<Vec<crate::incident::Event>>);

impl crate::incident::Witness for Notes {
    fn note(&self, event: crate::incident::Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Whatever the run comes to, the witness has all of the report, and hears of an act before it is done.
#[tokio::test]
async fn a_witness_hears_everything_in_order() {
    use crate::incident::Event;
    for (name, world, _) in scenarios() {
        let (fake, notes) = (Fake::new(world, Remedies::Help), Notes::default());
        let report = run(runbooks().unwrap().find(name).unwrap(), &fake, &notes, Mode::Act).await;
        let heard = notes.0.into_inner().unwrap();
        let steps = report.steps.iter().cloned().map(Event::Seen);
        let mut wanted = vec![Event::Began { mode: Mode::Act }];
        wanted.extend(steps);
        wanted.push(Event::Decided { decision: report.decision.clone() });
        if let Some(remedy) = &report.remedy {
            wanted.push(Event::Acting { what: remedy.what.clone(), back: remedy.back.clone() });
            wanted.push(Event::Acted { outcome: remedy.outcome.clone() });
        }
        assert_eq!(heard, wanted, "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_seen_is_no_answer() {
    let blind = World::healthy().with(|world| world.is_scrapeable = false);
    let (report, fake) = go("error-ratio-high", blind, Remedies::Help, Mode::Act).await;
    assert_eq!(report.outcome(), Outcome::Undecided);
    assert_eq!(report.steps[0].answer, None);
    assert_eq!(report.steps[0].seen, "connection refused");
    assert!(report.call.is_some());
    assert_eq!(fake.acts(), []);

    let no_traffic = World::healthy().with(|world| world.attempts.clear());
    let (report, _) = go("error-ratio-high", no_traffic, Remedies::Help, Mode::Act).await;
    let Decision::Undecided { step, why } = &report.decision else { panic!("{report:?}") };
    assert_eq!((step.as_str(), why.contains("nothing that dsctl_gateway_requests_total counts")), ("errors-now", true));
}

#[tokio::test]
async fn a_remedy_that_does_not_help_is_given_up_in_time_and_someone_is_called() {
    let world = World::healthy().unit(Unit::Agent, StateSeen::Dead);
    let (report, fake) = go("agent-dead", world.clone(), Remedies::DoNothing, Mode::Act).await;
    assert_eq!(report.outcome(), Outcome::NotHealed);
    let Some(RemedyOutcome::NotVerified { seen, after, .. }) = report.remedy.map(|remedy| remedy.outcome) else {
        panic!("verified")
    };
    assert_eq!((seen.as_str(), after.to_string().as_str()), ("agent is dead", "1m"));
    assert_eq!(fake.waited().as_secs(), 60);
    assert!(report.call.unwrap().contains("dsctl logs agent"));

    let (report, _) = go("agent-dead", world, Remedies::Fail, Mode::Act).await;
    let failed = RemedyOutcome::Failed { error: "it was refused".to_owned() };
    assert_eq!(report.remedy.unwrap().outcome, failed);
    assert!(report.call.is_some());
}
