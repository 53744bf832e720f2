//! How far, and how fast over the last seconds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spec::host::Progress;

/// What the rate speaks of.
const WINDOW: Duration = Duration::from_secs(5);
/// Between two reports.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(200);

pub(super) type Report = Arc<dyn Fn(Progress) + Send + Sync>;

/// Counts bytes from several tasks and reports now and then.
pub(super) struct Meter {
    counted: Mutex<Counted>,
    report: Report,
}

struct Counted {
    rate: RateWindow,
    reported_at: Option<Instant>,
}

impl Meter {
    /// `done` bytes are there already and do not count for the rate.
    pub fn new(done: u64, total: u64, report: Report) -> Self {
        let rate = RateWindow::new(done, total, Instant::now());
        Self { counted: Mutex::new(Counted { rate, reported_at: None }), report }
    }

    pub fn add(&self, bytes: u64) {
        let now = Instant::now();
        let progress = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted.rate.add(bytes, now);
            let is_due = counted.reported_at.is_none_or(|at| now.duration_since(at) >= REPORT_EVERY);
            if !is_due && !counted.rate.is_complete() {
                return;
            }
            counted.reported_at = Some(now);
            counted.rate.progress(now)
        };
        (self.report)(progress);
    }
}

/// The bytes of the last seconds; time is an argument.
pub(super) struct RateWindow {
    done: u64,
    total: u64,
    /// When, and how many were done by then; the first is the window's begin.
    marks: VecDeque<(Instant, u64)>,
}

impl RateWindow {
    pub fn new(done: u64, total: u64, now: Instant) -> Self {
        Self { done, total, marks: VecDeque::from([(now, done)]) }
    }

    pub fn add(&mut self, bytes: u64, now: Instant) {
        self.done += bytes;
        self.marks.push_back((now, self.done));
        while self.marks.len() > 2 && now.duration_since(self.marks[1].0) >= WINDOW {
            self.marks.pop_front();
        }
    }

    pub fn is_complete(&self) -> bool {
        self.total > 0 && self.done >= self.total
    }

    pub fn progress(&self, now: Instant) -> Progress {
        let (begin, before) = self.marks.front().copied().unwrap_or((now, self.done));
        let seconds = now.duration_since(begin).as_secs_f64();
        let rate = if seconds > 0.0 { (self.done - before) as f64 / seconds } else { 0.0 };
        Progress { done_bytes: self.done, total_bytes: self.total, bytes_per_second: rate as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_seconds_and_leaves_out_what_was_there() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut rate = RateWindow::new(1_000, 100_000, start);
        rate.add(500, at(1));
        assert_eq!(rate.progress(at(1)).bytes_per_second, 500);
        for second in 2..=20 {
            rate.add(100, at(second));
        }
        let progress = rate.progress(at(20));
        assert_eq!((progress.done_bytes, progress.bytes_per_second), (3_400, 100));
        assert_eq!(rate.progress(at(20 + 15)).bytes_per_second, 25, "a stall shows");
    }
}
