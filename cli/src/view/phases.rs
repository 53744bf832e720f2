//! A host's progress for the eye: one line a phase.

use spec::amount::bytes_text;
use spec::host::{PhaseFailure, PhaseLine, PhaseState, Progress};

/// `weights           fetching …  31.0 MiB of 93.8 MiB, 12.4 MiB/s, 5 s left`
pub fn line(phase: &PhaseLine) -> String {
    let progress = phase.progress.as_ref().filter(|_| phase.state == PhaseState::Running);
    let parts =
        [Some(phase.detail.clone()).filter(|detail| !detail.is_empty()), progress.map(progress_text), took(phase)];
    let text: Vec<String> = parts.into_iter().flatten().collect();
    format!("{:<16} {:<8} {}", phase.phase.as_str(), state(phase.state), text.join("  ")).trim_end().to_owned()
}

pub const fn state(state: PhaseState) -> &'static str {
    match state {
        PhaseState::Waiting => "waiting",
        PhaseState::Running => "running",
        PhaseState::Done => "done",
        PhaseState::Failed => "failed",
    }
}

fn took(phase: &PhaseLine) -> Option<String> {
    let (started, ended) = (phase.started_at?, phase.ended_at?);
    let milliseconds = ended.as_millisecond().saturating_sub(started.as_millisecond());
    Some(format!("({:.1} s)", milliseconds as f64 / 1000.0))
}

/// How far, how fast, how long still.
pub fn progress_text(progress: &Progress) -> String {
    let done = bytes_text(progress.done_bytes);
    let rate = format!("{}/s", bytes_text(progress.bytes_per_second));
    if progress.total_bytes == 0 {
        return format!("{done}, {rate}");
    }
    let left = progress.total_bytes.saturating_sub(progress.done_bytes);
    let eta = match left.checked_div(progress.bytes_per_second) {
        None => "time left unknown".to_owned(),
        Some(seconds) => format!("{} left", spec::amount::Span::seconds(seconds)),
    };
    format!("{done} of {}, {rate}, {eta}", bytes_text(progress.total_bytes))
}

/// What went wrong, with the last lines of the log.
pub fn failure(failure: &PhaseFailure) -> String {
    if failure.log_tail.is_empty() {
        return failure.message.clone();
    }
    let tail: Vec<String> = failure.log_tail.iter().map(|line| format!("  | {line}")).collect();
    format!("{}\nits last lines:\n{}", failure.message, tail.join("\n"))
}

#[cfg(test)]
mod tests {
    use spec::host::Phase;

    use super::*;

    #[test]
    fn a_download_says_how_far_how_fast_and_how_long() {
        let phase = PhaseLine {
            phase: Phase::Weights,
            state: PhaseState::Running,
            detail: "fetching smollm2-135m".to_owned(),
            progress: Some(Progress { done_bytes: 31 << 20, total_bytes: 93 << 20, bytes_per_second: 2 << 20 }),
            started_at: None,
            ended_at: None,
            failure: None,
        };
        assert_eq!(
            line(&phase),
            "weights          running  fetching smollm2-135m  31.0 MiB of 93.0 MiB, 2.0 MiB/s, 31s left"
        );
    }
}
