//! YAML in one place: reading with the path of what is wrong and a suggestion, writing for starters.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a text is not the document it should be.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// `path` is dotted, e.g. `gateway.port`; `line` counts from 1 where the parser knows it.
    #[error("{source_name}{}: {path}{message}", line.map(|l| format!(":{l}")).unwrap_or_default())]
    Invalid { source_name: String, line: Option<usize>, path: String, message: String },
    #[error("cannot write YAML: {0}")]
    Write(#[source] serde_yaml::Error),
}

/// Reads one document. `source_name` is what an error calls the text: a file's path, say.
pub fn parse<T: DeserializeOwned>(text: &str, source_name: &str) -> Result<T, YamlError> {
    let deserializer = serde_yaml::Deserializer::from_str(text);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let line = inner.location().map(|location| location.line());
        let message = without_location(&inner.to_string());
        let message = strip_path(&message, &path).to_owned();
        YamlError::Invalid {
            source_name: source_name.to_owned(),
            line,
            path: shown_path(&path, &message),
            message: with_suggestion(&message),
        }
    })
}

/// Writes a value as a document.
pub fn print<T: Serialize>(value: &T) -> Result<String, YamlError> {
    serde_yaml::to_string(value).map_err(YamlError::Write)
}

fn without_location(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

/// The parser puts the path, or the path of the place above, in front of its messages too; once is enough.
fn strip_path<'a>(message: &'a str, path: &str) -> &'a str {
    let above = path.rsplit_once('.').map_or("", |(above, _)| above);
    [path, above].iter().find_map(|place| message.strip_prefix(place)?.strip_prefix(": ")).unwrap_or(message)
}

/// An unknown key belongs to the place above it: `gateway.prot` is said as `gateway: unknown key "prot"`.
fn shown_path(path: &str, message: &str) -> String {
    let place = match unknown_field(message) {
        Some((key, _)) => path.strip_suffix(key.as_str()).map_or(path, |rest| rest.trim_end_matches('.')),
        None => path,
    };
    if place.is_empty() || place == "." { String::new() } else { format!("{place}: ") }
}

fn with_suggestion(message: &str) -> String {
    let Some((key, known)) = unknown_field(message) else {
        return message.to_owned();
    };
    match closest(&key, &known) {
        Some(near) => format!("unknown key \"{key}\", did you mean \"{near}\"?"),
        None => format!("unknown key \"{key}\"; known here: {}", known.join(", ")),
    }
}

/// Takes serde's own sentence apart: the key, and the keys that are known there.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), known))
}

/// The known word nearest to a given one, if it is near enough to be a slip.
pub fn closest<'a>(given: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(given, word), word.as_str()))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Machine {
        #[expect(dead_code, reason = "only its key is looked at")]
        count: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Top {
        #[expect(dead_code, reason = "only its key is looked at")]
        machine: Machine,
    }

    fn message(text: &str) -> String {
        parse::<Top>(text, "dsctl.yaml").unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
        assert_eq!(
            message("machine:\n  cout: 3\n"),
            "dsctl.yaml:2: machine: unknown key \"cout\", did you mean \"count\"?"
        );
        assert_eq!(message("machine: {}\nzebra: 1\n"), "dsctl.yaml:2: unknown key \"zebra\"; known here: machine");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_path() {
        let message = message("machine:\n  count: many\n");
        assert!(message.starts_with("dsctl.yaml:2: machine.count: invalid type: string \"many\""), "{message}");
    }
}
