//! How many megabytes a second one core looks through: `cargo run --release -p guards --example scan_speed`.
//!
//! With a file as its argument it looks through that one: `CORPUS=FILE cargo test -p guards --test corpus` writes one.
//!
//! Three texts, all guards on: prose, a chat with personal data in it, and code. Streamed means in pieces of 16 bytes.

use std::io::Write;
use std::time::{Duration, Instant};

use guards::{Guards, Lens, Report, Scanner};
use serde_json::json;

const PROSE: &str = "The patient was seen again in the morning and said that the pain had grown less over night. Die Werte der letzten \
    Woche waren unauffällig, die Entlassung ist für Freitag geplant. El tratamiento continúa sin cambios hasta la próxima revisión. ";
const CHAT: &str = "Hi, I am Anna Schmidt (anna.schmidt@example.de, +49 30 1234567). My IBAN is DE89 3704 0044 0532 0130 00, I was born on \
    12.03.1984, and order 4711-0815 from 10.0.0.7 has not come yet. What can you do about it? Thanks in advance, Anna. ";
const CODE: &str = "fn main() { let items: Vec<(usize, &str)> = vec![(1, \"a\"), (20, \"b\")]; for (at, item) in items.iter().enumerate() { \
    println!(\"{at}: {} {}\", item.0 * 1024, item.1); } } // see https://example.com/docs?page=3#top\n";

fn main() -> std::io::Result<()> {
    let config = json!({
        "redact": {"placeholders": "one-way", "patterns": {"EMPLOYEE_ID": "E-[0-9]{6}"}},
        "rules": [
            {"name": "injection", "preset": "prompt-injection", "action": "flag"},
            {"name": "sql", "preset": "sql", "action": "flag"},
            {"name": "secrets", "preset": "secrets", "action": "flag"},
            {"name": "words", "words": ["acme", "project x", "bluefin"], "action": "flag"},
        ],
    });
    let began = Instant::now();
    let config = serde_json::from_value(config).map_err(std::io::Error::other)?;
    let guards = Guards::compile(&config).map_err(|problems| std::io::Error::other(format!("{problems:?}")))?;
    let mut out = std::io::stdout();
    writeln!(out, "compiled in {:.0} ms", began.elapsed().as_secs_f64() * 1e3)?;
    let given = std::env::args().nth(1).map(std::fs::read_to_string).transpose()?;
    let texts = match &given {
        Some(text) => vec![("file", text.as_str())],
        None => vec![("prose", PROSE), ("chat", CHAT), ("code", CODE)],
    };
    for (name, text) in texts {
        let text = text.repeat((1 << 20) / text.len() + 1);
        let whole = rate(text.len(), || {
            let mut report = Report::default();
            Scanner::scan(&guards.answer, &text, &mut report, None);
        });
        let streamed = rate(text.len(), || stream(&guards.answer, &text));
        writeln!(out, "{name:<6} whole {whole:6.0} MB/s   streamed {streamed:6.0} MB/s")?;
    }
    Ok(())
}

fn stream(lens: &Lens, text: &str) {
    let (mut scanner, mut report) = (Scanner::default(), Report::default());
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(16.min(rest.len())));
        scanner.push(lens, piece, &mut report, None);
        rest = after;
    }
    scanner.finish(lens, &mut report, None);
}

/// The best of what runs for a second: the machine has other things to do.
fn rate(bytes: usize, mut run: impl FnMut()) -> f64 {
    let (began, mut best) = (Instant::now(), Duration::MAX);
    while began.elapsed() < Duration::from_secs(1) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
    }
    bytes as f64 / best.as_secs_f64() / 1e6
}
