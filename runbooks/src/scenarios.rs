//! What each runbook comes to in each state that it is for, and in those that it is not for.

use spec::host::PhaseState;
use spec::rollout::{RolloutPhase, Verdict};

use crate::fake::{Fake, Remedies, World};
use crate::library::runbooks;
use crate::probe::{StateSeen, WeightsSeen};
use crate::run::{Decision, Mode, Outcome, RemedyOutcome, Report, run};
use crate::runbook::Unit;

/// (runbook, state, cause): one for every cause of every runbook.
fn scenarios() -> Vec<(&'static str, World, &'static str)> {
    let healthy = World::healthy;
    let unit = |unit, state| healthy().unit(unit, state);
    let no_agent = |dead| unit(dead, StateSeen::Dead).unit(Unit::Agent, StateSeen::Dead);
    let baking = |world: World| world.rollout(RolloutPhase::Baking, Verdict::Hold);
    let failing = |variant| healthy().with(|world| world.attempts.push((variant, "upstream_error", 5.0)));
    let slow = |variant| healthy().with(|world| world.first_token.extend([(variant, 30.0)]));
    let queue = || healthy().with(|world| world.waiting = 40.0);
    let full = || healthy().with(|world| world.cache_usage = 0.99);
    let weights = |state| unit(Unit::Dsserve, StateSeen::Waiting).with(|world| world.weights_phase = state);
    let no_space = || healthy().with(|world| world.free_space = 1 << 30);
    let rolled_back = |world: World| world.rollout(RolloutPhase::RolledBack, Verdict::RollBack);
    let idle = || healthy().with(|world| world.attempts.retain(|(variant, ..)| *variant == "baseline"));
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
        ("error-ratio-high", failing("baseline"), "baseline-fails"),
        ("error-ratio-high", baking(failing("candidate")), "candidate-fails-in-rollout"),
        ("error-ratio-high", failing("candidate"), "candidate-fails"),
        ("first-token-slow", slow("baseline"), "baseline-slow"),
        ("first-token-slow", baking(slow("candidate")), "too-much-for-the-candidate"),
        ("first-token-slow", slow("candidate").with(|world| world.waiting = 1.0), "overloaded"),
        ("first-token-slow", slow("candidate"), "long-prompts"),
        ("queue-growing", baking(queue()), "too-much-for-the-candidate"),
        ("queue-growing", queue(), "overloaded"),
        ("kv-cache-full", baking(full()), "too-much-for-the-candidate"),
        ("kv-cache-full", full(), "cache-too-small"),
        ("config-reload-failed", healthy().with(|world| world.config_reloaded = 0.0), "refused"),
        ("rollout-rolled-back", rolled_back(healthy()), "gate-failed"),
        ("rollout-rolled-back", rolled_back(no_agent(Unit::Dsserve)), "agent-gone"),
        ("rollout-rolled-back", rolled_back(unit(Unit::Dsserve, StateSeen::Failed)), "daemon-died"),
        ("rollout-held", healthy().rollout(RolloutPhase::Paused, Verdict::Hold), "paused"),
        ("rollout-held", baking(unit(Unit::Dsserve, StateSeen::Starting)), "daemon-not-ready"),
        ("rollout-held", baking(healthy()), "waiting-for-evidence"),
        ("rollout-held", baking(idle()).with(|world| world.attempts.push(("candidate", "ok", 0.0))), "no-traffic"),
        (
            "weights-corrupt",
            healthy().with(|world| world.weights = WeightsSeen::Damaged("m.gguf has another digest".to_owned())),
            "damaged",
        ),
        (
            "weights-corrupt",
            healthy().with(|world| world.weights = WeightsSeen::Missing("m.gguf is not in the cache".to_owned())),
            "missing",
        ),
        ("disk-full", no_space().with(|world| world.weights_phase = PhaseState::Failed), "too-large-for-the-disk"),
        ("disk-full", no_space(), "disk-full"),
    ]
}

async fn go(runbook: &str, world: World, remedies: Remedies, mode: Mode) -> (Report, Fake) {
    let fake = Fake::new(world, remedies);
    let report = run(runbooks().unwrap().find(runbook).unwrap(), &fake, mode).await;
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
        assert_eq!(report.outcome(), Outcome::NotThis, "{report:?}");
        assert_eq!(fake.acts(), [], "{}", runbook.name);
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
