//! `dsctl top` as a screen: one table a part, what is wrong above them all.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};

use crate::numbers::{CostNumbers, GpuNumbers, ModelNumbers, Numbers, VariantNumbers};

/// Shown where nothing is known.
const UNKNOWN: &str = "-";

/// What is red on the screen is what its alert calls too much.
const MANY_ERRORS: f64 = bound_of("GatewayErrorRatioHigh");
const SLOW: f64 = bound_of("RequestLatencyHigh");
const FULL_CACHE: f64 = bound_of("KvCacheFull");
const LONG_QUEUE: f64 = bound_of("RequestQueueGrowing");
const BUSY_GPU: f64 = bound_of("GpuUtilisationHigh");

const HISTORY_HEIGHT: u16 = 5;

/// Everything on the screen.
#[derive(Debug, Clone)]
pub struct Screen<'a> {
    pub deployment: &'a str,
    /// None before the second look.
    pub numbers: Option<&'a Numbers>,
    /// Thousandths of a request and of a token a second, oldest first.
    pub requests: &'a [u64],
    pub tokens: &'a [u64],
    pub seconds: f64,
}

pub fn draw(frame: &mut Frame<'_>, screen: &Screen<'_>) {
    let Some(numbers) = screen.numbers else {
        return frame.render_widget(Paragraph::new(format!("{}  looking …  q quits", screen.deployment)), frame.area());
    };
    let height = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(3);
    let mut parts = vec![Constraint::Length(1), Constraint::Length(u16::try_from(numbers.problems.len()).unwrap_or(1))];
    parts.extend([height(numbers.variants.len()), height(numbers.models.len())].map(Constraint::Length));
    parts.push(Constraint::Length(if numbers.gpus.is_empty() { 0 } else { height(numbers.gpus.len()) }));
    parts.extend([Constraint::Length(3), Constraint::Max(HISTORY_HEIGHT), Constraint::Fill(1)]);
    let areas = Layout::vertical(parts).split(frame.area());
    frame.render_widget(head(screen, numbers), areas[0]);
    frame.render_widget(problems(numbers), areas[1]);
    frame.render_widget(variants(&numbers.variants), areas[2]);
    frame.render_widget(models(&numbers.models), areas[3]);
    frame.render_widget(gpus(&numbers.gpus), areas[4]);
    frame.render_widget(cost(&numbers.cost), areas[5]);
    history(frame, areas[6], screen, numbers);
}

/// Known at compile time: a name that is no alert's does not compile.
const fn bound_of(name: &str) -> f64 {
    let mut at = 0;
    while at < spec::alert::ALL.len() {
        if is_same(spec::alert::ALL[at].name.as_bytes(), name.as_bytes()) {
            return spec::alert::ALL[at].bound;
        }
        at += 1;
    }
    panic!("no such alert")
}

const fn is_same(left: &[u8], right: &[u8]) -> bool {
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at == left.len() && at == right.len()
}

fn head(screen: &Screen<'_>, numbers: &Numbers) -> Line<'static> {
    let host = match numbers.host_ready {
        Some(true) => "  host ready".green(),
        Some(false) => "  host not ready".red(),
        None => "".into(),
    };
    let rest = format!("  over the last {:.1} s  q quits", screen.seconds);
    Line::from(vec![screen.deployment.to_owned().bold(), host, rest.dim()])
}

fn problems(numbers: &Numbers) -> Text<'static> {
    numbers.problems.iter().map(|problem| Line::from(problem.clone().red())).collect()
}

fn framed(title: &'static str, columns: &[&'static str], rows: Vec<Row<'static>>) -> Table<'static> {
    let head = Row::new(columns.iter().map(|column| Cell::from(*column))).style(Style::new().dim());
    let widths =
        columns.iter().enumerate().map(|(at, _)| if at == 0 { Constraint::Min(12) } else { Constraint::Length(10) });
    Table::new(rows, widths).header(head).block(Block::new().borders(Borders::TOP).title(title))
}

fn variants(variants: &[VariantNumbers]) -> Table<'static> {
    let row = |it: &VariantNumbers| {
        Row::new(vec![
            Cell::from(it.variant.as_str()),
            percent(it.weight),
            figure(it.requests_per_second, ""),
            over(it.error_ratio, MANY_ERRORS, percent),
            over(it.p50, SLOW, seconds),
            over(it.p95, SLOW, seconds),
            over(it.first_token_p95, SLOW, seconds),
            figure(it.in_flight, ""),
        ])
    };
    let columns = ["VARIANT", "WEIGHT", "REQUESTS/S", "ERRORS", "P50", "P95", "FIRST P95", "IN FLIGHT"];
    framed(" gateway ", &columns, variants.iter().map(row).collect())
}

fn models(models: &[ModelNumbers]) -> Table<'static> {
    let row = |it: &ModelNumbers| {
        Row::new(vec![
            Cell::from(format!("{}  {}", it.unit, it.model)),
            figure(it.running, ""),
            over(it.waiting, LONG_QUEUE, |waiting| figure(waiting, "")),
            over(it.kv_cache, FULL_CACHE, percent),
            figure(it.prompt_tokens_per_second, ""),
            figure(it.tokens_per_second, ""),
            seconds(it.between_tokens_p95),
        ])
    };
    let columns = ["DAEMON  MODEL", "RUNNING", "WAITING", "KV CACHE", "PROMPT T/S", "TOKENS/S", "BETWEEN"];
    framed(" daemon ", &columns, models.iter().map(row).collect())
}

fn gpus(gpus: &[GpuNumbers]) -> Table<'static> {
    let row = |it: &GpuNumbers| {
        let total = it.memory_used.zip(it.memory_free).map(|(used, free)| used + free);
        Row::new(vec![
            Cell::from(format!("{} {}", it.gpu, it.model)),
            over(it.utilisation, BUSY_GPU, |busy| figure(busy, "%")),
            figure(it.memory_used, " MiB"),
            figure(total, " MiB"),
            figure(it.celsius, " C"),
            figure(it.watts, " W"),
        ])
    };
    framed(" GPU ", &["GPU", "BUSY", "MEMORY", "OF", "HEAT", "POWER"], gpus.iter().map(row).collect())
}

fn cost(cost: &CostNumbers) -> Paragraph<'static> {
    let dollars = |value: Option<f64>| value.map_or_else(|| UNKNOWN.to_owned(), |value| format!("${value:.2}"));
    let text = format!(
        "machine {} an hour   by the token {} so far   {} a day at this pace",
        dollars(cost.machine_hourly),
        dollars(cost.by_token),
        dollars(cost.per_day)
    );
    Paragraph::new(text).block(Block::new().borders(Borders::TOP).title(" cost "))
}

fn history(frame: &mut Frame<'_>, area: Rect, screen: &Screen<'_>, numbers: &Numbers) {
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).split(area);
    let charts = [
        ("requests/s", screen.requests, numbers.requests_per_second()),
        ("tokens/s", screen.tokens, numbers.tokens_per_second()),
    ];
    for ((name, past, now), half) in charts.into_iter().zip(halves.iter()) {
        // The newest is at the right edge: what does not fit is the oldest.
        let shown = &past[past.len().saturating_sub(usize::from(half.width))..];
        let title = format!(" {name} {} ", number(now, ""));
        let block = Block::new().borders(Borders::TOP).title(title);
        frame.render_widget(Sparkline::default().data(shown).style(Style::new().fg(Color::Cyan)).block(block), *half);
    }
}

fn number(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(
        || UNKNOWN.to_owned(),
        |value| {
            let places = if value.fract().abs() < 1e-9 || value >= 100.0 { 0 } else { 1 };
            format!("{value:.places$}{unit}")
        },
    )
}

fn figure(value: Option<f64>, unit: &str) -> Cell<'static> {
    Cell::from(number(value, unit))
}

fn percent(ratio: Option<f64>) -> Cell<'static> {
    figure(ratio.map(|ratio| ratio * 100.0), "%")
}

fn seconds(value: Option<f64>) -> Cell<'static> {
    let text = value.map(|value| if value < 1.0 { format!("{:.0} ms", value * 1e3) } else { format!("{value:.1} s") });
    Cell::from(text.unwrap_or_else(|| UNKNOWN.to_owned()))
}

/// Red over its bound.
fn over(value: Option<f64>, bound: f64, cell: impl Fn(Option<f64>) -> Cell<'static>) -> Cell<'static> {
    let is_over = value.is_some_and(|value| value > bound);
    if is_over { cell(value).style(Style::new().red().bold()) } else { cell(value) }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::numbers::tests::{busy, gateway_gone};

    fn terminal(numbers: Option<&Numbers>, (width, height): (u16, u16)) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let screen = Screen { deployment: "trial", numbers, requests: &[0, 5000, 10_000], tokens: &[1], seconds: 2.0 };
        terminal.draw(|frame| draw(frame, &screen)).unwrap();
        terminal
    }

    fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
        let buffer = terminal.backend().buffer();
        let row = |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
        buffer.content.chunks(usize::from(buffer.area.width)).map(|cells| row(cells).trim_end().to_owned()).collect()
    }

    #[track_caller]
    fn assert_line(lines: &[String], words: &[&str]) {
        let found = lines.iter().any(|line| line.split_whitespace().collect::<Vec<_>>() == words);
        assert!(found, "{words:?} in {lines:#?}");
    }

    #[test]
    fn every_part_has_its_lines() {
        let numbers = busy();
        let lines = lines(&terminal(Some(&numbers), (110, 30)));
        assert!(lines[0].starts_with("trial  over the last 2.0 s  q quits"), "{}", lines[0]);
        assert_line(&lines, &["candidate", "100%", "10", "10%", "1.0", "s", "1.9", "s", "-", "-"]);
        assert_line(&lines, &["dsserve", "m", "3", "2", "25%", "-", "50", "-"]);
        assert_line(&lines, &["0", "NVIDIA", "L40S", "91%", "40000", "MiB", "-", "-", "-"]);
        let money = "machine $10.49 an hour   by the token - so far   $251.76 a day at this pace";
        assert!(lines.iter().any(|line| line == money), "{lines:#?}");
        assert!(
            lines.iter().any(|line| line.contains("requests/s 10 ") && line.contains("tokens/s 50 ")),
            "{lines:#?}"
        );
    }

    #[test]
    fn what_is_over_its_alerts_bound_is_red() {
        let numbers = busy();
        let terminal = terminal(Some(&numbers), (110, 30));
        let lines = lines(&terminal);
        let row = lines.iter().position(|line| line.starts_with("candidate")).unwrap();
        let buffer = terminal.backend().buffer();
        let style_of = |text: &str| {
            let column = lines[row].find(text).unwrap();
            buffer[(u16::try_from(column).unwrap(), u16::try_from(row).unwrap())].fg
        };
        assert_eq!((style_of("10% "), style_of("1.0 s")), (Color::Red, Color::Reset));
    }

    #[test]
    fn a_dead_gateway_is_named_and_the_daemon_is_shown() {
        let numbers = gateway_gone();
        let lines = lines(&terminal(Some(&numbers), (110, 24)));
        assert_eq!(lines[1], "dsgate does not answer: http://h/metrics: Connection refused");
        assert_line(&lines, &["dsserve", "m", "3", "2", "25%", "-", "0", "-"]);
    }

    #[test]
    fn before_the_second_look_and_on_the_smallest_terminal_nothing_breaks() {
        let first = lines(&terminal(None, (80, 5)));
        assert!(first[0].starts_with("trial  looking"), "{first:?}");
        let numbers = busy();
        for size in [(1, 1), (10, 3), (40, 8), (300, 100)] {
            terminal(Some(&numbers), size);
        }
    }
}
