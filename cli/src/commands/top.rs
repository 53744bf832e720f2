//! `dsctl top`: a deployment's numbers on a screen of their own, until somebody quits.
//!
//! The terminal is put back however it ends: by a key, Ctrl-C (a key here, since the terminal is raw), a signal, or a panic
//! (ratatui's hook).

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use reqwest::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::args::NameArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::measure::Pair;
use crate::numbers::Numbers;
use crate::scrape::{Look, Target, client, look, targets};
use crate::view::top::{Screen, draw};

const REFRESH: Duration = Duration::from_secs(2);

/// As many as fit on a wide screen.
const HISTORY: usize = 300;

pub async fn run(context: &Context, args: NameArgs) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let message = "top draws on a terminal, and there is none";
        return Err(Failure::usage(message).next("dsctl alerts, or dsctl status"));
    }
    let targets = targets(&context.local_deployment(&args.name, "dsctl top")?)?;
    let mut dashboard = Dashboard::new(args.name.to_string(), targets, client()?);
    let mut terminal = ratatui::try_init()?;
    let ended = dashboard.show(&mut terminal).await;
    ratatui::try_restore()?;
    ended
}

struct Dashboard {
    deployment: String,
    targets: Vec<Target>,
    client: Client,
    before: Option<Look>,
    shown: Option<(Numbers, f64)>,
    requests: VecDeque<u64>,
    tokens: VecDeque<u64>,
}

impl Dashboard {
    fn new(deployment: String, targets: Vec<Target>, client: Client) -> Self {
        let (requests, tokens) = (VecDeque::new(), VecDeque::new());
        Self { deployment, targets, client, before: None, shown: None, requests, tokens }
    }

    async fn show(&mut self, terminal: &mut DefaultTerminal) -> Result<(), Failure> {
        let (mut keys, mut refresh) = (keys(), refresh());
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            self.draw(terminal)?;
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                key = keys.recv() => match key {
                    Some(key) if is_quit(&key) => return Ok(()),
                    Some(_) => {}
                    None => return Ok(()),
                },
                _ = refresh.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let after = look(&self.client, &self.targets).await;
        if let Some(before) = &self.before {
            let pair = Pair { before, after: &after };
            let (numbers, seconds) = (Numbers::of(pair), pair.seconds());
            remember(&mut self.requests, numbers.requests_per_second());
            remember(&mut self.tokens, numbers.tokens_per_second());
            self.shown = Some((numbers, seconds));
        }
        self.before = Some(after);
    }

    fn draw(&mut self, terminal: &mut DefaultTerminal) -> Result<(), Failure> {
        let screen = Screen {
            deployment: &self.deployment,
            numbers: self.shown.as_ref().map(|(numbers, _)| numbers),
            requests: self.requests.make_contiguous(),
            tokens: self.tokens.make_contiguous(),
            seconds: self.shown.as_ref().map_or(0.0, |(_, seconds)| *seconds),
        };
        terminal.draw(|frame| draw(frame, &screen))?;
        Ok(())
    }
}

fn refresh() -> Interval {
    let mut refresh = interval(REFRESH);
    // A slow answer must not be followed by two looks at one moment.
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    refresh
}

/// In thousandths: bars are whole numbers.
fn remember(history: &mut VecDeque<u64>, value: Option<f64>) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back((value.unwrap_or_default() * 1e3) as u64);
}

/// What happens at the terminal. The thread waits for a key that may never come: it ends with the process.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

fn is_quit(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, .. }) = event else { return false };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_means_it_quits() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(is_quit(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(is_quit(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!is_quit(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!is_quit(&Event::Resize(1, 1)));
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut history = VecDeque::new();
        (0..HISTORY + 2).for_each(|at| remember(&mut history, Some(at as f64)));
        assert_eq!((history.len(), history[0]), (HISTORY, 2000));
    }
}
