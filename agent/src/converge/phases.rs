//! The phase lines: what each phase is at now, and since when.

use jiff::Timestamp;
use spec::host::{Phase, PhaseFailure, PhaseLine, PhaseState, Progress};

/// A phase as it is now, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PhaseNow {
    pub phase: Phase,
    pub state: PhaseState,
    pub detail: String,
    pub progress: Option<Progress>,
    pub failure: Option<PhaseFailure>,
}

impl PhaseNow {
    pub fn new(phase: Phase, state: PhaseState, detail: impl Into<String>) -> Self {
        Self { phase, state, detail: detail.into(), progress: None, failure: None }
    }

    pub fn failed(phase: Phase, message: impl Into<String>, log_tail: Vec<String>, next: impl Into<String>) -> Self {
        let message = message.into();
        let failure = PhaseFailure { message: message.clone(), log_tail, next: next.into() };
        Self { failure: Some(failure), ..Self::new(phase, PhaseState::Failed, message) }
    }
}

/// What a person should look at first.
fn urgency(state: PhaseState) -> u8 {
    match state {
        PhaseState::Failed => 3,
        PhaseState::Running => 2,
        PhaseState::Waiting => 1,
        PhaseState::Done => 0,
    }
}

/// The lines of this generation, with their times.
#[derive(Debug, Default)]
pub(crate) struct Board {
    generation: u64,
    lines: Vec<PhaseLine>,
}

impl Board {
    pub fn lines(&self) -> &[PhaseLine] {
        &self.lines
    }

    /// Several units may share a phase: the most urgent speaks for it.
    pub fn update(&mut self, generation: u64, mut now: Vec<PhaseNow>, at: Timestamp) {
        if self.generation != generation {
            self.generation = generation;
            self.lines.clear();
        }
        now.sort_by_key(|line| (line.phase, std::cmp::Reverse(urgency(line.state))));
        now.dedup_by_key(|line| line.phase);
        let earlier = std::mem::take(&mut self.lines);
        self.lines = now
            .into_iter()
            .map(|line| {
                let before = earlier.iter().find(|before| before.phase == line.phase);
                timed(line, before, at)
            })
            .collect();
    }
}

fn timed(now: PhaseNow, before: Option<&PhaseLine>, at: Timestamp) -> PhaseLine {
    let started = before.and_then(|before| before.started_at);
    let ended = before.filter(|before| before.state == now.state).and_then(|before| before.ended_at);
    let (started_at, ended_at) = match now.state {
        PhaseState::Waiting => (None, None),
        PhaseState::Running => {
            (started.filter(|_| before.is_some_and(|before| before.ended_at.is_none())).or(Some(at)), None)
        }
        PhaseState::Done | PhaseState::Failed => (started.or(Some(at)), ended.or(Some(at))),
    };
    PhaseLine {
        phase: now.phase,
        state: now.state,
        detail: now.detail,
        progress: now.progress,
        started_at,
        ended_at,
        failure: now.failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn line(board: &Board) -> (PhaseState, Option<Timestamp>, Option<Timestamp>) {
        let line = &board.lines()[0];
        (line.state, line.started_at, line.ended_at)
    }

    #[test]
    fn times_follow_the_state() {
        let mut board = Board::default();
        let mut go = |state, second| {
            board.update(1, vec![PhaseNow::new(Phase::Files, state, "")], at(second));
            line(&board)
        };
        assert_eq!(go(PhaseState::Waiting, 1), (PhaseState::Waiting, None, None));
        assert_eq!(go(PhaseState::Running, 2), (PhaseState::Running, Some(at(2)), None));
        assert_eq!(go(PhaseState::Running, 3), (PhaseState::Running, Some(at(2)), None));
        assert_eq!(go(PhaseState::Done, 4), (PhaseState::Done, Some(at(2)), Some(at(4))));
        assert_eq!(go(PhaseState::Done, 5), (PhaseState::Done, Some(at(2)), Some(at(4))));
        assert_eq!(go(PhaseState::Running, 6), (PhaseState::Running, Some(at(6)), None));
    }

    #[test]
    fn the_most_urgent_unit_speaks_for_a_phase_and_phases_keep_their_order() {
        let mut board = Board::default();
        let now = vec![
            PhaseNow::new(Phase::Daemon, PhaseState::Done, "a"),
            PhaseNow::failed(Phase::Daemon, "b", Vec::new(), "next"),
            PhaseNow::new(Phase::Files, PhaseState::Done, "c"),
        ];
        board.update(1, now, at(1));
        let lines: Vec<_> = board.lines().iter().map(|line| (line.phase, line.detail.as_str())).collect();
        assert_eq!(lines, [(Phase::Files, "c"), (Phase::Daemon, "b")]);
    }
}
