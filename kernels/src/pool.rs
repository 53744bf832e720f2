//! Threads that share out tasks by a counter and sleep when there are none.
//!
//! A task is claimed when a thread gets to it, so that a thread without a core holds nobody up by more than the task it
//! has. Threads wait for the next job for a moment without sleeping, since a layer's products follow each other closely,
//! and never longer: a barrier that spins takes the core away from the thread that it waits for.
#![expect(unsafe_code, reason = "threads that outlive a job work on what the job's caller borrows")]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// About what it costs to sleep and to be woken.
const SPIN: Duration = Duration::from_micros(20);

/// The caller's thread and some others.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time.
    caller: Mutex<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A job is there, or the end.
    wake: Condvar,
    /// The last worker has left a job.
    left: Condvar,
    /// Counts jobs, to be looked at without the lock.
    generation: AtomicUsize,
    /// Workers in the job, to be looked at without the lock.
    active: AtomicUsize,
    ended: AtomicBool,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    panic: Option<Box<dyn Any + Send>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "State(job: {})", self.job.is_some())
    }
}

/// What is to be done; it lives on the stack of `run`, which stays until all workers have left.
#[derive(Clone, Copy)]
struct Job(*const Tasks<'static>);

// SAFETY: `Tasks` is Sync: a counter, a number and a function that is Sync.
unsafe impl Send for Job {}

struct Tasks<'a> {
    next: AtomicUsize,
    count: usize,
    work: &'a (dyn Fn(usize) + Sync),
}

impl Tasks<'_> {
    fn claim_all(&self) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if at >= self.count {
                return;
            }
            (self.work)(at);
        }
    }
}

impl Pool {
    /// `threads` with the one that calls `run`; what the system refuses to start is missing.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let worker = |at: usize| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("kernel-{at}")).spawn(move || shared.work()).ok()
        };
        let workers = (1..threads).filter_map(worker).collect();
        Self { shared, workers, caller: Mutex::new(()) }
    }

    pub const fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` with each number below `count`, on all threads; returns when all calls have. A panic in one of them
    /// is a panic here.
    pub fn run(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let tasks = Tasks { next: AtomicUsize::new(0), count, work };
        if count < 2 || self.workers.is_empty() {
            return tasks.claim_all();
        }
        let _one_job = lock(&self.caller);
        let leave = Leave(&self.shared);
        self.shared.offer(Job((&raw const tasks).cast()));
        tasks.claim_all();
        drop(leave);
        let panic = lock(&self.shared.state).panic.take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _state = lock(&self.shared.state);
            self.shared.ended.store(true, Ordering::Release);
        }
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks, so that there is nothing to learn here.
            let _ = worker.join();
        }
    }
}

/// Takes the job back when it is dropped, also by a panic, and waits until no worker looks at it.
struct Leave<'a>(&'a Shared);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).job = None;
        // From here on no worker can enter.
        spin_until(|| self.0.active.load(Ordering::Acquire) == 0);
        let mut state = lock(&self.0.state);
        while self.0.active.load(Ordering::Acquire) != 0 {
            state = self.0.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn offer(&self, job: Job) {
        let mut state = lock(&self.state);
        state.job = Some(job);
        self.generation.fetch_add(1, Ordering::Release);
        drop(state);
        self.wake.notify_all();
    }

    fn work(&self) {
        let mut seen = 0;
        while let Some(job) = self.enter(&mut seen) {
            // SAFETY: `enter` counted this worker, and the owner of the job does not go on before `leave` counts it out.
            let tasks = unsafe { &*job.0 };
            let outcome = catch_unwind(AssertUnwindSafe(|| tasks.claim_all()));
            self.leave(outcome.err());
        }
    }

    /// Waits for a job that this worker has not seen; `None` is the end.
    fn enter(&self, seen: &mut usize) -> Option<Job> {
        let is_new = || self.generation.load(Ordering::Acquire) != *seen || self.ended.load(Ordering::Acquire);
        spin_until(is_new);
        let mut state = lock(&self.state);
        loop {
            if self.ended.load(Ordering::Acquire) {
                return None;
            }
            let generation = self.generation.load(Ordering::Acquire);
            if let (true, Some(job)) = (generation != *seen, state.job) {
                *seen = generation;
                self.active.fetch_add(1, Ordering::AcqRel);
                return Some(job);
            }
            *seen = generation;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn leave(&self, panic: Option<Box<dyn Any + Send>>) {
        let mut state = lock(&self.state);
        state.panic = panic.or(state.panic.take());
        self.active.fetch_sub(1, Ordering::AcqRel);
        self.left.notify_all();
    }
}

fn spin_until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() && start.elapsed() < SPIN {
        std::hint::spin_loop();
    }
}

/// What a panic leaves behind a lock here is whole: no step between two changes can fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for count in (0..300).chain([5000]) {
                let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                pool.run(count, &|at| {
                    calls[at].fetch_add(1, Ordering::Relaxed);
                });
                assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn several_callers_take_turns() {
        let pool = Pool::new(3);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        pool.run(10, &|_| {
                            total.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 200 * 10);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        for bad in 0..20 {
            let broken = || pool.run(20, &|at| assert!(at != bad, "task {at}"));
            assert!(catch_unwind(AssertUnwindSafe(broken)).is_err());
        }
        let done = AtomicUsize::new(0);
        pool.run(20, &|_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 20);
    }
}
