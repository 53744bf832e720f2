//! Fakes for tests: traffic whose answers are made to order, a clock that is set, a store whose writes fail to order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use engine::store::{Expect, Store, StoreError, Version};
use jiff::{SignedDuration, Timestamp};
use spec::amount::Weight;
use spec::id::Variant;
use spec::route::RouteTable;

use crate::clock::Clock;
use crate::ports::{Observation, Outcome, Traffic, TrafficError};

/// When a failing act fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing has happened.
    Before,
    /// It has happened, but the caller doesn't learn of it.
    After,
}

/// How long it goes on failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// The next try works.
    Once,
    /// Until it is mended: the process is gone, the disk is full.
    UntilMended,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    /// Acts that still work.
    left: usize,
    when: When,
    lasting: Lasting,
}

/// Acts are counted down to the failing one.
#[derive(Debug, Default)]
struct Failing {
    next: Option<Failure>,
    has_failed: bool,
}

impl Failing {
    fn next(&mut self) -> Option<When> {
        let failure = self.next.as_mut()?;
        if failure.left > 0 {
            failure.left -= 1;
            return None;
        }
        self.has_failed = true;
        let when = failure.when;
        match failure.lasting {
            Lasting::Once => self.next = None,
            // What comes after a death never happens.
            Lasting::UntilMended => failure.when = When::Before,
        }
        Some(when)
    }
}

#[derive(Debug)]
struct World {
    table: RouteTable,
    finished: Vec<Observation>,
    requests: u64,
    probe_failure: Option<String>,
    page: Option<String>,
    sets: usize,
    failing: Failing,
}

/// Traffic in memory; clones share it.
#[derive(Debug, Clone)]
pub struct FakeTraffic {
    world: Arc<Mutex<World>>,
}

impl FakeTraffic {
    pub fn new(candidate: Weight) -> Self {
        let table = RouteTable { generation: 1, salt: "salt".to_owned(), candidate };
        let world = World {
            table,
            finished: Vec::new(),
            requests: 0,
            probe_failure: None,
            page: None,
            sets: 0,
            failing: Failing::default(),
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that come and are answered, split as the table says, each as `outcome` has it.
    pub fn serve(&self, requests: usize, outcome: impl Fn(Variant, Weight) -> Outcome) {
        for _ in 0..requests {
            let mut world = self.world();
            world.requests += 1;
            // A stride near the golden section, without a factor of 10,000: any few requests are split as the weights say.
            let bucket = world.requests * 6_181 % 10_000;
            let is_candidate = bucket < u64::from(world.table.candidate.basis_points());
            let variant = if is_candidate { Variant::Candidate } else { Variant::Baseline };
            let outcome = outcome(variant, world.table.candidate);
            let generation = world.table.generation;
            world.finished.push(Observation {
                time_to_first_token: outcome.is_counted().then_some(Duration::from_millis(40)),
                duration: Duration::from_millis(300),
                ..Observation::bare(variant, outcome, generation)
            });
        }
    }

    /// Second attempts on a variant, after the other failed.
    pub fn fall_back(&self, count: usize, variant: Variant, outcome: Outcome) {
        let mut world = self.world();
        let seen = Observation {
            time_to_first_token: outcome.is_counted().then_some(Duration::from_millis(40)),
            duration: Duration::from_millis(300),
            is_fallback: true,
            ..Observation::bare(variant, outcome, world.table.generation)
        };
        world.finished.extend(std::iter::repeat_n(seen, count));
    }

    /// Attempts on the candidate that a table of an earlier generation sent, cut short only now.
    pub fn fail_late(&self, count: usize, generation: u64) {
        let seen = Observation {
            time_to_first_token: Some(Duration::from_millis(40)),
            duration: Duration::from_secs(60),
            ..Observation::bare(Variant::Candidate, Outcome::Truncated, generation)
        };
        self.world().finished.extend(std::iter::repeat_n(seen, count));
    }

    pub fn fail_probes(&self, failure: Option<&str>) {
        self.world().probe_failure = failure.map(str::to_owned);
    }

    /// What a scrape gives; none refuses the connection.
    pub fn set_page(&self, page: Option<&str>) {
        self.world().page = page.map(str::to_owned);
    }

    /// Somebody else changes the table.
    pub fn move_table(&self, candidate: Weight) {
        let mut world = self.world();
        world.table.candidate = candidate;
        world.table.generation += 1;
    }

    /// The gateway lost its table and began anew.
    pub fn lose_table(&self, candidate: Weight) {
        self.world().table = RouteTable { generation: 1, salt: "other".to_owned(), candidate };
    }

    /// Changes of weight so far, failed ones included.
    pub fn sets(&self) -> usize {
        self.world().sets
    }

    /// The change after `left` more fails.
    pub fn fail_set(&self, left: usize, when: When, lasting: Lasting) {
        self.world().failing.next = Some(Failure { left, when, lasting });
    }

    pub fn mend(&self) {
        self.world().failing.next = None;
    }

    /// Whether a change failed so far.
    pub fn has_failed(&self) -> bool {
        self.world().failing.has_failed
    }
}

#[async_trait]
impl Traffic for FakeTraffic {
    fn route_table(&self) -> RouteTable {
        self.world().table.clone()
    }

    async fn set_weight(&self, candidate: Weight, generation: u64) -> Result<(), TrafficError> {
        let mut world = self.world();
        world.sets += 1;
        let failed = world.failing.next();
        let failure = || Err(TrafficError::Persist(std::io::Error::other("no space left on device")));
        if failed == Some(When::Before) {
            return failure();
        }
        let in_force = world.table.generation;
        match generation.cmp(&in_force) {
            std::cmp::Ordering::Equal if world.table.candidate == candidate => {}
            std::cmp::Ordering::Greater => {
                world.table.generation = generation;
                world.table.candidate = candidate;
            }
            std::cmp::Ordering::Equal | std::cmp::Ordering::Less => {
                return Err(TrafficError::Stale { in_force, given: generation });
            }
        }
        if failed == Some(When::After) { failure() } else { Ok(()) }
    }

    async fn withdraw_candidate(&self) {
        self.world().table.candidate = Weight::NONE;
    }

    fn take_observations(&self) -> Vec<Observation> {
        std::mem::take(&mut self.world().finished)
    }

    async fn probe_candidate(&self) -> Result<(), TrafficError> {
        match self.world().probe_failure.clone() {
            Some(failure) => Err(TrafficError::Unreachable(failure)),
            None => Ok(()),
        }
    }

    async fn scrape_candidate(&self) -> Result<String, TrafficError> {
        self.world().page.clone().ok_or_else(|| TrafficError::Unreachable("connection refused".to_owned()))
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct FakeClock(Mutex<Timestamp>);

impl Default for FakeClock {
    /// At 2026-11-23T15:45:00Z.
    fn default() -> Self {
        Self(Mutex::new(Timestamp::constant(1_795_448_700, 0)))
    }
}

impl FakeClock {
    pub fn advance(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now += SignedDuration::from_secs(seconds);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store one of whose writes fails.
#[derive(Debug)]
pub struct FailingStore {
    inner: Arc<dyn Store>,
    failing: Mutex<Failing>,
}

impl FailingStore {
    /// The write after `left` more fails.
    pub fn new(inner: Arc<dyn Store>, left: usize, when: When, lasting: Lasting) -> Self {
        Self { inner, failing: Mutex::new(Failing { next: Some(Failure { left, when, lasting }), has_failed: false }) }
    }

    pub fn mend(&self) {
        self.failing().next = None;
    }

    /// Whether a write failed so far.
    pub fn has_failed(&self) -> bool {
        self.failing().has_failed
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for FailingStore {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        self.inner.get(key).await
    }

    async fn put_if(&self, key: &str, bytes: &[u8], expect: Expect) -> Result<Version, StoreError> {
        let failed = self.failing().next();
        if failed != Some(When::Before) {
            let version = self.inner.put_if(key, bytes, expect).await?;
            if failed.is_none() {
                return Ok(version);
            }
        }
        let source = std::io::Error::other("no space left on device");
        Err(StoreError::Io { what: format!("writing {key}"), source })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}
