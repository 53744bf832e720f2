//! Lines for the host's console: each phase as it begins and ends, with the time that it took. Pure.

use std::collections::HashMap;

use jiff::Timestamp;
use spec::host::{Phase, PhaseLine, PhaseState};

/// Remembers what was said, so that nothing is said twice.
#[derive(Debug, Default)]
pub(crate) struct Narrator {
    said: HashMap<Phase, (u64, PhaseState, String)>,
    ready: Option<u64>,
}

impl Narrator {
    /// What is new since the last look.
    pub fn lines(&mut self, generation: u64, phases: &[PhaseLine], ready_since: Option<Timestamp>) -> Vec<String> {
        let mut lines = Vec::new();
        for phase in phases {
            // Details change with every second of progress; a failure's is what counts.
            let detail = if phase.state == PhaseState::Failed { phase.detail.clone() } else { String::new() };
            let now = (generation, phase.state, detail);
            if phase.state == PhaseState::Waiting || self.said.get(&phase.phase) == Some(&now) {
                continue;
            }
            self.said.insert(phase.phase, now);
            lines.extend(lines_of(phase));
        }
        if ready_since.is_some() && self.ready != Some(generation) {
            self.ready = Some(generation);
            lines.push(format!("ready, host spec {generation}"));
        }
        lines
    }
}

fn lines_of(line: &PhaseLine) -> Vec<String> {
    let name = line.phase.as_str();
    match line.state {
        PhaseState::Waiting => Vec::new(),
        PhaseState::Running => vec![format!("{name}: {}", line.detail)],
        PhaseState::Done => vec![format!("{name}: done{}, {}", took(line), line.detail)],
        PhaseState::Failed => {
            let mut lines = vec![format!("{name}: FAILED{}: {}", took(line), line.detail)];
            if let Some(failure) = &line.failure {
                lines.extend(failure.log_tail.iter().map(|text| format!("  {text}")));
                lines.push(format!("  next: {}", failure.next));
            }
            lines
        }
    }
}

fn took(line: &PhaseLine) -> String {
    let span = line.started_at.zip(line.ended_at).map(|(from, to)| to.duration_since(from).as_secs_f64());
    span.map_or_else(String::new, |seconds| format!(" after {seconds:.1} s"))
}

#[cfg(test)]
mod tests {
    use spec::host::PhaseFailure;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn line(state: PhaseState, detail: &str) -> PhaseLine {
        PhaseLine {
            phase: Phase::Weights,
            state,
            detail: detail.to_owned(),
            progress: None,
            started_at: Some(at(10)),
            ended_at: Some(at(22)),
            failure: None,
        }
    }

    #[test]
    fn each_change_is_said_once_and_progress_is_not() {
        let mut narrator = Narrator::default();
        let mut say = |generation, state, detail| narrator.lines(generation, &[line(state, detail)], None);
        assert_eq!(say(1, PhaseState::Waiting, "x"), Vec::<String>::new());
        assert_eq!(say(1, PhaseState::Running, "1%"), ["weights: 1%"]);
        assert_eq!(say(1, PhaseState::Running, "2%"), Vec::<String>::new());
        assert_eq!(say(1, PhaseState::Done, "all"), ["weights: done after 12.0 s, all"]);
        assert_eq!(say(2, PhaseState::Done, "all"), ["weights: done after 12.0 s, all"]);
    }

    #[test]
    fn a_failure_comes_with_its_log_and_the_next_step_and_another_one_is_said_too() {
        let mut narrator = Narrator::default();
        let failure =
            PhaseFailure { message: "m".to_owned(), log_tail: vec!["tail".to_owned()], next: "dsctl up".to_owned() };
        let failed = |detail| PhaseLine { failure: Some(failure.clone()), ..line(PhaseState::Failed, detail) };
        let said = narrator.lines(1, &[failed("no disk")], None);
        assert_eq!(said, ["weights: FAILED after 12.0 s: no disk", "  tail", "  next: dsctl up"]);
        assert_eq!(narrator.lines(1, &[failed("no disk")], None), Vec::<String>::new());
        assert_eq!(narrator.lines(1, &[failed("no net")], None).len(), 3);
    }

    #[test]
    fn ready_is_said_once_a_host_spec() {
        let mut narrator = Narrator::default();
        assert_eq!(narrator.lines(1, &[], Some(at(1))), ["ready, host spec 1"]);
        assert_eq!(narrator.lines(1, &[], Some(at(1))), Vec::<String>::new());
        assert_eq!(narrator.lines(2, &[], None), Vec::<String>::new());
        assert_eq!(narrator.lines(2, &[], Some(at(3))), ["ready, host spec 2"]);
    }
}
