//! What a person reads, as text: pure functions of the values that `--json` prints.

use std::path::Path;

pub mod alerts;
pub mod cloud;
pub mod drift;
pub mod explanation;
pub mod gpus;
pub mod phases;
pub mod plan;
pub mod ready;
pub mod rollout;
pub mod status;
pub mod top;

/// Columns padded to their widest cell; the last one as it is.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| console::measure_text_width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let missing = width.saturating_sub(console::measure_text_width(cell));
                format!("{cell}{}", " ".repeat(missing))
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first word of a line that says how something is, in its colour.
pub fn coloured(state: &str) -> String {
    let style = match state {
        "ready" | "alive" | "promoted" | "promote" => console::Style::new().green(),
        "failed" | "dead" | "rolled-back" | "roll-back" | "backoff" => console::Style::new().red(),
        _ => console::Style::new().yellow(),
    };
    style.apply_to(state).to_string()
}

/// A time as `HH:MM:SS` of the reader's day, with the date if it is another.
pub fn clock(at: jiff::Timestamp) -> String {
    let zoned = at.to_zoned_datetime(jiff::tz::TimeZone::system());
    let today = jiff::ZonedDateTime::now().date();
    if zoned.date() == today {
        zoned.strftime("%H:%M:%S").to_string()
    } else {
        zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// Quoted if a shell would read anything into it.
pub fn shell_word(text: &str) -> String {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_'));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What `curl` needs to trust an authority, with a space after it; nothing if it needs nothing.
pub fn curl_trust(ca_file: Option<&Path>) -> String {
    ca_file.map(|file| format!("--cacert {} ", shell_word(&file.display().to_string()))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_is_quoted() {
        assert_eq!(shell_word("/a/b-c.d_e"), "/a/b-c.d_e");
        assert_eq!(shell_word("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(curl_trust(Some(Path::new("/a b"))), "--cacert '/a b' ");
        assert_eq!(curl_trust(None), "");
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let rows = [["a", "bb", ""], ["ccc", "d", "e"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "a    bb\nccc  d   e");
    }
}
