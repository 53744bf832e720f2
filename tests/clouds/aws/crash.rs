//! The crash matrix: `up` and `down` killed at every call, and the network failing at every call that changes something.
//!
//! ```text
//! up with a fault -> plain up -> alive = state, each once -> down with a fault -> plain down -> nothing is left
//! ```
//! A worker goes round and round with a cloud of its own; all that differs from round to round is where it fails.

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tests::aws::cloud::{Cloud, CloudHome, REGION, VISIBILITY_VARIABLE};
use tests::aws::proxy::{Call, Fault, Moment, Rule};
use tests::process::{Outcome, Running};

const WORKERS: usize = 2;
/// moto keeps all that was ever made, and takes the longer for it.
const ROUNDS_A_CLOUD: u32 = 8;
/// Longer than what does not show takes to show.
const LONG_VISIBILITY: &str = "4s";
/// Looks in which something does not show.
const UNSEEN_LOOKS: u32 = 3;
/// Calls run side by side, so that their number is not the same in every run: so many of a hundred cases may not meet
/// the call that they are for.
const MISSED_OF_A_HUNDRED: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Up,
    Down,
}

/// Where one command fails, and how.
#[derive(Debug, Clone)]
struct Case {
    verb: Verb,
    rule: Rule,
}

impl Case {
    fn kills(&self) -> bool {
        matches!(self.rule.fault, Fault::Kill(_) | Fault::KillUnseen { .. })
    }

    fn hides(&self) -> bool {
        matches!(self.rule.fault, Fault::Unseen { .. } | Fault::KillUnseen { .. })
    }
}

/// What became of the cases.
#[derive(Debug, Default)]
struct Tally {
    tried: usize,
    /// Their call never came.
    missed: Vec<String>,
}

#[test]
fn after_a_crash_at_any_call_one_plain_command_leaves_no_orphan_and_no_duplicate() {
    let begun = Instant::now();
    let first = Worker::new();
    let (ups, downs) = first.count();
    let queues = [cases(Verb::Up, &ups), cases(Verb::Down, &downs)].map(Mutex::new);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        let more = (1..WORKERS).map(|_| scope.spawn(|| Worker::new().go_round(&queues, &tally))).collect::<Vec<_>>();
        first.go_round(&queues, &tally);
        more.into_iter().for_each(|worker| worker.join().expect("a worker's rounds"));
    });
    let tally = tally.into_inner().expect("the tally");
    // Past the test harness, which would keep it to itself.
    let _ = writeln!(
        std::io::stderr(),
        "crash matrix: {} cases ({} calls of up, {} of down), {} missed their call, {:.0} s",
        tally.tried,
        ups.len(),
        downs.len(),
        tally.missed.len(),
        begun.elapsed().as_secs_f64(),
    );
    assert!(tally.missed.len() * 100 <= tally.tried * MISSED_OF_A_HUNDRED, "{:?}", tally.missed);
}

/// Every call is killed at each of its moments; one that changes something fails in all other ways too.
fn cases(verb: Verb, calls: &[Call]) -> VecDeque<Case> {
    let moments = [Moment::BeforeSent, Moment::AfterSent, Moment::AfterAnswered];
    let looks = calls.iter().filter(|call| !call.mutating);
    let looks = looks.flat_map(|call| moments.map(|moment| Rule::call(call.number, Fault::Kill(moment))));
    let changing = 1..=calls.iter().filter(|call| call.mutating).count() as u64;
    let kills = changing.clone().flat_map(|nth| moments.map(|moment| Rule::mutating(nth, Fault::Kill(moment))));
    let failures = changing.clone().flat_map(|nth| {
        let all = [Fault::TimeoutAfterSuccess, Fault::ErrorAfterSuccess(500), Fault::Throttle { times: 3 }];
        all.map(|fault| Rule::mutating(nth, fault))
    });
    let hidden = calls.iter().filter(|call| makes(call)).flat_map(|call| {
        let all = [Fault::Unseen { looks: UNSEEN_LOOKS }, Fault::KillUnseen { looks: UNSEEN_LOOKS }];
        all.map(|fault| Rule::nth(&call.operation, call.nth, fault))
    });
    let mut cases: Vec<Case> =
        kills.chain(looks).chain(failures).chain(hidden).map(|rule| Case { verb, rule }).collect();
    if verb == Verb::Up {
        let machine = [Fault::Capacity, Fault::Quota, Fault::Denied];
        cases.extend(machine.map(|fault| Case { verb, rule: Rule::nth("RunInstances", 1, fault) }));
    }
    cases.into()
}

/// Whether EC2 makes something by it that may not show at once.
fn makes(call: &Call) -> bool {
    call.service == "ec2" && ["Create", "Run", "Allocate"].iter().any(|verb| call.operation.starts_with(verb))
}

struct Worker {
    cloud: Cloud,
    home: CloudHome,
}

impl Worker {
    fn new() -> Self {
        let cloud = Cloud::start();
        cloud.reset();
        let home = cloud.home();
        Self { cloud, home }
    }

    /// The calls of an `up` and of a `down` when nothing fails.
    fn count(&self) -> (Vec<Call>, Vec<Call>) {
        self.cloud.proxy.clear();
        self.home.up(&[]).exits(0);
        let ups = self.cloud.proxy.calls();
        self.cloud.proxy.clear();
        self.home.dsctl(&["down", "--yes"]).exits(0);
        (ups, self.cloud.proxy.calls())
    }

    fn go_round(&self, queues: &[Mutex<VecDeque<Case>>; 2], tally: &Mutex<Tally>) {
        let next = |queue: &Mutex<VecDeque<Case>>| queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        for round in 1_u32.. {
            let (up, down) = (next(&queues[0]), next(&queues[1]));
            if up.is_none() && down.is_none() {
                return;
            }
            self.go_up(up.as_ref(), tally);
            self.go_down(down.as_ref(), tally);
            if round.is_multiple_of(ROUNDS_A_CLOUD) {
                self.cloud.reset();
            }
        }
    }

    fn go_up(&self, case: Option<&Case>, tally: &Mutex<Tally>) {
        let failed = case.map(|case| self.fail(case, tally));
        let when = format!("{case:?}, which ended so:\n{}", transcript(failed.as_ref()));
        let plain = self.run(case, &["up", "--yes", "--no-wait"]);
        assert_eq!(plain.code, 0, "plain up after {when}\n{}", plain.transcript());
        self.cloud.agrees_with(&self.home, &when);
    }

    fn go_down(&self, case: Option<&Case>, tally: &Mutex<Tally>) {
        let failed = case.map(|case| self.fail(case, tally));
        let when = format!("{case:?}, which ended so:\n{}", transcript(failed.as_ref()));
        let plain = self.run(case, &["down", "--yes"]);
        // 6: it was over already.
        assert!([0, 6].contains(&plain.code), "plain down after {when}\n{}", plain.transcript());
        self.cloud.is_empty(REGION, &when);
        assert_eq!(self.home.home.deployments(), Vec::<String>::new(), "{when}: folders");
    }

    /// The command with its fault. One that was not killed has ended by itself, with what it could do or with a reason.
    fn fail(&self, case: &Case, tally: &Mutex<Tally>) -> Outcome {
        self.cloud.proxy.clear();
        self.cloud.proxy.arm([case.rule.clone()]);
        let words: &[&str] = match case.verb {
            Verb::Up => &["up", "--yes", "--no-wait"],
            Verb::Down => &["down", "--yes"],
        };
        let running = Running::start(&mut self.command(Some(case), words));
        self.cloud.proxy.set_target(running.pid());
        let outcome = running.end();
        self.cloud.proxy.settle();
        let is_missed = !self.cloud.proxy.waiting().is_empty();
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.tried += 1;
        if is_missed {
            tally.missed.push(format!("{case:?}"));
        }
        let is_killed = case.kills() && !is_missed && !is_late(case);
        assert!(!is_killed || outcome.code == -1, "{case:?} did not kill\n{}", outcome.transcript());
        assert!(case.kills() || outcome.code >= 0, "{case:?}\n{}", outcome.transcript());
        self.cloud.proxy.clear();
        outcome
    }

    fn run(&self, case: Option<&Case>, words: &[&str]) -> Outcome {
        tests::process::run(&mut self.command(case, words))
    }

    fn command(&self, case: Option<&Case>, words: &[&str]) -> Command {
        let mut command = self.home.command(words);
        if case.is_some_and(Case::hides) {
            command.env(VISIBILITY_VARIABLE, LONG_VISIBILITY);
        }
        command
    }
}

/// After the answer to the last call a command may end by itself before it is killed.
fn is_late(case: &Case) -> bool {
    case.rule.fault == Fault::Kill(Moment::AfterAnswered)
}

fn transcript(outcome: Option<&Outcome>) -> String {
    outcome.map(Outcome::transcript).unwrap_or_default()
}
