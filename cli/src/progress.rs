//! Long work on stderr: live lines on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use spec::host::{HostStatus, Phase, PhaseLine, PhaseState};

use crate::talk::say;
use crate::view::phases;

const REDRAW: Duration = Duration::from_millis(100);
/// Without a terminal a running download gets a line this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows a host's phases as they go.
pub struct HostProgress {
    shown: Shown,
}

enum Shown {
    Live { lines: MultiProgress, bars: BTreeMap<Phase, ProgressBar> },
    Plain { last: BTreeMap<Phase, (String, Instant)> },
}

impl HostProgress {
    pub fn new() -> Self {
        let shown = if std::io::stderr().is_terminal() {
            Shown::Live { lines: MultiProgress::new(), bars: BTreeMap::new() }
        } else {
            Shown::Plain { last: BTreeMap::new() }
        };
        Self { shown }
    }

    pub fn update(&mut self, status: &HostStatus) {
        for phase in &status.phases {
            match &mut self.shown {
                Shown::Live { lines, bars } => show_live(lines, bars, phase),
                Shown::Plain { last } => show_plain(last, phase),
            }
        }
    }

    /// Leaves the lines as they are and gives the terminal back.
    pub fn finish(self) {
        if let Shown::Live { bars, .. } = self.shown {
            for bar in bars.into_values() {
                bar.abandon();
            }
        }
    }
}

fn show_live(lines: &MultiProgress, bars: &mut BTreeMap<Phase, ProgressBar>, phase: &PhaseLine) {
    let bar = bars.entry(phase.phase).or_insert_with(|| {
        let bar = lines.add(ProgressBar::new_spinner());
        bar.set_style(spinner());
        bar.enable_steady_tick(REDRAW);
        bar
    });
    bar.set_message(phases::line(phase));
    match phase.state {
        PhaseState::Done if !bar.is_finished() => {
            bar.set_style(mark("✓"));
            bar.abandon();
        }
        PhaseState::Failed => bar.set_style(mark("✗")),
        PhaseState::Waiting => bar.set_style(mark("·")),
        PhaseState::Running => {
            if bar.is_finished() {
                bar.reset();
                bar.enable_steady_tick(REDRAW);
            }
            bar.set_style(spinner());
        }
        PhaseState::Done => {}
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("  {spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn mark(symbol: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!("  {symbol} {{wide_msg}}"))
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn show_plain(last: &mut BTreeMap<Phase, (String, Instant)>, phase: &PhaseLine) {
    if phase.state == PhaseState::Waiting {
        return;
    }
    // What changes with each byte does not make a new line of its own.
    let gist = format!("{:?} {}", phase.state, if phase.progress.is_some() { "" } else { &phase.detail });
    let is_due = match last.get(&phase.phase) {
        None => true,
        Some((shown, at)) => *shown != gist || (phase.progress.is_some() && at.elapsed() >= PLAIN_EVERY),
    };
    if is_due {
        say(format!("  {}", phases::line(phase)));
        last.insert(phase.phase, (gist, Instant::now()));
    }
}

/// One transfer outside of a host: `dsctl weights pull`, `verify`.
pub struct TransferProgress {
    bar: Option<ProgressBar>,
    said: Option<Instant>,
}

impl TransferProgress {
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(spinner());
            bar.enable_steady_tick(REDRAW);
            bar
        });
        Self { bar, said: None }
    }

    /// A line that replaces the one before.
    pub fn update(&mut self, line: String) {
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None if self.said.is_none_or(|at| at.elapsed() >= PLAIN_EVERY) => {
                say(format!("  {line}"));
                self.said = Some(Instant::now());
            }
            None => {}
        }
    }

    /// A line that stays.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(format!("  {line}"))),
            None => say(format!("  {line}")),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
