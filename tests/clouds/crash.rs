//! The crash matrix: `up` and `down` killed at every call, and the network failing at every call that changes something.
//!
//! ```text
//! up with a fault -> plain up -> alive = state, each once -> down with a fault -> plain down -> nothing is left
//! ```
//! A worker goes round and round with a cloud of its own; all that differs from round to round is where it fails, and from
//! cloud to cloud its [`Ground`].

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tests::cloud_home::CloudHome;
use tests::home::VISIBILITY_VARIABLE;
use tests::process::{Outcome, Running};
use tests::proxy::{Call, Dialect, Fault, Moment, Proxy, Rule};

/// One more than cores, since each waits for its cloud a tenth of the time.
const WORKERS: usize = 3;
/// Longer than what does not show takes to show.
const LONG_VISIBILITY: &str = "4s";
/// Looks in which something does not show.
const UNSEEN_LOOKS: u32 = 3;
/// Calls run side by side, so that their number is not the same in every run: so many of a hundred cases may not meet
/// the call that they are for.
const MISSED_OF_A_HUNDRED: usize = 3;
/// Nobody boots the machine.
const UP: &[&str] = &["up", "--yes", "--no-wait"];
const DOWN: &[&str] = &["down", "--yes"];

/// A cloud, and a home whose `dsctl` goes there.
pub trait Ground: Send + Sync {
    type Dialect: Dialect;
    /// As `--cloud` takes it.
    const CLOUD: &'static str;
    /// After so many rounds the cloud begins anew: a fake that keeps all that was ever made takes the longer for it.
    const ROUNDS_A_CLOUD: u32;
    /// The operation that makes the machine.
    const MACHINE: &'static str;

    /// An empty cloud, with machines that are there at once.
    fn start() -> Self;

    fn reset(&self);

    fn proxy(&self) -> &Proxy<Self::Dialect>;

    fn home(&self) -> &CloudHome;

    /// That what is alive is what the state records, each once, and nothing that costs money lies about.
    fn agrees(&self, when: &str);

    /// That nothing of dsctl's is left, in the cloud and on this machine.
    fn is_empty(&self, when: &str);

    /// Whether a call makes something that may not show at once.
    fn makes(call: &Call) -> bool;

    /// `dsctl` with these words, about the tests' deployment.
    fn run(&self, words: &[&str]) -> Outcome {
        self.home().dsctl(words)
    }

    /// That nothing was changed since the proxy was cleared.
    fn is_untouched(&self, when: &str) {
        let calls = self.proxy().calls();
        let changes: Vec<&str> =
            calls.iter().filter(|call| call.mutating).map(|call| call.operation.as_str()).collect();
        assert!(changes.is_empty(), "{when}: calls that change something: {changes:?}");
    }
}

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

/// The whole matrix of a cloud.
pub fn matrix<G: Ground>(cloud: &str) {
    let begun = Instant::now();
    let first = Worker::<G>::new();
    let (ups, downs) = first.count();
    let queues = [cases::<G>(Verb::Up, &ups), cases::<G>(Verb::Down, &downs)].map(Mutex::new);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        let more = (1..WORKERS).map(|_| scope.spawn(|| Worker::<G>::new().go_round(&queues, &tally)));
        let more = more.collect::<Vec<_>>();
        first.go_round(&queues, &tally);
        more.into_iter().for_each(|worker| worker.join().expect("a worker's rounds"));
    });
    let tally = tally.into_inner().expect("the tally");
    // Past the test harness, which would keep it to itself.
    let _ = writeln!(
        std::io::stderr(),
        "crash matrix of {cloud}: {} cases ({} calls of up, {} of down), {} missed their call, {:.0} s",
        tally.tried,
        ups.len(),
        downs.len(),
        tally.missed.len(),
        begun.elapsed().as_secs_f64(),
    );
    assert!(tally.missed.len() * 100 <= tally.tried * MISSED_OF_A_HUNDRED, "{:?}", tally.missed);
}

/// Every call is killed at each of its moments; one that changes something fails in all other ways too.
fn cases<G: Ground>(verb: Verb, calls: &[Call]) -> VecDeque<Case> {
    let looks = calls.iter().filter(|call| !call.mutating);
    let looks = looks.flat_map(|call| Moment::ALL.map(|moment| Rule::call(call.number, Fault::Kill(moment))));
    let changing = 1..=calls.iter().filter(|call| call.mutating).count() as u64;
    let kills = changing.clone().flat_map(|nth| Moment::ALL.map(|moment| Rule::mutating(nth, Fault::Kill(moment))));
    let failures = changing.clone().flat_map(|nth| {
        let all = [Fault::TimeoutAfterSuccess, Fault::ErrorAfterSuccess(500), Fault::Throttle { times: 3 }];
        all.map(|fault| Rule::mutating(nth, fault))
    });
    let hidden = calls.iter().filter(|call| G::makes(call)).flat_map(|call| {
        let all = [Fault::Unseen { looks: UNSEEN_LOOKS }, Fault::KillUnseen { looks: UNSEEN_LOOKS }];
        all.map(|fault| Rule::nth(&call.operation, call.nth, fault))
    });
    let mut cases: Vec<Case> =
        kills.chain(looks).chain(failures).chain(hidden).map(|rule| Case { verb, rule }).collect();
    if verb == Verb::Up {
        let machine = [Fault::Capacity, Fault::Quota, Fault::Denied];
        cases.extend(machine.map(|fault| Case { verb, rule: Rule::nth(G::MACHINE, 1, fault) }));
    }
    cases.into()
}

struct Worker<G> {
    ground: G,
}

impl<G: Ground> Worker<G> {
    fn new() -> Self {
        Self { ground: G::start() }
    }

    /// The calls of an `up` and of a `down` when nothing fails.
    fn count(&self) -> (Vec<Call>, Vec<Call>) {
        let counted = |words: &[&str]| {
            self.ground.proxy().clear();
            self.run(None, words).exits(0);
            self.ground.proxy().calls()
        };
        (counted(UP), counted(DOWN))
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
            if round.is_multiple_of(G::ROUNDS_A_CLOUD) {
                self.ground.reset();
            }
        }
    }

    fn go_up(&self, case: Option<&Case>, tally: &Mutex<Tally>) {
        let failed = case.map(|case| self.fail(case, tally));
        let when = format!("{case:?}, which ended so:\n{}", transcript(failed.as_ref()));
        let plain = self.run(case, UP);
        assert_eq!(plain.code, 0, "plain up after {when}\n{}", plain.transcript());
        self.ground.agrees(&when);
    }

    fn go_down(&self, case: Option<&Case>, tally: &Mutex<Tally>) {
        let failed = case.map(|case| self.fail(case, tally));
        let when = format!("{case:?}, which ended so:\n{}", transcript(failed.as_ref()));
        let plain = self.run(case, DOWN);
        // 6: it was over already.
        assert!([0, 6].contains(&plain.code), "plain down after {when}\n{}", plain.transcript());
        self.ground.is_empty(&when);
    }

    /// The command with its fault. One that was not killed has ended by itself, with what it could do or with a reason.
    fn fail(&self, case: &Case, tally: &Mutex<Tally>) -> Outcome {
        self.ground.proxy().clear();
        self.ground.proxy().arm([case.rule.clone()]);
        let words = match case.verb {
            Verb::Up => UP,
            Verb::Down => DOWN,
        };
        let running = Running::start(&mut self.command(Some(case), words));
        self.ground.proxy().set_target(running.pid());
        let outcome = running.end();
        self.ground.proxy().settle();
        let is_missed = !self.ground.proxy().waiting().is_empty();
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.tried += 1;
        if is_missed {
            tally.missed.push(format!("{case:?}"));
        }
        let is_killed = case.kills() && !is_missed && !is_late(case);
        assert!(!is_killed || outcome.code == -1, "{case:?} did not kill\n{}", outcome.transcript());
        assert!(case.kills() || outcome.code >= 0, "{case:?}\n{}", outcome.transcript());
        self.ground.proxy().clear();
        outcome
    }

    fn run(&self, case: Option<&Case>, words: &[&str]) -> Outcome {
        tests::process::run(&mut self.command(case, words))
    }

    fn command(&self, case: Option<&Case>, words: &[&str]) -> Command {
        let mut command = self.ground.home().command(words);
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
